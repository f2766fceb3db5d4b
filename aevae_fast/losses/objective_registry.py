"""`make_objective`: objectives by name."""

from typing import Any

from .beta_tcvae import BetaTCVAEObjective
from .dip_vae import DIPVAEObjective
from .mmd_vae import InfoVAEObjective, WAEObjective
from .objective import Objective

_CLASSES: tuple[type[Objective], ...] = (BetaTCVAEObjective, DIPVAEObjective, InfoVAEObjective, WAEObjective)
OBJECTIVES: dict[str, type[Objective]] = {kind.name: kind for kind in _CLASSES}


def make_objective(objective: str | Objective, **options: Any) -> Objective:
    """An objective by its name and options, or the module itself.

    Raises:
        ValueError: the name is unknown, or a module comes with options.
        TypeError: it is neither a name nor an `Objective`, or an option is unknown.
    """
    if isinstance(objective, Objective):
        if options:
            raise ValueError(f"objective is a module already and takes no options; got {', '.join(options)}")
        return objective
    if not isinstance(objective, str):
        raise TypeError(f"objective must be a name or an Objective; got {type(objective).__name__}")
    if objective not in OBJECTIVES:
        raise ValueError(f"objective must be one of {', '.join(map(repr, OBJECTIVES))}; got {objective!r}")
    return OBJECTIVES[objective](**options)
