"""`make_latent`: bottlenecks by name."""

from typing import Any

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
    if isinstance(latent, Latent):
        if options:
            raise ValueError(f"latent is a module already and takes no options; got {', '.join(options)}")
        return latent
    if not isinstance(latent, str):
        raise TypeError(f"latent must be a name or a Latent; got {type(latent).__name__}")
    if latent not in LATENTS:
        raise ValueError(f"latent must be one of {', '.join(map(repr, LATENTS))}; got {latent!r}")
    return LATENTS[latent].for_model(**options)
