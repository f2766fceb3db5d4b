"""The rows that the emulated search narrows: candidates, and what they need not to miss the nearest code."""

import pytest
import torch
from torch import Tensor

from aevae_fast.kernels import configuration
from benchmarks.certificate import sweep as sweep_file
from benchmarks.certificate.codes import Codes, prepare
from benchmarks.certificate.kinds import drawn
from benchmarks.certificate.rescan import search
from benchmarks.certificate.scheme import NARROWED, scheme_for
from benchmarks.certificate.shares import measure
from benchmarks.certificate.sweep import CERTIFIED, FULL, WIDE, sweep
from benchmarks.certificate.truth import Truth

NARROWS = (4096, 144)  # K and D of 32 tiles


def test_candidates_of_narrowed_rows() -> None:
    codebook = torch.randn(*NARROWS, generator=torch.Generator().manual_seed(0))
    for code, copies, apart in ((3, 2, 128), (7, 7, 128), (9, 60, 64)):  # in the same slot of so many tiles, or in two
        codebook[code + apart * torch.arange(copies)] = codebook[code].clone()
    x = codebook[[1, 3, 7, 9, 11]] + 0.01
    x[4] *= 1e9
    codes = prepare(codebook, "euclidean", scheme_for(144))
    found = sweep(x, codes)
    assert found.kind.tolist() == [CERTIFIED, WIDE, WIDE, WIDE, FULL]
    assert found.candidates.sum(0).tolist() == [0, 2, 7, 256, 256]  # 60 groups of three rows in five are too many
    assert search(x, codes).code[:4].tolist() == [1, 3, 7, 9]
    fewer = sweep(x, prepare(codebook[:3968], "euclidean", scheme_for(144)))
    assert fewer.kind.tolist() == found.kind.tolist()
    assert fewer.candidates.sum(0).tolist() == [0, 31, 31, 62, 248]  # a slot, or two, in each of 31 tiles


@pytest.mark.parametrize("name", ["trained", "near ties, trained", "near ties, heavy-tailed"])
def test_narrowed_rows_need_all_of_their_reach(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, codebook, metric = drawn(name, 1024, *NARROWS)
    codes = prepare(codebook, metric, scheme_for(144))
    rows = x[sweep(x, codes).kind == WIDE]
    assert len(rows) > 20
    assert Truth(codebook, metric).judge(rows, search(rows, codes).code)[0].wrong == 0
    whole = sweep_file.narrowed

    def short(groups: Tensor, reach: Tensor, codes: Codes, wide: float) -> Tensor:
        return whole(groups, groups.amin(0).view(torch.int32), codes, 0.0)

    monkeypatch.setattr(sweep_file, "narrowed", short)
    assert Truth(codebook, metric).judge(rows, search(rows, codes).code)[0].wrong > 5


def test_which_searches_narrow() -> None:
    assert [scheme_for(dim).narrows(4096) for dim in (8, 64, 65, 128, 300)] == [False, False, True, True, True]
    assert not prepare(torch.ones(4095, 144), "dot", scheme_for(144)).narrows
    assert NARROWED == configuration.NARROWED


def test_shares_of_narrowed_rows() -> None:
    x, codebook, _ = drawn("trained", 256, *NARROWS)
    found, fewer = (measure(x, codes, scheme_for(144)) for codes in (codebook, codebook[:3968]))
    assert found["narrowed"] == found["wide"] > 0.1
    assert fewer["narrowed"] == 0 < fewer["wide"]
