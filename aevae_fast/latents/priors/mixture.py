"""`MixturePrior`: a mixture of diagonal Gaussians, learned or given."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ... import functional
from .._checks import check_count
from ._parameters import Values, filled, plain_values
from .prior import Prior

_TOLERANCE = 1e-4  # of the sum of weights that were written by hand


class MixturePrior(Prior):
    """p(z) = Σ_k w_k N(z; mean_k, diag σ²_k), by `functional.gaussian_logsumexp`: nothing of size [N, K] is stored. The
    KL is an estimate.

    Args:
        dim: D, the size of the flattened latent.
        components: K.
        weights: `[K]`, at least 0, of sum 1; None: all alike. Learned as logits, which start at their logarithms.
        means: `[K, D]`, or a number; None draws them from N(0, I).
        logvars: ln σ², `[K, D]`, or a number.
        learned: whether all three are parameters; else they are buffers. They are in the state dict either way.

    Raises:
        TypeError, ValueError: an argument that does not fit, named.
    """

    name = "mixture"
    logits: Tensor
    means: Tensor
    logvars: Tensor

    def __init__(
        self,
        dim: int,
        *,
        components: int = 10,
        weights: Sequence[float] | Tensor | None = None,
        means: Sequence[Sequence[float]] | float | Tensor | None = None,
        logvars: Sequence[Sequence[float]] | float | Tensor = 0.0,
        learned: bool = True,
    ) -> None:
        super().__init__(dim)
        self.components, self.learned = check_count("components", components), bool(learned)
        shape = (self.components, self.dim)
        given: dict[str, Values | None] = {"weights": weights, "means": means, "logvars": logvars}
        self._given = {name: None if values is None else plain_values(values) for name, values in given.items()}
        tensors = {
            "logits": torch.zeros(shape[:1]) if weights is None else check_weights(weights, self.components).log(),
            "means": torch.randn(shape) if means is None else filled("means", means, shape),
            "logvars": filled("logvars", logvars, shape),
        }
        for name, tensor in tensors.items():
            if self.learned:
                self.register_parameter(name, nn.Parameter(tensor))
            else:
                self.register_buffer(name, tensor)

    def options(self) -> dict[str, Any]:
        return {"components": self.components, **self._given, "learned": self.learned}

    def extra_repr(self) -> str:
        return f"dim={self.dim}, components={self.components}, learned={self.learned}"

    def _log_prob(self, z: Tensor) -> Tensor:
        log_weight = torch.log_softmax(self.logits.to(z.dtype), 0)
        return functional.gaussian_logsumexp(z, self.means.to(z.dtype), self.logvars.to(z.dtype), log_weight)

    def settled(self) -> Callable[[Tensor], Tensor]:
        return lambda z: self.log_prob(z.to(self.means.dtype)).to(z.dtype)  # float64 builds [N, K, D]

    def _sample(self, n: int, generator: torch.Generator | None) -> Tensor:
        weights = torch.softmax(self.logits.float(), 0)
        count = max(n, 1)  # PyTorch draws at least one
        chosen = torch.multinomial(weights, count, replacement=True, generator=generator)[:n]
        return draw_components(self.means[chosen], self.logvars[chosen], self._normal(n, generator))


def draw_components(mean: Tensor, logvar: Tensor, noise: Tensor) -> Tensor:
    return mean.to(noise.dtype) + torch.exp(logvar.to(noise.dtype) / 2) * noise


def check_weights(weights: Values, components: int) -> Tensor:
    """`[K]`, of sum 1 to the last bits.

    Raises:
        TypeError: no numbers.
        ValueError: another count, a negative one, or another sum.
    """
    given = filled("weights", weights, (components,))
    if given.min() < 0:
        raise ValueError(f"weights must be at least 0; got {given.tolist()}")
    total = float(given.sum())
    if abs(total - 1) > _TOLERANCE:
        raise ValueError(f"weights must sum to 1; got {total:g}")
    return given / total
