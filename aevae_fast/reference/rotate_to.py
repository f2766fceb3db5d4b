"""The gradient of the rotation trick, by the explicit rotation.

Source: Fifty et al., "Restructuring Vector Quantization with the Rotation Trick", 2024 (arXiv:2410.06424), section 4.2.
"""

import torch
from torch import Tensor


def rotate_to(source: Tensor, target: Tensor) -> Tensor:
    """source, target [..., D] → [..., D]: the value of target, with gradient to source as if it were
    (‖target‖ / ‖source‖)·R·source, R the rotation that takes the direction of one to that of the other.

    R = I - 2wwᵀ + 2q̂êᵀ with ê, q̂ the directions of source and target, w that of ê + q̂. Where they are opposite w is 0
    and R a reflection; where source is 0 the gradient passes unchanged. Scale and R are constants.
    """
    dtype = torch.promote_types(torch.promote_types(source.dtype, target.dtype), torch.float32)
    e, q = source.detach().to(dtype), target.detach().to(dtype)
    size = e.norm(dim=-1, keepdim=True)
    e_hat, q_hat = (torch.nn.functional.normalize(v, dim=-1, eps=torch.finfo(dtype).tiny) for v in (e, q))
    w = torch.nn.functional.normalize(e_hat + q_hat, dim=-1, eps=torch.finfo(dtype).tiny)
    x = source.to(dtype)
    rotated = x - 2 * w * (w * x).sum(-1, keepdim=True) + 2 * q_hat * (e_hat * x).sum(-1, keepdim=True)
    scale = q.norm(dim=-1, keepdim=True) / size.where(size > 0, 1.0)
    moved = torch.where(size == 0, x, scale * rotated)
    return (target.detach().to(dtype) + (moved - moved.detach())).to(source.dtype)
