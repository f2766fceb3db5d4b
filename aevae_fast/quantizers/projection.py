"""Linear maps before and after a quantizer, along the axis that holds the vectors."""

import torch.nn.functional as F
from torch import Tensor, nn


def project(projection: nn.Module, x: Tensor, axis: int) -> Tensor:
    """x [..., D], or [B, D, ...] with axis 1, through an `nn.Linear` or `nn.Identity`, as it lies."""
    if axis != 1 or x.ndim == 2 or not isinstance(projection, nn.Linear):
        return projection(x)
    return F.conv1d(x.flatten(2), projection.weight[:, :, None], projection.bias).unflatten(2, x.shape[2:])
