"""`LatentVariableModel`: what a posterior and a prior let an image autoencoder tell of images, and make."""

from collections.abc import Callable

import torch
from torch import Tensor

from aevae_fast import functional
from aevae_fast.latents import Latent
from aevae_fast.latents.gaussian import gaussian_parameters
from aevae_fast.latents.priors import Prior, StandardPrior
from aevae_fast.losses import elbo

from .checks import check_positive, check_whole
from .image_autoencoder import ImageAutoencoder
from .modes import evaluation_mode
from .posterior_samples import Draws, expectations, importance_log_likelihood, posterior_samples

_DRAWS = 4096  # that say in what range a prior's draws lie
_TAIL = 0.00135  # share of a Gaussian's draws beyond three standard deviations, on one side


class LatentVariableModel(ImageAutoencoder):
    """An image autoencoder with p(z) and q(z | x). The base of `VAE`, which makes both and trains them.

    Attributes:
        latent: q(z | x), given what the encoder yields.
        prior: p(z), over the flattened latent.
    """

    latent: Latent
    prior: Prior
    _latents_own_prior: bool

    @property
    def _given_prior(self) -> Prior | None:
        """What a `Latent` takes: None stands for its own prior."""
        return None if self._latents_own_prior else self.prior

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z | x), `[B, *latent_shape]` each, with gradient, in the mode that is set.

        Raises:
            TypeError, ValueError: images that do not fit, or a latent that is no diagonal Gaussian.
        """
        self._check(x)
        moments = self.latent.moments(self.encoder(x))
        if moments is None:
            raise ValueError(f"latent: expected a diagonal Gaussian, got {self.latent.name!r}")
        return moments

    @torch.no_grad()
    def elementwise_kl(self, x: Tensor) -> Tensor | None:
        """KL(q(z | x) ‖ p(z)) of each element of the latent, `[B, *latent_shape]`, in nats; None where posterior or
        prior is no diagonal Gaussian.

        Raises:
            TypeError, ValueError: images that do not fit.
        """
        self._check(x)
        gaussian = gaussian_parameters(self.prior, (len(x), *self.latent_shape))
        with evaluation_mode(self):
            moments = self.latent.moments(self.encoder(x))
        if moments is None or gaussian is None:
            return None
        return functional.gaussian_kl(*moments, *gaussian, reduction="none")

    @torch.no_grad()
    def elbo(
        self, x: Tensor, samples: int = 1, batch_size: int = 256, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """log p(x | z), averaged over samples of q(z | x), minus the KL, in closed form or averaged over the same
        samples: nats, float32 `[B]` (float64 of a float64 model).

        Neither β nor capacity nor free bits enter. Arguments as of `log_likelihood`.
        """
        return elbo(*self.elbo_terms(x, samples, batch_size, generator=generator))

    @torch.no_grad()
    def elbo_terms(
        self, x: Tensor, samples: int = 1, batch_size: int = 256, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """log p(x | z), averaged over samples, and the KL, whose difference `elbo` is: `[B]` each."""

        def estimate(encoded: Tensor, drawn: Draws) -> Tensor:
            kl = self.latent.kl(encoded, self._given_prior)
            log_likelihood, estimated = expectations(drawn, samples)
            kl = estimated.to(torch.promote_types(encoded.dtype, torch.float32)) if kl is None else kl
            return torch.stack([log_likelihood.to(kl.dtype), kl])

        log_likelihood, kl = self._over_posterior(x, samples, batch_size, generator, estimate)
        return log_likelihood, kl

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

        def estimate(encoded: Tensor, drawn: Draws) -> Tensor:
            return importance_log_likelihood(drawn, samples)

        return self._over_posterior(x, samples, batch_size, generator, estimate)

    def _over_posterior(
        self,
        x: Tensor,
        samples: int,
        batch_size: int,
        generator: torch.Generator | None,
        estimate: Callable[[Tensor, Draws], Tensor],
    ) -> Tensor:
        """`estimate(encoded, posterior_samples)` of the images `x`, taken `batch_size` at a time: `[..., B]`."""
        check_whole(samples=samples, batch_size=batch_size)
        check_positive(samples=samples, batch_size=batch_size)
        self._check(x)

        def log_prob(z: Tensor, images: Tensor) -> Tensor:
            return self.likelihood.log_prob(self.decoder(z), images)

        parts = []
        with evaluation_mode(self):
            log_prior = self.prior.settled()
            for images in x.split(batch_size):
                encoded = self.encoder(images)
                drawn = posterior_samples(
                    images, encoded, self.latent, log_prior, log_prob, samples, batch_size, generator
                )
                parts.append(estimate(encoded, drawn))
        return torch.cat(parts, -1)

    def _mean(self, encoded: Tensor) -> Tensor:
        return self.latent.mean(encoded)

    def _draw(self, count: int, generator: torch.Generator | None) -> Tensor:
        with evaluation_mode(self):  # a Vamp prior asks the encoder
            return self.prior.sample(count, generator=generator).view(count, *self.latent_shape)

    def _range(self) -> tuple[Tensor, Tensor]:
        """That of three standard deviations of N(0, I); of another prior, what as many of its draws lie in."""
        if isinstance(self.prior, StandardPrior):
            end = torch.tensor(3.0, device=self._device)
            return -end, end
        draws = self._draw(_DRAWS, torch.Generator(self._device).manual_seed(0))
        low, high = torch.quantile(draws, draws.new_tensor([_TAIL, 1 - _TAIL]), dim=0)
        return low, high
