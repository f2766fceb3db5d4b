"""codebook_statistics against float64, and bit for bit against itself."""

import pytest
import torch

from aevae_fast.kernels.codebook_statistics import (
    CHUNK,
    FEW,
    LANES,
    SPAN,
    code_starts,
    codebook_statistics,
    sorted_codes,
)

from .cases import DTYPES, view


def check(x, indices, size):
    counts, sums = codebook_statistics(x, indices, size)
    keep = indices >= 0
    rows, codes = x[keep].double(), indices[keep]
    assert counts.dtype == sums.dtype == torch.float32
    assert torch.equal(counts.long(), torch.bincount(codes, minlength=size))
    truth = torch.zeros(size, x.shape[-1], dtype=torch.float64, device=x.device).index_add_(0, codes, rows)
    size_of = torch.zeros_like(truth).index_add_(0, codes, rows.abs())
    # CHUNK in a product, then a chain over blocks of partials: fewer than CHUNK + 64 roundings at these sizes.
    assert ((sums.double() - truth).abs() <= (CHUNK + 64) * 2.0**-24 * size_of).all()
    again = codebook_statistics(x, indices, size)
    assert torch.equal(again[0], counts)
    assert torch.equal(again[1], sums)


@pytest.mark.parametrize("layout", ["rows", "channels", "slice"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("batch", "length", "dimension", "size"), [(1, 5, 1, 1), (2, 77, 17, 33), (3, 100, 64, 5)])
def test_uniform_usage(batch, length, dimension, size, dtype, layout, device):
    torch.manual_seed(0)
    x = view(torch.randn(batch, length, dimension).to(DTYPES[dtype]).to(device), layout)
    check(x, torch.randint(-1, size, (batch, length)).to(device), size)


@pytest.mark.parametrize("share", [0.5, 1.0], ids=["half on one code", "all on one code"])
@pytest.mark.parametrize("chunks", [2, FEW, FEW + 1, 4 * SPAN + 7], ids=["two", "few", "just many", "whole spans"])
def test_skewed_usage(chunks, share, device):
    torch.manual_seed(1)
    total = chunks * CHUNK - 3
    indices = torch.where(torch.rand(1, total) < share, 2, torch.randint(0, 9, (1, total)))
    check(torch.randn(1, total, 4).to(device), indices.to(device), 9)


@pytest.mark.parametrize("total", [1, LANES - 1, LANES, LANES**2 - 1, LANES**2, 1000])
def test_where_codes_start(total, device):
    torch.manual_seed(4)
    for codes in (torch.randint(-1, 100, (total,)), torch.full((total,), -1), torch.full((total,), 99)):
        for dtype in (torch.int16, torch.int32):
            keys = codes.sort().values.to(dtype).to(device)
            expected = torch.searchsorted(keys.long(), torch.arange(101, device=device))
            assert torch.equal(code_starts(keys, 100), expected)


@pytest.mark.parametrize("size", [2**15 - 1, 2**15], ids=["keys of 16 bits", "keys of 32 bits"])
def test_codes_on_both_sides_of_what_16_bits_hold(size, device):
    codes, order = sorted_codes(torch.tensor([[size - 1, 0, -1, size - 2, size - 1]], device=device), size)
    assert codes.dtype == (torch.int16 if size < 2**15 else torch.int32)
    assert order.tolist() == [2, 1, 3, 0, 4]
    starts = code_starts(codes, size)
    assert starts[[0, 1, size - 2, size - 1, size]].tolist() == [1, 2, 2, 3, 5]


def test_unused_rows_may_hold_anything(device):
    torch.manual_seed(2)
    x, indices = torch.randn(1, 50, 4).to(device), torch.randint(0, 9, (1, 50)).to(device)
    x[0, 7], indices[0, 7] = float("nan"), -1
    check(x, indices, 9)


@pytest.mark.parametrize("layout", ["rows", "channels", "slice"])
def test_sums_of_differences_do_not_cancel(layout, device):
    torch.manual_seed(3)
    size, dimension = 12, 20
    center = (1000 + 0.01 * torch.randn(size, dimension)).to(device)
    x = view((1000 + 0.01 * torch.randn(2, 300, dimension)).to(device), layout)
    indices = torch.randint(-1, size, (2, 300)).to(device)
    counts, sums = codebook_statistics(x, indices, size, center)
    keep = indices >= 0
    rows, codes = x[keep].double(), indices[keep]
    differences = rows - center.double()[codes]
    truth = torch.zeros(size, dimension, dtype=torch.float64, device=device).index_add_(0, codes, differences)
    size_of = torch.zeros_like(truth).index_add_(0, codes, differences.abs())
    assert torch.equal(counts.long(), torch.bincount(codes, minlength=size))
    assert ((sums.double() - truth).abs() <= (CHUNK + 64) * 2.0**-24 * size_of).all()


def test_no_rows(device):
    for indices in (torch.empty(0, 3), torch.full((1, 40), -1)):
        indices = indices.long().to(device)
        counts, sums = codebook_statistics(torch.randn(*indices.shape, 4, device=device), indices, 6)
        assert (counts == 0).all()
        assert (sums == 0).all()
