"""What `VectorQuantize` refuses, and what follows from what it is given."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..functional import Impl
from ..functional._checks import check_choice
from ..functional._dispatch import check_impl
from .codebook_state import RowWeight

ESTIMATORS = ("straight_through", "rotation", "diveq", "ibq", "gumbel")
_FLAGS = {"rotation_trick": "rotation", "straight_through": "gumbel", "directional_reparam": "diveq"}
_NEED_GRADIENT = ("diveq", "ibq")  # estimators that exist to move the codes

_SIZES = {"dim": 1, "codebook_size": 1, "codebook_dim": 1, "heads": 1, "kmeans_iters": 0, "orthogonal_reg_max_codes": 1}
_NOT_NEGATIVE = (
    "commitment_weight",
    "codebook_weight",
    "orthogonal_reg_weight",
    "codebook_diversity_loss_weight",
    "directional_reparam_variance",
    "threshold_ema_dead_code",
)
_POSITIVE = ("eps", "sample_codebook_temp", "codebook_diversity_temperature")


def check_sizes(sizes: Mapping[str, Any], least: int = 1) -> None:
    """
    Raises:
        TypeError, ValueError: one is not an int, or below the least.
    """
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool):
            raise TypeError(f"{name} must be an int; got {size!r}")
        if size < least:
            raise ValueError(f"{name} must be at least {least}; got {size}")


def check_weights(weights: Mapping[str, float], impl: Impl | None = None) -> None:
    """
    Raises:
        ValueError: one is negative or NaN, or there is no such implementation.
    """
    for name, weight in weights.items():
        if not weight >= 0:
            raise ValueError(f"{name} must be at least 0; got {weight}")
    check_impl(impl)


def check(given: Mapping[str, Any]) -> None:
    """Arguments by name; None stands for "not given" and passes.

    Raises:
        TypeError, ValueError: one does not fit, named.
    """
    for name, least in _SIZES.items():
        if given[name] is not None:
            check_sizes({name: given[name]}, least)
    check_weights({name: given[name] for name in _NOT_NEGATIVE if given[name] is not None}, given["impl"])
    for name in _POSITIVE:
        if not given[name] > 0:
            raise ValueError(f"{name} must be above 0; got {given[name]}")
    for name in ("decay", "affine_param_batch_decay", "affine_param_codebook_decay"):
        if not 0 <= given[name] <= 1:
            raise ValueError(f"{name} must lie in [0, 1]; got {given[name]}")
    if given["affine_param"] and given["use_cosine_sim"]:
        raise ValueError("affine_param and use_cosine_sim are both True; moved codes are no unit vectors")


def estimator_of(given: Mapping[str, Any]) -> str:
    """The estimator by its name or by one of the flags that stand for it; straight-through if nothing is said.

    Raises:
        ValueError: the name is unknown, or two are asked for.
    """
    name = given["estimator"]
    asked = {f"{flag}=True": stands_for for flag, stands_for in _FLAGS.items() if given[flag]}
    if name is not None:
        check_choice("estimator", name, ESTIMATORS)
        asked[f"estimator={name!r}"] = name
    if len(set(asked.values())) > 1:
        raise ValueError(f"{' and '.join(asked)} are different estimators; give one")
    return next(iter(asked.values()), "straight_through")


def is_learnable(given: Mapping[str, Any], estimator: str) -> bool:
    """Whether the codebook moves by its gradient: as asked for, else where an option has no meaning otherwise.

    Raises:
        ValueError: what is asked for contradicts itself.
    """
    learnable, ema_update, orthogonal = (
        given[name] for name in ("learnable_codebook", "ema_update", "orthogonal_reg_weight")
    )
    if learnable and ema_update:
        raise ValueError("learnable_codebook and ema_update are both True; a codebook moves by gradient or by EMA")
    if learnable is None:
        learnable = not ema_update and (estimator in _NEED_GRADIENT or orthogonal > 0)
    if orthogonal > 0 and not learnable:
        raise ValueError(
            "orthogonal_reg_weight needs a codebook that moves by gradient; "
            f"got learnable_codebook={given['learnable_codebook']} and ema_update={ema_update}"
        )
    return learnable


def check_call(
    heads: int, size: int, places: torch.Size, indices: Tensor | None, topk: int | None, temperature: float | None
) -> None:
    """What a forward is asked for beside x and mask; places: x's shape without the channel axis.

    Raises:
        TypeError, ValueError: something does not fit, named.
    """
    if topk is not None:
        if not isinstance(topk, int):
            raise TypeError(f"topk must be an int; got {topk!r}")
        if not 1 <= topk <= size:
            raise ValueError(f"topk must lie in [1, {size}], the number of codes; got {topk}")
        if heads > 1 or indices is not None:
            raise ValueError(f"topk needs one head and no indices; got heads={heads}, indices={indices is not None}")
    if indices is not None:
        expected = (*places, heads) if heads > 1 else tuple(places)
        if not isinstance(indices, Tensor):
            raise TypeError(f"indices must be a torch.Tensor; got {type(indices).__name__}")
        if indices.dtype != torch.int64:
            raise TypeError(f"indices must be torch.int64; got {indices.dtype}")
        if tuple(indices.shape) != expected:
            raise ValueError(f"indices must have shape {expected}; got {tuple(indices.shape)}")
    if temperature is not None and not temperature > 0:
        raise ValueError(f"sample_codebook_temp must be above 0; got {temperature}")


def checked_row_weight(weight: RowWeight | None, heads: int, size: int) -> RowWeight | None:
    """
    Raises:
        TypeError, ValueError: it is no function and no tensor of one number a code.
    """
    if weight is None or (callable(weight) and not isinstance(weight, Tensor)):
        return weight
    if not isinstance(weight, Tensor):
        raise TypeError(f"ema_update_weight must be a torch.Tensor or a function; got {type(weight).__name__}")
    if tuple(weight.shape) not in ((size,), (heads, size)):
        raise ValueError(f"ema_update_weight must have shape ({size},) or ({heads}, {size}); got {tuple(weight.shape)}")
    return weight
