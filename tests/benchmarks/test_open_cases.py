"""What is timed as rows that stay open does stay open, on either path, and is swept as often as predictions say."""

import sys

import pytest
import torch

from aevae_fast.portable._search import prepare
from aevae_fast.portable.nearest_code import nearest_code
from benchmarks.cases import OPEN, OpenCase
from benchmarks.certificate import codes as emulated
from benchmarks.certificate.scheme import scheme_for
from benchmarks.certificate.sweep import FULL, sweep

CPU = torch.device("cpu")
PORTABLE = sys.modules[nearest_code.__module__]
SIZES = sorted({(case.dim, case.codes) for cases in OPEN.values() for case in cases})


@pytest.mark.parametrize(("dim", "size"), SIZES)
def test_no_row_is_certified(dim: int, size: int) -> None:
    x, codebook = OpenCase(8 * PORTABLE._SAMPLE, dim, size).draw(CPU)
    assert PORTABLE._in_vain(x[None], prepare(codebook, "euclidean", len(x)))
    codes = emulated.prepare(codebook, "euclidean", scheme_for(dim))
    for each in filter(None, (codes, codes.again)):
        verdict = sweep(x[:64], each)
        assert bool(verdict.again.all())  # left open, by a sweep that could have told
        assert not bool((verdict.kind == FULL).any())
