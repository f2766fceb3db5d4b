"""Variational autoencoder for images (Kingma & Welling, 2014), and its forms: β, capacity, priors, posteriors."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from aevae_fast.latents import GaussianLatent, Latent
from aevae_fast.latents.priors import Prior
from aevae_fast.losses import beta_vae_loss
from aevae_fast.losses.objective import Objective, Terms
from aevae_fast.losses.weights import Weight, make_weight, plain_weight, weight_at

from .bottleneck import build_latent, build_objective, build_prior, config_of, is_own
from .checks import check_not_negative, check_whole
from .image_autoencoder import NetworkOptions
from .latent_variable import LatentVariableModel

if TYPE_CHECKING:
    from typing_extensions import Unpack


class VAEOutput(NamedTuple):
    """What `VAE.forward` returns; losses in nats an image, means over the batch.

    Attributes:
        reconstruction: `[B, C, H, W]` in [0, 1], the likelihood's mean.
        latent: what was decoded, `[B, *latent_shape]`: a sample in training, the posterior's mean in eval.
        loss: scalar to minimise.
        reconstruction_loss: scalar, -log p(x | latent).
        kl: scalar, KL(q(z | x) ‖ p(z)), free bits not counted: reconstruction_loss + kl estimates -ELBO in training.
    """

    reconstruction: Tensor
    latent: Tensor
    loss: Tensor
    reconstruction_loss: Tensor
    kl: Tensor


class VAE(LatentVariableModel):
    """An image autoencoder with a stochastic latent: by default q(z | x) = N(mean, σ²) and p(z) = N(0, I).

    The loss is -log p(x | z) + β · KL (Higgins et al., 2017), with a capacity -log p(x | z) + β · |KL - capacity|
    (Burgess et al., 2018, arXiv:1804.03599), in nats an image: summed over pixels and over the latent, so that β = 1 is
    the ELBO whatever the sizes. The KL is in closed form where posterior and prior have one, else the estimate
    log q(z | x) - log p(z) of one sample; docs/priors.md has the formulas.

    Args:
        in_channels: channels C of the image (1 grey, 3 colour).
        image_size: height and width, or one number for both.
        beta: weight of the KL, 0 or more: a number, a schedule of `aevae_fast.losses`, or what `make_schedule` takes.
        capacity: nats that the KL is held to, 0 or more: None, a number or a schedule.
        free_bits: nats that each element of a "gaussian" latent counts at least (Kingma et al., 2016).
        clamp: (lo, hi) within which the log-variance of a "gaussian" latent is taken; None for no bounds.
        latent: q(z | x), a name that `make_latent` knows ("gaussian", "full_covariance", ...) or a `Latent`.
        latent_options: arguments of a latent given by name.
        prior: p(z), a name that `make_prior` knows ("standard", "gaussian", "mixture", "vamp", "planar", ...) or a
            `Prior` over the flattened latent; None takes the latent's own.
        prior_options: arguments of a prior given by name.
        objective: what is minimised instead of the weighted KL, a name that `make_objective` knows or an `Objective`;
            `beta`, `capacity` and `free_bits` keep their defaults then.
        objective_options: arguments of an objective given by name.
        network: latent_dim, likelihood, body, own encoder and decoder: `ImageAutoencoder` lists them. The encoder
            yields the latent's parameters along axis 1, of a Gaussian the mean, then the log-variance.

    Schedules go by the step that `set_step` sets; it is part of the state.

    Raises:
        TypeError, ValueError: an argument that does not fit, named.
        ImportError: a prior needs a package that is not installed, named.
    """

    step: Tensor

    def __init__(
        self,
        in_channels: int = 1,
        image_size: int | Sequence[int] = 28,
        *,
        beta: Weight = 1.0,
        capacity: Weight | None = None,
        free_bits: float = 0.0,
        clamp: tuple[float, float] | None = (-30.0, 20.0),
        latent: str | Latent = "gaussian",
        latent_options: Mapping[str, Any] | None = None,
        prior: str | Prior | None = None,
        prior_options: Mapping[str, Any] | None = None,
        objective: str | Objective | None = None,
        objective_options: Mapping[str, Any] | None = None,
        **network: "Unpack[NetworkOptions]",
    ) -> None:
        check_not_negative(free_bits=free_bits)
        clamp = tuple(clamp) if isinstance(clamp, list) else clamp  # a list, as JSON has it
        posterior = build_latent(latent, latent_options, clamp, free_bits)
        super().__init__(in_channels, image_size, encoder_width=posterior.encoder_width, **network)
        self.beta = make_weight("beta", beta)
        self.capacity = None if capacity is None else make_weight("capacity", capacity)
        posterior.bind(self.latent_shape)
        self.latent = posterior
        image_shape = (in_channels, *self.image_size)
        self.prior = build_prior(prior, prior_options, self.encoder, self.latent, self.latent_shape, image_shape)
        self._latents_own_prior = prior is None
        replaced = {"beta": None if self.beta == 1 else self.beta, "capacity": capacity, "free_bits": free_bits or None}
        self.objective = build_objective(objective, objective_options, self.latent, self.prior, **replaced)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self._describe(clamp)

    def _describe(self, clamp: tuple[float, float] | None) -> None:
        """Add to `config`, and to `own_parts` what it cannot name."""
        free_bits = 0.0
        latent = config_of("latent", self.latent)
        if isinstance(self.latent, GaussianLatent):
            clamp, free_bits = self.latent.clamp, self.latent.free_bits
            latent["latent_options"] = {
                key: value for key, value in latent["latent_options"].items() if key not in ("clamp", "free_bits")
            }
        self.config |= {
            "beta": plain_weight(self.beta),
            "capacity": plain_weight(self.capacity),
            "free_bits": free_bits,
            "clamp": None if clamp is None else list(clamp),
            **latent,
            **config_of("prior", None if self._latents_own_prior else self.prior),
            **config_of("objective", self.objective),
        }
        parts = {"latent": self.latent, "prior": self._given_prior, "objective": self.objective}
        self.own_parts += [name for name, part in parts.items() if part is not None and is_own(part)]

    def set_step(self, step: int | Tensor) -> None:
        """Say which training step comes, for `beta` and `capacity` that follow one; the host waits for nothing."""
        if isinstance(step, Tensor):
            self.step.copy_(step)
        else:
            check_whole(step=step)
            self.step.fill_(step)

    def weights(self) -> tuple[float | Tensor, float | Tensor | None]:
        """β and the capacity at the step that `set_step` set: numbers, or 0-d tensors of a schedule."""
        return weight_at(self.beta, self.step), None if self.capacity is None else weight_at(self.capacity, self.step)

    def forward(self, x: Tensor) -> VAEOutput:
        """Encode, sample (in training), decode, and weigh the result.

        Args:
            x: images `[B, C, H, W]`, floating point.

        Raises:
            TypeError: `x` is not floating point.
            ValueError: wrong dimensions, channels or image size, or values that the likelihood does not take.
        """
        self._check(x)
        encoded = self.encoder(x)
        z, counted = self.latent(encoded, prior=self._given_prior)
        decoded = self.decoder(z)
        log_likelihood = self.likelihood.log_prob(decoded, x)
        if self.objective is None:
            beta, capacity = self.weights()
            loss = beta_vae_loss(log_likelihood, counted, beta=beta, capacity=capacity)
        else:
            loss = self.objective(self._terms(log_likelihood, counted, z, encoded))
        kl = self._kl(encoded.detach(), counted)
        count = max(len(x), 1)
        return VAEOutput(self.likelihood.mean(decoded), z, loss, -log_likelihood.sum() / count, kl.sum() / count)

    def _terms(self, log_likelihood: Tensor, kl: Tensor, z: Tensor, encoded: Tensor) -> Terms:
        """What an objective is told of a batch."""
        moments = self.latent.moments(encoded)
        mean, logvar = (None, None) if moments is None else (moments[0].flatten(1), moments[1].flatten(1))
        return Terms(log_likelihood, kl, z.flatten(1), mean, logvar, self.step)

    def _kl(self, encoded: Tensor, counted: Tensor) -> Tensor:
        """The KL as it is, `[B]`: what the latent counted, less free bits."""
        if not getattr(self.latent, "free_bits", 0.0):
            return counted
        kl = self.latent.kl(encoded, self._given_prior)
        return counted if kl is None else kl.detach()
