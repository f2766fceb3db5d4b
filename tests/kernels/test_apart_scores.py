"""The lower bounds that a second sweep computes from rows and codes in two parts each, against float64."""

import pytest
import torch
import triton
import triton.language as tl

from aevae_fast.kernels.code_columns import EXTRA, code_columns
from aevae_fast.kernels.configuration import architecture, search_config
from aevae_fast.kernels.operands import operands
from aevae_fast.kernels.row_columns import extra_columns, row_parts
from aevae_fast.kernels.sweep import apart_scores


@triton.jit
def _scores_kernel(
    x_ptr, main, low, extra, shift_ptr, extremes_ptr, score_ptr, row_ptr, N, programs, D, kappa,
    METRIC: tl.constexpr, SEGMENT: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, EXTRA: tl.constexpr,
):  # fmt: skip
    # x :: [N, D] fp32   score :: [N, BLOCK_K] fp32   row :: [3, N] fp32: norm, factor, lift
    n = tl.arange(0, BLOCK_N)
    live = n < N
    x, x_low, norm, factor, lift, _state = row_parts(
        x_ptr + n * D, live, shift_ptr, extremes_ptr, programs, D, 1, kappa, METRIC, SEGMENT, 16
    )
    x_extra = extra_columns(norm, factor, lift, EXTRA)
    score = apart_scores(x, x_low, x_extra, main, low, extra, 0, BLOCK_N, BLOCK_K)
    tl.store(score_ptr + n[:, None] * BLOCK_K + tl.arange(0, BLOCK_K)[None, :], score, mask=live[:, None])
    tl.store(row_ptr + n, norm, mask=live)
    tl.store(row_ptr + N + n, factor, mask=live)
    tl.store(row_ptr + 2 * N + n, lift, mask=live)


@pytest.mark.parametrize("dimension", [33, 64])
def test_scores_are_lower_bounds_and_no_further_off_than_they_say(dimension, device):
    first = search_config(dimension, "sm_90" if device.type == "cpu" else architecture(device))
    config = first.again
    if config is None:
        pytest.skip("one sweep alone")
    torch.manual_seed(0)
    x, codebook = torch.randn(128, dimension, device=device), torch.randn(config.block_k, dimension, device=device)
    columns = code_columns(codebook, "euclidean", first, again=True)
    of = operands(x[None], columns.again, config, "euclidean")
    score = torch.empty(128, config.block_k, device=device)
    rows = torch.empty(3, 128, device=device)
    _scores_kernel[(1,)](
        x, of.main, of.low, of.extra, columns.shift, columns.extremes, score, rows, 128, len(columns.extremes),
        dimension, columns.kappa, METRIC="euclidean", SEGMENT=config.segment, BLOCK_N=128, BLOCK_K=config.block_k,
        EXTRA=EXTRA, num_warps=config.num_warps,
    )  # fmt: skip

    shift, scale = columns.shift[:-1].double(), columns.shift[-1].double()
    x, c = scale * (x.double() - shift), scale * (codebook.double() - shift)
    norm, factor, lift = rows.double()[:, :, None]
    lift = 2.0**6 * (lift * ((1 + 2.0**-6) * 2.0**-6) + 2.0**-20).half().double()  # as the row's column has it
    high = c.half().double()
    rest = (c - high - (c - high).half().double()).norm(dim=1)
    bias = 0.5 * c.square().sum(1)
    taken = factor * c.norm(dim=1) + norm * rest + columns.kappa * bias
    below = bias - x @ c.T - (score.double() - lift)
    assert (below >= 0).all()
    assert (below < 2.1 * taken + 2.0**-17 * lift).all()
