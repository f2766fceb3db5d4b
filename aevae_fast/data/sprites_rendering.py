"""Squares, ellipses and hearts as binary images, from real-valued factors; the geometry of dSprites in formulas.

All lengths are pixels of a 64×64 image; other sizes scale them. A pixel is white where its centre lies in the shape.
"""

import math

import torch
from torch import Tensor

SIDE = 64  # of the image that the lengths here belong to
SHAPES = ("square", "ellipse", "heart")
_SQUARE = 10.0  # half its side, at scale 1
_ELLIPSE = (13.0, 7.0)  # its half axes
_HEART = (20.0, 17.0)  # width and height of its box
_LOBE = 5.3  # radius of the heart's two lobes: with its box, about 222 white pixels
_FIRST, _RANGE = 16.65, 30.7  # centres from 16.65 to 47.35: the corners of the largest square light pixels 3..60 only
_PIXELS = 1 << 22  # rendered at a time


def render_sprites(shape: Tensor, scale: Tensor, orientation: Tensor, x: Tensor, y: Tensor, image_size: int) -> Tensor:
    """Binary images of one sprite each.

    Args:
        shape: index into `SHAPES`, integer `[N]`.
        scale: 1 is a square of 20 pixels of 64, `[N]` like the rest.
        orientation: radians, clockwise as seen; a heart at 0 points down.
        x, y: place of the centre, 0 left and top to 1 right and bottom.
        image_size: side of the images in pixels.

    Returns:
        `[N, 1, image_size, image_size]` float32 of 0 and 1, on the factors' device.
    """
    images = torch.empty(len(shape), 1, image_size, image_size, device=shape.device)
    step = max(1, _PIXELS // image_size**2)
    for first in range(0, len(shape), step):
        part = slice(first, first + step)
        u, v = _own_coordinates(scale[part], orientation[part], x[part], y[part], image_size)
        kind = shape[part, None, None]
        inside = torch.where(kind == 0, _in_square(u, v), torch.where(kind == 1, _in_ellipse(u, v), _in_heart(u, v)))
        images[part, 0] = inside.float()
    return images


def _own_coordinates(
    scale: Tensor, orientation: Tensor, x: Tensor, y: Tensor, image_size: int
) -> tuple[Tensor, Tensor]:
    """Right and down from the sprite's centre in its own upright frame at scale 1, of each pixel centre: [n, H, W]."""
    pixels = (torch.arange(image_size, device=scale.device) + 0.5) * (SIDE / image_size)
    cos, sin = ((turn(orientation) / scale).float()[:, None, None] for turn in (torch.cos, torch.sin))
    right = pixels - (_FIRST + _RANGE * x.float())[:, None, None]
    down = pixels[:, None] - (_FIRST + _RANGE * y.float())[:, None, None]
    return cos * right + sin * down, cos * down - sin * right


def _in_square(u: Tensor, v: Tensor) -> Tensor:
    return torch.maximum(u.abs(), v.abs()) < _SQUARE


def _in_ellipse(u: Tensor, v: Tensor) -> Tensor:
    return (u / _ELLIPSE[0]).square() + (v / _ELLIPSE[1]).square() < 1


def _in_heart(u: Tensor, v: Tensor) -> Tensor:
    """Two round lobes side by side, and their tangents down to the tip; the centre is that of the box."""
    width, height = _HEART
    apart, drop = width / 2 - _LOBE, height - _LOBE  # from the axis to a lobe's centre, from there down to the tip
    distance = math.hypot(apart, drop)
    sine = _LOBE / distance
    cosine = math.sqrt(1 - sine**2)
    along = (apart * cosine + drop * sine) / distance, (apart * sine - drop * cosine) / distance  # tip to tangent point
    right, down = u.abs() - apart, v + height / 2 - _LOBE  # from the centre of the lobe on this side
    lobe = right.square() + down.square() < _LOBE**2
    below = (along[0] * right + along[1] * down <= 0) & (down >= 0)  # nearer to the tip than the tangent point is
    within = along[0] * down - along[1] * right < _LOBE  # on the lobe's side of the tangent
    return lobe | (below & within)
