"""`make_likelihood`: likelihoods by name."""

from typing import Any

from ..functional._named import by_name
from .bernoulli import BernoulliLikelihood
from .categorical import CategoricalLikelihood
from .discretized_logistic import DiscretizedLogisticLikelihood, DiscretizedLogisticMixtureLikelihood
from .gaussian import GaussianLikelihood
from .likelihood import Likelihood

_CLASSES: tuple[type[Likelihood], ...] = (
    BernoulliLikelihood,
    GaussianLikelihood,
    DiscretizedLogisticLikelihood,
    DiscretizedLogisticMixtureLikelihood,
    CategoricalLikelihood,
)
LIKELIHOODS: dict[str, type[Likelihood]] = {kind.name: kind for kind in _CLASSES}


def make_likelihood(likelihood: str | Likelihood, **options: Any) -> Likelihood:
    """A likelihood by its name and options, or the module itself.

    Raises:
        ValueError: the name is unknown, or a module comes with options.
        TypeError: it is neither a name nor a `Likelihood`, or an option is unknown.
    """
    return by_name("likelihood", likelihood, Likelihood, LIKELIHOODS, options, lambda kind: kind(**options))
