"""What the cost model takes from records of machine code and of the certificate."""

import pytest

from benchmarks.cases import Case
from benchmarks.demands import search_demands
from benchmarks.devices import DEVICES
from benchmarks.evidence import Again, Counts, Evidence, compared_again, counts, programs_a_processor
from benchmarks.predictions import prediction
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
    assert compared_again(evidence, 64, 900, 1) == Again(pytest.approx(2 / 40), 2.0)
    assert compared_again(evidence, 512, 64, 1) == Again(pytest.approx(4 / 40), 4.0)
    assert compared_again(evidence, 16, 1024, 3) == Again(pytest.approx(0.5 / 40), 0.5)
    assert compared_again(EVIDENCE, 64, 1024, 1) is None
    counted, assumed = (search_demands(Case(1000, 64, 1024), H100, each) for each in (evidence, EVIDENCE))
    assert counted is not None
    assert assumed is not None
    assert counted["settle"].l2 == 2.0 * 1000 * 4 * 64
    assert assumed["settle"].l2 == pytest.approx(0.05 * 2 * 16 * 1000 * 4 * 64)
    assert counted["sweep"] == assumed["sweep"]
