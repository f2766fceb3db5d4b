"""`make_objective`: objectives by name."""

from typing import Any

from ..functional._named import by_name
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
    return by_name("objective", objective, Objective, OBJECTIVES, options, lambda kind: kind(**options))
