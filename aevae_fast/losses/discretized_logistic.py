"""`DiscretizedLogisticLikelihood` and its mixture: grey levels as bins of a continuous distribution."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .categorical import check_levels, draw_category
from .likelihood import Likelihood

_LOG_SCALES = (-7.0, 7.0)  # at the lower end, the papers' own, the bin under the peak holds 97% of 256


class DiscretizedLogisticLikelihood(Likelihood):
    """The mass that a logistic distribution has in the bin of each grey level; the lowest level's bin reaches to -∞ and
    the highest one's to +∞ (Kingma et al. 2016, arXiv:1606.04934, appendix A.3).

    The decoder yields the mean, then the log-scale, both for pixels stretched to [-1, 1], so that a fresh network says
    mid grey; the log-scale is taken within [-7, 7]. Images in [0, 1] are taken as levels: x is rounded to the nearest
    multiple of 1/(levels - 1), of 1/255 by default.

    Args:
        levels: number of grey levels.
    """

    name = "discretized_logistic"
    outputs_per_channel = 2

    def __init__(self, levels: int = 256) -> None:
        super().__init__()
        check_levels(levels)
        self.levels = levels

    def options(self) -> dict[str, Any]:
        return {"levels": self.levels}

    def _elements(self, decoded: Tensor, x: Tensor) -> Tensor:
        mean, log_scale = decoded.chunk(2, 1)
        return _log_mass(x, mean, log_scale, self.levels)

    def _mean(self, decoded: Tensor) -> Tensor:
        mean, log_scale = decoded.chunk(2, 1)
        return _clipped_mean(mean, log_scale)

    def _sample(self, decoded: Tensor, generator: torch.Generator | None) -> Tensor:
        mean, log_scale = decoded.chunk(2, 1)
        return _draw(mean, log_scale, self.levels, generator)


class DiscretizedLogisticMixtureLikelihood(Likelihood):
    """A mixture of discretized logistic distributions (Salimans et al. 2017, arXiv:1701.05517): several likely levels.

    Each channel has a mixture of its own; the paper's coupling of red, green and blue is left out, as z can carry it.
    The decoder yields the components' logits, then their means, then their log-scales, as
    `DiscretizedLogisticLikelihood` has them. Images in [0, 1] are taken as levels in the same way.

    Args:
        components: of the mixture.
        levels: number of grey levels.
    """

    name = "discretized_logistic_mixture"

    def __init__(self, components: int = 5, levels: int = 256) -> None:
        super().__init__()
        check_levels(levels)
        if isinstance(components, bool) or not isinstance(components, int):
            raise TypeError(f"components must be an int; got {type(components).__name__}")
        if components < 1:
            raise ValueError(f"components must be at least 1; got {components}")
        self.components, self.levels, self.outputs_per_channel = components, levels, 3 * components

    def options(self) -> dict[str, Any]:
        return {"components": self.components, "levels": self.levels}

    def _elements(self, decoded: Tensor, x: Tensor) -> Tensor:
        logits, mean, log_scale = self._parts(decoded)
        log_mass = _log_mass(x.unsqueeze(1), mean, log_scale, self.levels)
        return torch.logsumexp(logits.log_softmax(1) + log_mass, 1)

    def _mean(self, decoded: Tensor) -> Tensor:
        logits, mean, log_scale = self._parts(decoded)
        return (logits.softmax(1) * _clipped_mean(mean, log_scale)).sum(1).clamp(0, 1)

    def _sample(self, decoded: Tensor, generator: torch.Generator | None) -> Tensor:
        logits, *shape = self._parts(decoded)
        chosen = draw_category(logits, generator).unsqueeze(1)
        mean, log_scale = (part.gather(1, chosen).squeeze(1) for part in shape)
        return _draw(mean, log_scale, self.levels, generator)

    def _parts(self, decoded: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """decoded → logits, means and log-scales `[B, components, C, ...]`."""
        logits, mean, log_scale = decoded.unflatten(1, (3, self.components, -1)).unbind(1)
        return logits, mean, log_scale


def _log_mass(x: Tensor, mean: Tensor, log_scale: Tensor, levels: int) -> Tensor:
    """log(σ(b) - σ(a)) for the bin [a, b] of x's level, in units of the scale around the mean.

    σ(b) - σ(a) = σ(b)·σ(-a)·(1 - e^(a-b)), so that the logarithm is a sum of three terms, none above 0: it neither
    cancels nor underflows, however far the bin lies in a tail. At the ends two of the three are absent.
    """
    level = (x * (levels - 1)).round()
    inverse_scale = torch.exp(-log_scale.clamp(*_LOG_SCALES))
    centre, half = level * (2 / (levels - 1)) - 1 - mean, 1 / (levels - 1)
    below_upper = F.logsigmoid((centre + half) * inverse_scale)
    above_lower = F.logsigmoid((half - centre) * inverse_scale)
    width = torch.log(-torch.expm1(-2 * half * inverse_scale))
    lowest, highest = level == 0, level == levels - 1
    inner = below_upper + above_lower + width
    return torch.where(lowest, below_upper, torch.where(highest, above_lower, inner))


def _clipped_mean(mean: Tensor, log_scale: Tensor) -> Tensor:
    """The mean of a logistic variable clipped to [-1, 1], brought to [0, 1]: that of the levels but for their rounding.

    E = -1 + ∫ P(y > t) dt over [-1, 1], whose integrand has scale · softplus((mean - t)/scale) for an integral.
    """
    scale = torch.exp(log_scale.clamp(*_LOG_SCALES))
    mean = mean.clamp(-1 - 20 * scale, 1 + 20 * scale)  # beyond, all is clipped, and ±1 would be lost beside the mean
    area = scale * (F.softplus((mean + 1) / scale) - F.softplus((mean - 1) / scale))
    return (area / 2).clamp(0, 1)


def _draw(mean: Tensor, log_scale: Tensor, levels: int, generator: torch.Generator | None) -> Tensor:
    logistic = torch.empty_like(mean).uniform_(generator=generator).logit()
    y = mean + torch.exp(log_scale.clamp(*_LOG_SCALES)) * logistic
    return ((y.clamp(-1, 1) + 1) / 2 * (levels - 1)).round() / (levels - 1)
