"""`make_latent`: bottlenecks by name."""

from typing import Any

from ..functional._named import by_name
from .beta import BetaLatent
from .dirichlet import DirichletLatent
from .flow_posterior import FlowLatent
from .full_covariance import FullCovarianceGaussianLatent
from .gaussian import GaussianLatent
from .kumaraswamy import KumaraswamyLatent
from .latent import Latent

_CLASSES: tuple[type[Latent], ...] = (
    GaussianLatent,
    FullCovarianceGaussianLatent,
    BetaLatent,
    DirichletLatent,
    KumaraswamyLatent,
    FlowLatent,
)
LATENTS: dict[str, type[Latent]] = {kind.name: kind for kind in _CLASSES}


def make_latent(latent: str | Latent, **options: Any) -> Latent:
    """A bottleneck for a model by its name and options, or the module itself.

    Raises:
        ValueError: the name is unknown, or a module comes with options.
        TypeError: it is neither a name nor a `Latent`, or an option is unknown.
    """
    return by_name("latent", latent, Latent, LATENTS, options, lambda kind: kind.for_model(**options))
