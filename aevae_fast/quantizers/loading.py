"""Loading a state dict as a whole or not at all."""

from collections.abc import Mapping
from typing import Any

from torch import nn


class LoadsWhole(nn.Module):
    """A module that an error in `load_state_dict` leaves as it was; PyTorch keeps what fitted before it."""

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As `torch.nn.Module.load_state_dict`.

        Raises:
            RuntimeError: missing or unknown keys, or other shapes, all named; the module is as it was.
        """
        # assign=True replaces the tensors: put the very same back, which an optimizer holds. Else their values change.
        before = {name: value if assign else value.clone() for name, value in self.state_dict(keep_vars=assign).items()}
        try:
            return super().load_state_dict(state_dict, strict=strict, assign=assign)
        except Exception:
            super().load_state_dict(before, assign=assign)
            raise
