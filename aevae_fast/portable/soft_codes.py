"""Softmax over all codes in bounded memory: blocks of rows meet the codebook, forward and again in backward.

The softmax is of scale·s, s = -‖x - c‖ ("euclidean", of a squared distance of at least 1e-8) or x·c ("dot"). Nothing of
size [N, K] is kept between the two passes. Rows and codes are shifted by one common vector under the euclidean metric,
which changes no distance and spares the digits of data that sits far from 0. float64 is computed as such.

Shapes: x [B, S, D], codebook [K, D], targets, indices and mask [B, S].
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ._product import full_precision, product
from ._rows import not_finite, row_blocks

_SCORES = 1 << 20  # similarities held at a time
_NEAR = 1e-8  # squared distances below count as this much, and have no gradient

Place = tuple[slice, slice]


class _Block(NamedTuple):
    place: Place
    x: Tensor  # [n, D], shifted; 0 where dropped
    codes: Tensor  # [K, D], shifted
    scores: Tensor  # [n, K]: scale·s
    keep: Tensor  # [n, 1] bool


def _blocks(x: Tensor, codebook: Tensor, keep: Tensor | None, metric: str, scale: float) -> Iterator[_Block]:
    """keep [B, S]: rows that count; None: those that are finite."""
    size, dim = codebook.shape
    dtype = torch.promote_types(x.dtype, codebook.dtype)
    shift = codebook[:: max(1, size // 64)].median(0).values if metric == "euclidean" else codebook.new_zeros(dim)
    codes = (codebook - shift).to(dtype)
    square = codes.square().sum(1)
    with full_precision(x.device):
        for place in row_blocks(x, max(1, _SCORES // size)):
            rows = (x[place].to(dtype) - shift).reshape(-1, dim)
            kept = ~not_finite(rows)[:, None] if keep is None else keep[place].reshape(-1, 1)
            rows = rows.masked_fill_(~kept, 0.0)
            scores = product(rows, codes)
            if metric == "euclidean":
                scores = scores.mul_(-2).add_(rows.square().sum(1, keepdim=True)).add_(square)
                scores = scores.clamp_(min=_NEAR).sqrt_().neg_()
            yield _Block(place, rows, codes, scores.mul_(scale), kept)


def _gradients(
    x: Tensor,
    codebook: Tensor,
    keep: Tensor | None,
    metric: str,
    scale: float,
    pull: Callable[[_Block], Tensor],
) -> tuple[Tensor, Tensor]:
    """`pull` gives the gradient [n, K] of a block's scores → those of x, like it, and of the codebook."""
    grad_x, grad_codebook = torch.empty_like(x), torch.zeros_like(codebook)
    for block in _blocks(x, codebook, keep, metric, scale):
        share = pull(block).mul_(scale).masked_fill_(~block.keep, 0.0)
        if metric == "euclidean":  # ∂(-‖x - c‖)/∂x = (c - x)/‖x - c‖
            distance = block.scores / -scale
            share = share.div_(distance).masked_fill_(distance <= _NEAR**0.5 * (1 + 1e-6), 0.0)
        rows = product(share, block.codes.T.contiguous())
        codes = product(share.T.contiguous(), block.x.T.contiguous())
        if metric == "euclidean":
            rows = torch.addcmul(rows, share.sum(1, keepdim=True), block.x, value=-1)
            codes = torch.addcmul(codes, share.sum(0)[:, None], block.codes, value=-1)
        grad_x[block.place] = rows.view(grad_x[block.place].shape).to(x.dtype)
        grad_codebook += codes
    return grad_x, grad_codebook


def sample_codes(x: Tensor, codebook: Tensor, k: int, metric: str, scale: float) -> Tensor:
    """k different codes for each row, [B, S, k] int64, drawn with the odds of the softmax: the largest of
    scale·s - log E, E exponential noise of torch's generator. -1 where a row is not finite."""
    indices = torch.empty(*x.shape[:2], k, dtype=torch.int64, device=x.device)
    for block in _blocks(x, codebook, None, metric, scale):
        noise = torch.rand_like(block.scores).log_().neg_().log_()  # a third of the time of `exponential_`
        chosen = block.scores.sub_(noise).topk(k).indices.masked_fill_(~block.keep, -1)
        indices[block.place] = chosen.view(indices[block.place].shape)
    return indices


def soft_codes_backward(
    grad: Tensor, x: Tensor, codebook: Tensor, indices: Tensor, metric: str, scale: float
) -> tuple[Tensor, Tensor]:
    """The gradient of Σ_k p_k sg[c_k] where grad [B, S, D] comes in; rows with index -1 have none."""

    def pull(block: _Block) -> Tensor:
        p = block.scores.softmax(1)
        along = product(grad[block.place].to(p.dtype).reshape(block.x.shape), block.codes)
        return along.sub_((p * along).sum(1, keepdim=True)).mul_(p)

    return _gradients(x, codebook, indices >= 0, metric, scale, pull)


def code_cross_entropy(x: Tensor, codebook: Tensor, targets: Tensor, metric: str, scale: float) -> Tensor:
    """Σ -log p(target), 0-d, over rows whose target is not -1."""
    total = codebook.new_zeros((), dtype=torch.promote_types(x.dtype, codebook.dtype))
    for block in _blocks(x, codebook, targets >= 0, metric, scale):
        target = targets[block.place].reshape(-1, 1).clamp(min=0)
        loss = block.scores.logsumexp(1, keepdim=True) - block.scores.gather(1, target)
        total += loss.masked_fill_(~block.keep, 0.0).sum()
    return total


def code_cross_entropy_backward(
    grad: Tensor, x: Tensor, codebook: Tensor, targets: Tensor, metric: str, scale: float
) -> tuple[Tensor, Tensor]:
    """grad 0-d → the gradients of x and codebook."""

    def pull(block: _Block) -> Tensor:
        p, target = block.scores.softmax(1), targets[block.place].reshape(-1, 1).clamp(min=0)
        return p.scatter_add_(1, target, p.new_full(target.shape, -1.0)).mul_(grad)

    return _gradients(x, codebook, targets >= 0, metric, scale, pull)


def total_assignment(x: Tensor, codebook: Tensor, mask: Tensor, metric: str, scale: float) -> Tensor:
    """Σ p over rows that count, [K]."""
    total = codebook.new_zeros(len(codebook), dtype=torch.promote_types(x.dtype, codebook.dtype))
    for block in _blocks(x, codebook, mask, metric, scale):
        total += block.scores.softmax(1).masked_fill_(~block.keep, 0.0).sum(0)
    return total


def total_assignment_backward(
    grad: Tensor, x: Tensor, codebook: Tensor, mask: Tensor, metric: str, scale: float
) -> tuple[Tensor, Tensor]:
    """grad [K] → the gradients of x and codebook."""

    def pull(block: _Block) -> Tensor:
        p = block.scores.softmax(1)
        return p.mul_(grad - (p * grad).sum(1, keepdim=True))

    return _gradients(x, codebook, mask, metric, scale, pull)
