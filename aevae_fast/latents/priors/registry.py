"""`make_prior`: priors by name."""

from typing import Any

from ...functional._named import by_name
from .beta import BetaPrior
from .dirichlet import DirichletPrior
from .flow import AutoregressivePrior, CouplingPrior, PlanarPrior, RadialPrior, SplinePrior
from .gaussian import GaussianPrior
from .mixture import MixturePrior
from .prior import Prior
from .standard import StandardPrior
from .vamp import VampPrior

_CLASSES: tuple[type[Prior], ...] = (
    StandardPrior,
    GaussianPrior,
    MixturePrior,
    VampPrior,
    PlanarPrior,
    RadialPrior,
    CouplingPrior,
    SplinePrior,
    AutoregressivePrior,
    BetaPrior,
    DirichletPrior,
)
PRIORS: dict[str, type[Prior]] = {kind.name: kind for kind in _CLASSES}


def make_prior(prior: str | Prior, dim: int, **options: Any) -> Prior:
    """A prior over `dim` numbers by its name and options, or the module itself.

    Raises:
        ValueError: the name is unknown, a module comes with options or has another dim.
        TypeError: it is neither a name nor a `Prior`, or an option is unknown.
        ImportError: the prior needs a package that is not installed, named.
    """
    made = by_name("prior", prior, Prior, PRIORS, options, lambda kind: kind(dim, **options))
    if made.dim != dim:
        raise ValueError(f"prior must have dim={dim}, the size of the flattened latent; got dim={made.dim}")
    return made
