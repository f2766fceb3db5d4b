"""How many stages of a residual quantizer a training step uses."""

import torch
from torch import Tensor


def drawn_stages(stages: int, cutoff_index: int, multiple_of: int, device: torch.device) -> Tensor:
    """0-d int64 on the device, from torch's generator: the last stage in use evenly from cutoff_index on, their number
    rounded up to a multiple, at most all."""
    last = torch.randint(cutoff_index, stages, (), device=device)
    return ((last + multiple_of) // multiple_of * multiple_of).clamp(max=stages)
