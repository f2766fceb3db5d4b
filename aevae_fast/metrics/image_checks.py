"""What the measures of this package ask of images and of features."""

import torch
from torch import Tensor

_ROUNDING = 1e-3  # a decoder's arithmetic may end a little past 0 or 1


def check_images(name: str, images: Tensor) -> None:
    """Raise unless images are floating point `[N, C, H, W]` with values in [0, 1]; N may be 0."""
    if not isinstance(images, Tensor):
        raise TypeError(f"{name}: expected a tensor [N, C, H, W], got {type(images).__name__}")
    if not images.is_floating_point():
        raise TypeError(f"{name}: expected floating point with values in [0, 1], got {images.dtype}")
    if images.ndim != 4 or 0 in images.shape[1:]:
        raise ValueError(f"{name}: expected [N, C, H, W], got {list(images.shape)}")
    if images.numel():
        low, high = (float(end) for end in images.aminmax())
        if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
            raise ValueError(f"{name}: expected values in [0, 1], got [{low:.4g}, {high:.4g}]")


def check_features(real: Tensor, fake: Tensor, at_least: int) -> tuple[Tensor, Tensor]:
    """Both sets in float64; raise unless they are finite `[N, F]` and `[M, F]` of at least so many rows each."""
    for name, features in (("real", real), ("fake", fake)):
        if not isinstance(features, Tensor):
            raise TypeError(f"{name}: expected a tensor [N, F], got {type(features).__name__}")
        if not features.is_floating_point():
            raise TypeError(f"{name}: expected floating point features, got {features.dtype}")
        if features.ndim != 2 or not features.shape[1]:
            raise ValueError(f"{name}: expected features [N, F], one row a sample, got {list(features.shape)}")
        if len(features) < at_least:
            raise ValueError(f"{name}: expected at least {at_least} samples, got {len(features)}")
        if not torch.isfinite(features).all():
            rows = int((~torch.isfinite(features)).any(1).sum())
            raise ValueError(f"{name}: expected finite features, got {rows} rows with NaN or infinity")
    if real.shape[1] != fake.shape[1]:
        raise ValueError(f"fake: expected as many features as real, {real.shape[1]}, got {fake.shape[1]}")
    if real.device != fake.device:
        raise ValueError(f"fake: expected real's device, {real.device}, got {fake.device}")
    return real.detach().double(), fake.detach().double()
