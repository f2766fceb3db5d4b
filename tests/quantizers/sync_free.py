"""What a training step must not do: wait for the device, or make a shape depend on values."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_aten = torch.ops.aten
_WAITING = {
    _aten._local_scalar_dense,
    _aten.item,
    _aten.is_nonzero,
    _aten.equal,
    _aten.nonzero,
    _aten.masked_select,
    _aten.unique_dim,
    _aten._unique2,
    _aten.unique_consecutive,
    _aten.bincount,
    _aten.repeat_interleave,
}


class NoWaiting(TorchDispatchMode):
    """Raises at an operation that on a GPU would wait for it, and that a CUDA graph could not hold. What an operation
    of this library does inside is the device's own: on a GPU a kernel."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        masks = func.overloadpacket in (_aten.index, _aten.index_put, _aten.index_put_) and any(
            t is not None and t.dtype in (torch.bool, torch.uint8) for t in args[1]
        )
        if func.overloadpacket in _WAITING or masks:
            raise AssertionError(f"{func} waits for the device")
        return func(*args, **(kwargs or {}))
