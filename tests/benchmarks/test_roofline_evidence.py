"""What the cost model takes from records of machine code and of the certificate."""

import itertools

import pytest
import torch

from aevae_fast.kernels import configuration, narrow, search
from benchmarks import search_layout
from benchmarks.cases import Case
from benchmarks.cost_model import Demand
from benchmarks.demands import search_demands, step_demands
from benchmarks.devices import DEVICES
from benchmarks.evidence import SWEPT_AGAIN, Again, Counts, Evidence, compared_again, counts, programs_a_processor
from benchmarks.predictions import prediction
from benchmarks.search_layout import Tiles, mask_bytes, narrow_cut, narrow_waves, narrows, search_tiles
from tests.benchmarks.fake_records import EVIDENCE

H100 = DEVICES["H100"]


def test_counts_of_the_next_larger_dimension() -> None:
    entries = {f"nearest_code D={dim} fp32 rows": _entry(dim) for dim in (8, 64, 128)}
    more = {"nearest_code D=32 bf16 rows": _entry(1), "other D=32 fp32 rows": _entry(2)}
    evidence = Evidence({"sm_90": entries | more})
    found = [counts(evidence, "sm_90", "nearest_code", dim, "fp32 rows") for dim in (8, 9, 64, 100, 300)]
    assert [each and each.issued for each in found] == [8, 64, 64, 128, 128]
    assert counts(evidence, "sm_90", "nearest_code", 64, "fp16 rows") is None
    assert counts(evidence, "sm_80", "nearest_code", 64, "fp32 rows") is None
    assert prediction("search", Case(1, 64, 64), DEVICES["A100"], evidence) is None


def _entry(per_pair: float) -> dict[str, object]:
    return {"per_pair": per_pair, "per_pair_by_opcode": {}, "registers": 230, "shared": 0}


def test_opcodes_go_at_their_rates() -> None:
    opcodes = {"VIMNMX3": 0.5, "SEL": 0.25, "UIADD3": 4.0, "MUFU": 0.125, "FFMA": 8.0}
    evidence = Evidence({"sm_90": {"k D=8 x": _entry(13.0) | {"per_pair_by_opcode": opcodes}}})
    assert counts(evidence, "sm_90", "k", 8, "x") == Counts(13.0, 0.75, 0.125, 230, 0)


@pytest.mark.parametrize(
    ("registers", "shared", "warps", "programs"),
    [
        pytest.param(230, 184320, 8, 1, id="registers"),
        pytest.param(64, 0, 4, 8, id="more of them"),
        pytest.param(32, 100 << 10, 4, 2, id="shared memory"),
        pytest.param(16, 0, 8, 8, id="warps"),
        pytest.param(255, 230 << 10, 16, 1, id="one at least"),
    ],
)
def test_programs_beside_each_other(registers: int, shared: int, warps: int, programs: int) -> None:
    assert programs_a_processor(Counts(1, 1, 0, registers, shared), warps, H100.shared) == programs


def test_open_rows_are_those_that_were_counted() -> None:
    def share(dim: int, codes: int, again: float, **other: object) -> dict[str, object]:
        found = {"certified": 1 - again / 40, "codes": again}
        return {
            "dim": dim,
            "codes": codes,
            "data": "N(0, 1)",
            "product": "float16",
            "parts": 1,
            "shares": found,
        } | other

    shares = [share(64, 512, 1.0), share(64, 1024, 2.0), share(256, 16384, 4.0), share(8, 1024, 0.5, parts=3)]
    shares += [share(64, 1024, 9.0, data="photos"), share(64, 1024, 9.0, product="bfloat16")]
    evidence = EVIDENCE._replace(shares=shares)
    assert compared_again(evidence, 9, 64, 900, 1) == Again(pytest.approx(2 / 40), 2.0)
    assert compared_again(evidence, 9, 512, 64, 1) == Again(pytest.approx(4 / 40), 4.0)
    assert compared_again(evidence, 9, 16, 1024, 3) == Again(pytest.approx(0.5 / 40), 0.5)
    assert compared_again(EVIDENCE, 9, 64, 1024, 1) is None
    counted, assumed = (search_demands(Case(1000, 64, 1024), H100, each) for each in (evidence, EVIDENCE))
    assert counted is not None
    assert assumed is not None
    assert counted["settle"].l2 == 2.0 * 1000 * 4 * 64
    assert assumed["settle"].l2 == pytest.approx(0.05 * 2 * 16 * 1000 * 4 * 64)
    assert counted["sweep"] == assumed["sweep"]


def narrow_demand(case: Case, evidence: Evidence, **shares: float) -> Demand | None:
    shape = {"data": "N(0, 1)", "product": "float16", "dim": 256, "codes": 16384, "parts": 1}
    entry = shape | {"shares": {"certified": 0.5, "codes": 1.0, **shares}}
    demands = search_demands(case, H100, evidence._replace(shares=[entry]))
    assert demands is not None
    return demands.get("narrow")


def test_narrowed_rows_are_swept_again() -> None:
    case = Case(65536, 256, 16384)
    found = narrow_demand(case, EVIDENCE, narrowed=0.125)
    assert found is not None
    pairs = 4 * 132 * 128 * 2048  # 64 blocks of rows, 8 programs of 16 tiles each: 512 programs, in four rounds
    assert (found.flops, found.issued) == (544 * pairs, 2.0 * pairs)
    assert found.l2 == 544 * 64 * 16384
    assert found.memory == 8192 * (1024 + 24 + 2 * 128)  # 128 tiles of 8 groups, a bit each
    assert found.launches == 4
    assert narrow_demand(case, EVIDENCE, narrowed=0.0) == Demand(launches=4)
    assert narrow_demand(case, EVIDENCE) == Demand(launches=4)  # a record that knows of none
    step = step_demands(case, H100, EVIDENCE)
    assert step is not None
    assert step["narrow"] == Demand(launches=4)


def test_searches_that_do_not_narrow() -> None:
    assert narrow_demand(Case(65536, 256, 4095), EVIDENCE, narrowed=0.125) is None
    assert narrow_demand(Case(65536, 256, 4096), EVIDENCE, narrowed=0.125) is not None
    assert narrow_demand(Case(65536, 256, 1 << 20), EVIDENCE, narrowed=0.125) is None  # too many bits
    assert narrow_demand(Case(1024, 256, 16384), EVIDENCE, narrowed=0.125) is None  # the codebook is split
    assert narrow_demand(Case(65536, 64, 16384), EVIDENCE, narrowed=0.125) is None
    sweep = {name: found for name, found in EVIDENCE.targets["sm_90"].items() if not name.startswith("narrow")}
    assert narrow_demand(Case(65536, 256, 16384), Evidence({"sm_90": sweep}), narrowed=0.125) is None


def test_wide_rows_of_a_codebook_in_parts_meet_their_slots_in_a_part() -> None:
    entry = {"data": "N(0, 1)", "product": "float16", "dim": 256, "codes": 16384, "parts": 1}
    shares = [entry | {"shares": {"certified": 0.5, "codes": 3.0, "narrowed": 0.125}}]
    demands = search_demands(Case(1024, 256, 16384), H100, EVIDENCE._replace(shares=shares))
    assert demands is not None
    assert demands["settle"].l2 == (3.0 + 0.125 * 2 * 8 * 16) * 1024 * 4 * 256  # 16 parts of 8 tiles


def test_streamed_rows_are_narrowed_as_columns() -> None:
    found = narrow_demand(Case(65536, 300, 4096), EVIDENCE, narrowed=0.125)
    assert found is not None
    assert found.l2 == 672 * (64 * 4096 + 64 * 128 * 16)  # rows again for each of 16 tiles
    assert found.memory == 8192 * (672 + 24 + 2 * 32)


@pytest.mark.parametrize(
    ("dim", "codes", "dtype", "tiles", "waves"),
    [
        pytest.param(256, 16384, "fp32", Tiles(128, 128, 8, 272), 2, id="many masks"),
        pytest.param(256, 2048, "fp32", Tiles(128, 128, 8, 272), 1, id="few masks"),
        pytest.param(256, 8192, "fp32", Tiles(128, 128, 8, 272), 1, id="fp32"),
        pytest.param(256, 8192, "bf16", Tiles(128, 128, 8, 272), 2, id="x half as large"),
        pytest.param(256, 8192, "fp32", Tiles(128, 256, 8, 272), 1, id="two bytes for 16 groups, half of the tiles"),
    ],
)
def test_masks_stay_small_beside_x(dim: int, codes: int, dtype: str, tiles: Tiles, waves: int) -> None:
    assert narrow_waves(Case(65536, dim, codes, dtype), tiles) == waves


def test_narrowing_is_that_of_the_kernels() -> None:
    sizes = search_layout.NARROW_TILES, search_layout.NARROW_WAVES, search_layout.NARROW_SHARE
    assert sizes == (narrow.TILES, narrow.WAVES, narrow.SHARE)
    assert search.FEW == SWEPT_AGAIN
    for dim in (8, 64, 65, 128, 256, 300):
        for target in ("sm_80", "sm_90", "sm_100", "gfx942"):
            tiles, config = search_tiles(dim, target), configuration.search_config(dim, target)
            assert tiles is not None
            for codes, dtype in itertools.product((4095, 4096, 16384, 1 << 18), ("fp32", "bf16")):
                case = Case(1, dim, codes, dtype)
                x = torch.empty(1, 1, dim, dtype={"fp32": torch.float32, "bf16": torch.bfloat16}[dtype])
                assert (narrow_waves(case, tiles) if narrows(case, tiles) else 0) == narrow.waves_of(x, codes, config)
            assert mask_bytes(Case(1, dim, tiles.block_k), tiles) == (1 if config.slots <= 8 else 2)
    assert narrow_cut(Case(0, 256, 16384), Tiles(128, 128, 8, 272), 1, 132).pairs == 0
