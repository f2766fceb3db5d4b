"""Residual vector quantization in blocks of rows that go through all stages while they are in cache; and its gradient.

A residual lives in its block's buffers alone, in float32, rounded after each stage: r_{q+1} = r_q - c_q. Gradient and
statistics walk the stages again by the indices, which takes no second [N, D] tensor.
Specification: `aevae_fast.reference.residual_vector_quantize`.
"""

from collections.abc import Callable
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from ._product import full_precision
from ._resolve import few_rows, resolve
from ._rows import Block, row_blocks, wide_dtype
from ._search import Codes, Workspace, block_rows, load_rows, prepare, search
from ._threads import on_threads, threads_for

_LEAST, _MOST = 256, 2048  # rows that go through the stages together
_COLUMNS = 8  # columns of the sums that a thread takes at a time, at least


class _Stage(NamedTuple):
    """A codebook [K, D] as it is, and made ready for the search."""

    book: Tensor
    codes: Codes


class _Nearest:
    """Exact search in one thread's buffers, which serve every stage."""

    def __init__(self, stages: list[_Stage], threads: int) -> None:
        largest = max((stage.codes for stage in stages), key=lambda codes: len(codes.columns))
        self.rows, self.threads = block_rows(largest, threads), threads
        self.workspace = Workspace(largest, self.rows)

    def __call__(self, x: Tensor, stage: _Stage) -> Tensor:
        """x [n, D] float32 → indices [n] int64, -1 for rows that are not finite."""
        index, certified = x.new_empty(len(x), dtype=torch.int64), x.new_empty(len(x), dtype=torch.bool)
        for start in range(0, len(x), self.rows):
            part = slice(start, start + self.rows)
            rows = load_rows(x[None, part], stage.codes, self.workspace)
            index[part], certified[part] = search(rows, stage.codes, self.workspace)
        doubtful = torch.nonzero(~certified)[:, 0]
        for place in doubtful.split(few_rows(stage.codes, "euclidean", self.threads)) if len(doubtful) else ():
            index[place] = resolve(x[place], stage.book, stage.codes, "euclidean")
        return index


def _blocks(x: Tensor, threads: int) -> list[Block]:
    """Large ones, since each pays for its many small operations, but some for every thread."""
    share = -(-x.shape[0] * x.shape[1] // (4 * threads))
    return list(row_blocks(x, min(max(share, _LEAST), _MOST)))


def _taken(book: Tensor, index: Tensor, otherwise: float) -> Tensor:
    """The codes [n, D] at index [n]; `otherwise` where it is -1."""
    code, missing = book.index_select(0, index.clamp(min=0)), index < 0  # five times as fast as book[index]
    return code.masked_fill_(missing[:, None], otherwise) if missing.any() else code


def _copy(x: Tensor) -> Tensor:
    return x.to(torch.float32, copy=True, memory_format=torch.contiguous_format)


def residual_vector_quantize(
    x: Tensor, codebooks: Tensor, sizes: list[int], active: Tensor | None, mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """x [B, S, D], codebooks [ΣK, D] float32, active 0-d int64 or None, mask [B, S] bool or None → quantized like x,
    indices [B, S, Q] int64 and the summed squared error of each stage over kept rows, [Q] float32. A masked row gives
    zeros, one that is not finite NaN, both index -1."""
    used = len(sizes) if active is None else min(max(int(active), 0), len(sizes))
    stages = [
        _Stage(book, prepare(book, "euclidean", x.shape[0] * x.shape[1])) for book in codebooks.split(sizes)[:used]
    ]
    quantized = torch.empty_like(x) if stages and mask is None else torch.zeros_like(x)
    indices = torch.full((*x.shape[:2], len(sizes)), -1, device=x.device)
    if not stages:
        return quantized, indices, torch.zeros(len(sizes), device=x.device)
    threads = threads_for(x)
    blocks = list(enumerate(_blocks(x, threads)))
    errors = torch.zeros(len(blocks), len(sizes), device=x.device)

    def make_worker() -> Callable[[tuple[int, Block]], None]:
        nearest = _Nearest(stages, threads)

        def work(item: tuple[int, Block]) -> None:
            number, block = item
            keep = slice(None) if mask is None else mask[block]
            residual = _copy(x[block][keep])
            shape = residual.shape[:-1]
            residual = residual.flatten(0, -2)
            total, found = torch.zeros_like(residual), indices.new_empty(len(residual), used)
            for q, stage in enumerate(stages):
                index = nearest(residual, stage)
                code = _taken(stage.book, index, torch.nan)
                residual -= code
                total += code
                found[:, q] = index
                errors[number, q] = torch.linalg.vector_norm(residual, dim=1).square_().sum()
            quantized[block][keep] = total.to(x.dtype).view(*shape, x.shape[2])
            indices[block][..., :used][keep] = found.view(*shape, used)

        return work

    with full_precision(x.device):
        on_threads(make_worker, blocks, threads)
    return quantized, indices, errors.sum(0)


def residual_vector_quantize_backward(
    grad: Tensor, x: Tensor, codebooks: Tensor, sizes: list[int], indices: Tensor, scales: Tensor
) -> Tensor:
    """grad + Σ_q scales[q]·r_{q+1} over the stages that a row used; 0 for a row that used none, NaN where it is not
    finite. grad and x [B, S, D], indices [B, S, Q], scales [Q] float32 → like x."""
    grad_x, factors = torch.empty_like(x), scales.tolist()
    needed = max((q + 1 for q, factor in enumerate(factors) if factor != 0), default=0)
    stages = list(zip(codebooks.split(sizes), factors, strict=True))[:needed]

    def differentiate(block: Block) -> None:
        residual, total = (_copy(tensor[block]).flatten(0, 1) for tensor in (x, grad))
        chosen = indices[block].flatten(0, 1)
        for (book, factor), index in zip(stages, chosen.unbind(1), strict=False):
            residual -= _taken(book, index, 0.0)
            unused = (index < 0)[:, None]
            total.add_(residual.masked_fill(unused, 0.0) if unused.any() else residual, alpha=factor)
        dropped = (chosen < 0).all(1)
        if dropped.any():
            total[dropped] = residual[dropped] * 0
        grad_x[block] = total.view(x[block].shape)

    threads = threads_for(x)
    on_threads(lambda: differentiate, _blocks(x, threads), threads)
    return grad_x


def residual_statistics(
    x: Tensor, codebooks: Tensor, sizes: list[int], indices: Tensor, center: bool
) -> tuple[Tensor, Tensor]:
    """x [B, S, D], indices [B, S, Q] int64 with -1 to skip → counts [ΣK] and sums [ΣK, D], float32, of the residuals
    that chose each code; of what they leave over, r_q - c_q, with center. Threads share columns, so that each sum is
    added up in the order of the rows."""
    size, dim = codebooks.shape
    starts = torch.tensor([0, *accumulate(sizes)][:-1], device=x.device)
    slots = torch.where(indices < 0, size, indices + starts)  # what is skipped lands in one slot more, cut off below
    counts = torch.zeros(size + 1, device=x.device)
    counts.index_add_(0, slots.flatten(), torch.ones((), device=x.device).expand(slots.numel()))
    sums = torch.empty(codebooks.shape, device=x.device)
    threads, books = threads_for(x), codebooks.split(sizes)

    def add(columns: slice) -> None:
        # float64: bfloat16 rows sit on a coarse grid, and rounding each partial sum to float32 adds up the same way.
        part = torch.zeros(size + 1, len(range(dim)[columns]), dtype=wide_dtype(x), device=x.device)
        for block in row_blocks(x, _MOST):
            residual = _copy(x[block][..., columns]).flatten(0, 1)
            chosen, places = (tensor[block].flatten(0, 1).unbind(1) for tensor in (indices, slots))
            for book, index, slot in zip(books, chosen, places, strict=True):
                code = _taken(book[:, columns], index, 0.0)
                if not center:
                    part.index_add_(0, slot, residual.to(part.dtype))
                residual -= code
                if center:
                    part.index_add_(0, slot, residual.to(part.dtype))
        sums[:, columns] = part[:-1]

    width = max(_COLUMNS, -(-dim // (2 * threads if threads > 1 else 1)))
    on_threads(lambda: add, [slice(start, start + width) for start in range(0, dim, width)], threads)
    return counts[:-1].clone(), sums
