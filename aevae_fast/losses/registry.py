"""`make_likelihood`: likelihoods by name."""

from typing import Any

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
    if isinstance(likelihood, Likelihood):
        if options:
            raise ValueError(f"likelihood is a module already and takes no options; got {', '.join(options)}")
        return likelihood
    if not isinstance(likelihood, str):
        raise TypeError(f"likelihood must be a name or a Likelihood; got {type(likelihood).__name__}")
    if likelihood not in LIKELIHOODS:
        raise ValueError(f"likelihood must be one of {', '.join(map(repr, LIKELIHOODS))}; got {likelihood!r}")
    return LIKELIHOODS[likelihood](**options)
