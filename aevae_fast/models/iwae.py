"""Importance-weighted autoencoder for images (Burda et al., 2016, arXiv:1509.00519)."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from aevae_fast.losses import iwae_bound

from .checks import check_positive, check_whole
from .vae import VAE, VAEOutput


class IWAE(VAE):
    """A VAE whose loss is minus the importance-weighted bound, -log (1/K) Σ_k p(x | z_k)·p(z_k) / q(z_k | x).

    K samples of q(z | x) are drawn for each image and all are decoded: time and memory of the decoder grow K-fold. At
    K = 1 it is the VAE with its KL estimated from the sample. The gradient is that of the bound itself.

    Args:
        in_channels, image_size: as of `VAE`.
        samples: K, for each image.
        options: of `VAE`, but for `beta`, `capacity`, `free_bits` and `objective`, which keep their defaults: the bound
            has no KL to weigh.

    Raises:
        TypeError, ValueError: an argument that does not fit, named.
    """

    def __init__(
        self, in_channels: int = 1, image_size: int | Sequence[int] = 28, *, samples: int = 5, **options: Any
    ) -> None:
        check_whole(samples=samples)
        check_positive(samples=samples)
        super().__init__(in_channels, image_size, **options)
        for name, default in {"beta": 1.0, "capacity": None, "free_bits": 0.0, "objective": None}.items():
            if self.config[name] != default:
                raise ValueError(f"{name}: expected {default} of an IWAE, got {self.config[name]!r}")
        self.samples = samples
        self.config["samples"] = samples

    def forward(self, x: Tensor) -> VAEOutput:
        """Encode, draw K samples of each latent, decode all, and weigh them.

        `loss` is minus the bound by K draws, in `eval()` too; `reconstruction_loss` and `kl` are means over the draws,
        with no gradient. `latent` and `reconstruction` are the first draw's, in `eval()` the posterior's mean.

        Args:
            x: images `[B, C, H, W]`, floating point.

        Raises:
            TypeError: `x` is not floating point.
            ValueError: wrong dimensions, channels or image size, or values that the likelihood does not take.
        """
        self._check(x)
        encoded = self.encoder(x)
        z, log_posterior = self.latent.draw(encoded, self.samples)
        decoded = self.decoder(z.flatten(0, 1))
        repeated = x.expand(self.samples, *x.shape).flatten(0, 1)
        log_likelihood = self.likelihood.log_prob(decoded, repeated).view(self.samples, len(x))
        log_prior = self.prior.log_prob(z.flatten(0, 1).flatten(1)).view(self.samples, len(x))
        ratio = (log_prior - log_posterior).to(log_likelihood.dtype)
        count = max(len(x), 1)
        loss = -iwae_bound(log_likelihood + ratio).sum() / count
        latent, shown = z[0], decoded[: len(x)]
        if not self.training:
            latent = self.latent.mean(encoded)
            shown = self.decoder(latent)
        means = (-values.detach().mean(0).sum() / count for values in (log_likelihood, ratio))
        return VAEOutput(self.likelihood.mean(shown), latent, loss, *means)
