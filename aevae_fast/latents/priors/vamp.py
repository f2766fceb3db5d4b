"""`VampPrior`: the mixture of the posteriors of learned images."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ... import functional
from .._checks import check_count
from .mixture import draw_components
from .prior import Prior

Posterior = Callable[[Tensor], tuple[Tensor, Tensor]]


class VampPrior(Prior):
    """p(z) = 1/K Σ_k q(z | u_k), the model's own posterior at K learned pseudo-inputs; Tomczak & Welling 2018
    (arXiv:1705.07120). By `functional.gaussian_logsumexp`; the KL is an estimate.

    The encoder is the model's: `bind` hands it over, and its parameters are not registered here. Each step encodes the
    pseudo-inputs; an encoder with batch statistics counts them too. Replace parts of a bound encoder in place, not the
    encoder.

    Args:
        dim: D, the size of the flattened latent.
        components: K.
        input_shape: of one image, (C, H, W).
        learned: whether the pseudo-inputs are a parameter; else a buffer. They are taken within [0, 1].

    Attributes:
        pseudo_inputs: `[K, C, H, W]`, which start at N(0.05, 0.01²), as the paper's do, or at `start_from`'s images.

    Raises:
        TypeError, ValueError: an argument that does not fit, named.
    """

    name = "vamp"
    pseudo_inputs: Tensor

    def __init__(self, dim: int, *, input_shape: Sequence[int], components: int = 500, learned: bool = True) -> None:
        super().__init__(dim)
        self.components, self.learned = check_count("components", components), bool(learned)
        if not isinstance(input_shape, list | tuple) or len(input_shape) != 3:
            raise ValueError(f"input_shape must be (C, H, W) of an image; got {input_shape!r}")
        self.input_shape = [check_count("input_shape", size) for size in input_shape]
        start = (0.05 + 0.01 * torch.randn(self.components, *self.input_shape)).clamp(0, 1)
        if self.learned:
            self.register_parameter("pseudo_inputs", nn.Parameter(start))
        else:
            self.register_buffer("pseudo_inputs", start)
        self._posterior: Posterior | None = None

    def bind(self, posterior: Posterior) -> None:
        self._posterior = posterior

    @torch.no_grad()
    def start_from(self, images: Tensor) -> None:
        """Let the pseudo-inputs be these images `[K, C, H, W]`.

        Raises:
            ValueError: another shape.
        """
        if images.shape != self.pseudo_inputs.shape:
            raise ValueError(f"images must have shape {list(self.pseudo_inputs.shape)}; got {list(images.shape)}")
        self.pseudo_inputs.copy_(images.clamp(0, 1))

    def settled(self) -> Callable[[Tensor], Tensor]:
        mean, logvar = self._moments()

        def log_prob(z: Tensor) -> Tensor:
            return self._density(self._checked("z", z.to(mean.dtype)), mean, logvar).to(z.dtype)

        return log_prob

    def options(self) -> dict[str, Any]:
        return {"input_shape": self.input_shape, "components": self.components, "learned": self.learned}

    def _log_prob(self, z: Tensor) -> Tensor:
        return self._density(z, *self._moments())

    def _density(self, z: Tensor, mean: Tensor, logvar: Tensor) -> Tensor:
        mean, logvar = mean.to(z.dtype), logvar.to(z.dtype)
        return functional.gaussian_logsumexp(z, mean, logvar, z.new_full((self.components,), 1 / self.components).log())

    def _sample(self, n: int, generator: torch.Generator | None) -> Tensor:
        mean, logvar = self._moments()
        chosen = torch.randint(self.components, (n,), device=mean.device, generator=generator)
        return draw_components(mean[chosen], logvar[chosen], self._normal(n, generator))

    def _moments(self) -> tuple[Tensor, Tensor]:
        """Of the components, `[K, D]` each."""
        if self._posterior is None:
            raise RuntimeError("the prior has no encoder yet: a VAE binds its own, or call bind(posterior)")
        return self._posterior(self.pseudo_inputs.clamp(0, 1))
