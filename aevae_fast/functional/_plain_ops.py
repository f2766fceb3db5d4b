"""Operations that have one implementation for all devices, in plain PyTorch: chunks of rows behind one name, so that
`torch.compile` sees an operation of any number of rows instead of a loop over them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ._dispatch import Impl, choose
from ._ops import implementation, library

_SOFT = "Tensor x, Tensor codebook, {}, str metric, float scale"
_BY_CODE, _BY_MASK = _SOFT.format("Tensor indices"), _SOFT.format("Tensor mask")
_SCHEMAS = {
    "nearest_codes": "(Tensor x, Tensor codebook, SymInt k, str metric) -> (Tensor, Tensor)",
    "sample_codes": f"({_SOFT.format('SymInt k')}) -> Tensor",
    "soft_codes_backward": f"(Tensor grad, {_BY_CODE}) -> (Tensor, Tensor)",
    "code_cross_entropy": f"({_BY_CODE}) -> Tensor",
    "code_cross_entropy_backward": f"(Tensor grad, {_BY_CODE}) -> (Tensor, Tensor)",
    "total_assignment": f"({_BY_MASK}) -> Tensor",
    "total_assignment_backward": f"(Tensor grad, {_BY_MASK}) -> (Tensor, Tensor)",
}


def _registered(name: str) -> Callable[..., Any]:
    @torch.no_grad()  # an exported program calls the bare operation on tensors that require grad
    def call(*args: Any) -> Any:
        return implementation("portable", name)(*args)

    return call


for _name, _schema in _SCHEMAS.items():
    _tags = (torch.Tag.nondeterministic_seeded,) if _name == "sample_codes" else ()
    library.define(_name + _schema, tags=(torch.Tag.pt2_compliant_tag, *_tags))
    library.impl(_name, _registered(_name), "CompositeExplicitAutograd")


def by_reference(impl: Impl | None, name: str, *tensors: Tensor) -> bool:
    """Whether the reference serves a call; else the operation does.

    Raises:
        ValueError: impl is "triton", or cannot serve these tensors.
    """
    if impl == "triton":
        raise ValueError(f"impl='triton' has no kernel for {name}; impl='portable' runs on every device")
    return choose(impl, *tensors) == "reference"


@torch.library.register_fake("aevae_fast::nearest_codes", lib=library)
def _(x: Tensor, codebook: Tensor, k: int, metric: str) -> tuple[Tensor, Tensor]:
    shape = (*x.shape[:2], k)
    return x.new_empty(shape, dtype=torch.int64), x.new_empty(shape, dtype=torch.float32)


@torch.library.register_fake("aevae_fast::sample_codes", lib=library)
def _(x: Tensor, codebook: Tensor, k: int, metric: str, scale: float) -> Tensor:
    return x.new_empty((*x.shape[:2], k), dtype=torch.int64)


def _fake_gradients(grad: Tensor, x: Tensor, codebook: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(codebook)


for _name in ("soft_codes_backward", "code_cross_entropy_backward", "total_assignment_backward"):
    torch.library.register_fake(f"aevae_fast::{_name}", _fake_gradients, lib=library)


@torch.library.register_fake("aevae_fast::code_cross_entropy", lib=library)
def _(x: Tensor, codebook: Tensor, indices: Tensor, metric: str, scale: float) -> Tensor:
    return x.new_empty((), dtype=torch.promote_types(x.dtype, codebook.dtype))


@torch.library.register_fake("aevae_fast::total_assignment", lib=library)
def _(x: Tensor, codebook: Tensor, mask: Tensor, metric: str, scale: float) -> Tensor:
    return x.new_empty(codebook.shape[:1], dtype=torch.promote_types(x.dtype, codebook.dtype))
