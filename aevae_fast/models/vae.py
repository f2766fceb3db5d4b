"""Variational autoencoder for images (Kingma & Welling, 2014), and its β and capacity forms."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from aevae_fast import functional
from aevae_fast.latents import GaussianLatent
from aevae_fast.losses import beta_vae_loss, elbo

from .checks import check_not_negative, check_positive, check_whole
from .image_autoencoder import ImageAutoencoder, NetworkOptions
from .modes import evaluation_mode
from .posterior_samples import Draws, expected_log_prob, importance_log_likelihood, posterior_samples
from .weights import Weight, make_weight, plain_weight, weight_at

if TYPE_CHECKING:
    from typing_extensions import Unpack


class VAEOutput(NamedTuple):
    """What `VAE.forward` returns; losses in nats an image, means over the batch.

    Attributes:
        reconstruction: `[B, C, H, W]` in [0, 1], the likelihood's mean.
        latent: what was decoded, `[B, *latent_shape]`: a sample in training, the posterior's mean in eval.
        loss: scalar to minimise.
        reconstruction_loss: scalar, -log p(x | latent).
        kl: scalar, KL(q(z | x) ‖ N(0, I)), free bits not counted: reconstruction_loss + kl estimates -ELBO in training.
    """

    reconstruction: Tensor
    latent: Tensor
    loss: Tensor
    reconstruction_loss: Tensor
    kl: Tensor


class VAE(ImageAutoencoder):
    """An image autoencoder with a Gaussian latent: q(z | x) = N(mean, σ²), p(z) = N(0, I).

    The loss is -log p(x | z) + β · KL (Higgins et al., 2017), with a capacity -log p(x | z) + β · |KL - capacity|
    (Burgess et al., 2018, arXiv:1804.03599), in nats an image: summed over pixels and over the latent, so that β = 1 is
    the ELBO whatever the sizes.

    Args:
        in_channels: channels C of the image (1 grey, 3 colour).
        image_size: height and width, or one number for both.
        beta: weight of the KL, 0 or more: a number, a schedule of `aevae_fast.losses`, or what `make_schedule` takes.
        capacity: nats that the KL is held to, 0 or more: None, a number or a schedule.
        free_bits: nats that each element of the latent counts at least (Kingma et al., 2016).
        clamp: (lo, hi) within which the log-variance is taken; None for no bounds.
        network: latent_dim, likelihood, body, own encoder and decoder: `ImageAutoencoder` lists them. The encoder
            yields the mean, then the log-variance, along axis 1.

    Schedules go by the step that `set_step` sets; it is part of the state.

    Raises:
        TypeError, ValueError: an argument that does not fit, named.
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
        **network: "Unpack[NetworkOptions]",
    ) -> None:
        check_not_negative(free_bits=free_bits)
        super().__init__(in_channels, image_size, moments=2, **network)
        self.beta = make_weight("beta", beta)
        self.capacity = None if capacity is None else make_weight("capacity", capacity)
        clamp = tuple(clamp) if isinstance(clamp, list) else clamp  # a list, as JSON has it
        self.latent = GaussianLatent(1, clamp=clamp, reduction="latent", free_bits=free_bits)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.config |= {
            "beta": plain_weight(self.beta),
            "capacity": plain_weight(self.capacity),
            "free_bits": free_bits,
            "clamp": None if clamp is None else list(clamp),
        }

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
        z, counted = self.latent(encoded)
        decoded = self.decoder(z)
        log_likelihood = self.likelihood.log_prob(decoded, x)
        beta, capacity = self.weights()
        loss = beta_vae_loss(log_likelihood, counted, beta=beta, capacity=capacity)
        kl = counted if not self.latent.free_bits else self._kl(*self._moments(encoded.detach()))
        count = max(len(x), 1)
        return VAEOutput(self.likelihood.mean(decoded), z, loss, -log_likelihood.sum() / count, kl.sum() / count)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z | x), `[B, *latent_shape]` each, with gradient, in the mode that is set."""
        self._check(x)
        return self._moments(self.encoder(x))

    @torch.no_grad()
    def elbo(
        self, x: Tensor, samples: int = 1, batch_size: int = 256, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """log p(x | z), averaged over samples of q(z | x), minus the KL in closed form: nats, float32 `[B]` (float64 of
        a float64 model).

        Neither β nor capacity nor free bits enter. Arguments as of `log_likelihood`.
        """

        def estimate(mean: Tensor, logvar: Tensor, drawn: Draws) -> Tensor:
            kl = self._kl(mean, logvar)
            return elbo(expected_log_prob(drawn, samples).to(kl.dtype), kl)

        return self._over_posterior(x, samples, batch_size, generator, estimate)

    @torch.no_grad()
    def log_likelihood(
        self, x: Tensor, samples: int = 100, batch_size: int = 256, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """log p(x) by importance sampling with q(z | x) as the proposal (Burda et al., 2016, arXiv:1509.00519): nats,
        float64 `[B]`. It lies below log p(x) on average, by less the more samples.

        Args:
            x: images `[B, C, H, W]`.
            samples: for each image.
            batch_size: images decoded at a time, over images and samples together; bounds the memory.
            generator: on the model's device.

        Raises:
            TypeError, ValueError: images that do not fit, or `samples` or `batch_size` below 1.
        """

        def estimate(mean: Tensor, logvar: Tensor, drawn: Draws) -> Tensor:
            return importance_log_likelihood(drawn, samples)

        return self._over_posterior(x, samples, batch_size, generator, estimate)

    def _over_posterior(
        self,
        x: Tensor,
        samples: int,
        batch_size: int,
        generator: torch.Generator | None,
        estimate: Callable[[Tensor, Tensor, Draws], Tensor],
    ) -> Tensor:
        """`estimate(mean, logvar, posterior_samples)` of the images `x`, taken `batch_size` at a time: `[B]`."""
        check_whole(samples=samples, batch_size=batch_size)
        check_positive(samples=samples, batch_size=batch_size)
        self._check(x)

        def log_prob(z: Tensor, images: Tensor) -> Tensor:
            return self.likelihood.log_prob(self.decoder(z), images)

        parts = []
        with evaluation_mode(self):
            for images in x.split(batch_size):
                mean, logvar = self._moments(self.encoder(images))
                drawn = posterior_samples(images, mean, logvar, log_prob, samples, batch_size, generator)
                parts.append(estimate(mean, logvar, drawn))
        return torch.cat(parts)

    def _moments(self, encoded: Tensor) -> tuple[Tensor, Tensor]:
        mean, logvar = encoded.chunk(2, 1)
        if self.latent.clamp is not None:
            logvar = logvar.clamp(*self.latent.clamp) + 0 * logvar  # the second term: what is not finite stays so
        return mean, logvar

    def _kl(self, mean: Tensor, logvar: Tensor) -> Tensor:
        return functional.gaussian_kl(mean, logvar, reduction="latent")

    def _mean(self, encoded: Tensor) -> Tensor:
        return encoded.chunk(2, 1)[0]

    def _draw(self, count: int, generator: torch.Generator | None) -> Tensor:
        return torch.randn(count, *self.latent_shape, generator=generator, device=self._device)

    def _range(self) -> tuple[Tensor, Tensor]:
        end = torch.tensor(3.0, device=self._device)
        return -end, end
