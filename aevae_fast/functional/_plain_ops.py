"""Operations that have one implementation for all devices, in plain PyTorch: chunks of rows behind one name, so that
`torch.compile` sees an operation of any number of rows instead of a loop over them."""

import torch
from torch import Tensor

from .. import portable
from ._dispatch import Impl, choose
from ._ops import library

_SCHEMAS = {
    "nearest_codes": "(Tensor x, Tensor codebook, SymInt k, str metric) -> (Tensor, Tensor)",
}

for _name, _schema in _SCHEMAS.items():
    library.define(_name + _schema, tags=(torch.Tag.pt2_compliant_tag,))
    library.impl(_name, torch.no_grad()(getattr(portable, _name)), "CompositeExplicitAutograd")


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
