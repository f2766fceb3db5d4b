"""Reconstruction error against its definition."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aevae_fast.metrics import ReconstructionError


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4), seed=st.integers(0, 2**31))
def test_error_over_batches_is_that_of_the_whole_set(sizes, seed):
    generator = torch.Generator().manual_seed(seed)
    originals = [torch.rand(size, 2, 3, 4, generator=generator) for size in sizes]
    decoded = [torch.rand(size, 2, 3, 4, generator=generator) for size in sizes]
    error = ReconstructionError()
    for x, y in zip(originals, decoded, strict=True):
        error.update(x, y)
    x, y = torch.cat(originals).double(), torch.cat(decoded).double()
    mse = (x - y).square().mean()
    report = error.compute()
    assert report.mse == pytest.approx(float(mse), rel=1e-12)
    assert report.nmse == pytest.approx(float(mse / x.var(unbiased=False)), rel=1e-9)
    per_image = -10 * (x - y).square().mean((1, 2, 3)).log10()
    assert report.psnr_db == pytest.approx(float(per_image.mean()), rel=1e-12)


def test_exact_and_constant_images_stay_defined():
    error = ReconstructionError()
    error.update(torch.full((2, 1, 4, 4), 0.5), torch.full((2, 1, 4, 4), 0.5))
    report = error.compute()
    assert (report.mse, report.psnr_db) == (0.0, pytest.approx(100.0))
    assert math.isinf(report.nmse)


def test_errors_name_what_came():
    with pytest.raises(ValueError, match=r"reconstructions.*\(1, 1, 4, 4\).*\(1, 1, 4, 5\)"):
        ReconstructionError().update(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 5))
    with pytest.raises(ValueError, match="at least one image"):
        ReconstructionError().compute()
