"""The cost model: units, padding, what grows with what, and which part counts where."""

import pytest

from benchmarks.cases import Case, LatentCase
from benchmarks.cost_model import Demand, Terms, predict, terms
from benchmarks.demands import latent_demands, search_demands, step_demands
from benchmarks.devices import DEVICES, LAUNCH, MEMORY_SHARE, TENSOR_SHARE
from benchmarks.evidence import Evidence
from benchmarks.predictions import prediction
from benchmarks.search_layout import Tiles, cut, search_tiles
from tests.benchmarks.fake_records import EVIDENCE

H100 = DEVICES["H100"]
CLOCKS = 132 * 1.83e9  # of all processors, a second


def search(*sizes: int, dtype: str = "fp32") -> float:
    found = prediction("search", Case(*sizes, dtype), H100, EVIDENCE)
    assert found is not None
    return found.seconds


@pytest.mark.parametrize(
    ("demand", "term"),
    [
        pytest.param(Demand(memory=3.35e12 * MEMORY_SHARE), "memory", id="bytes from DRAM"),
        pytest.param(Demand(l2=H100.l2), "l2", id="bytes from L2"),
        pytest.param(Demand(flops=990e12 * TENSOR_SHARE), "product", id="flops"),
        pytest.param(Demand(issued=128 * CLOCKS), "comparisons", id="instructions"),
        pytest.param(Demand(half=64 * CLOCKS), "comparisons", id="half-rate instructions"),
        pytest.param(Demand(special=16 * CLOCKS), "comparisons", id="special instructions"),
        pytest.param(Demand(launches=round(1 / LAUNCH)), "launches", id="launches"),
    ],
)
def test_a_second_of_each(demand: Demand, term: str) -> None:
    found = terms(demand, H100)
    assert getattr(found, term) == pytest.approx(1)
    assert sum(found) == pytest.approx(1, rel=1e-5 if term != "launches" else 1e-9)


def test_the_slowest_kind_of_instruction_counts() -> None:
    assert terms(Demand(issued=128 * CLOCKS, half=32 * CLOCKS, special=4 * CLOCKS), H100).comparisons == pytest.approx(
        1
    )
    assert terms(Demand(issued=64 * CLOCKS, half=64 * CLOCKS, special=4 * CLOCKS), H100).comparisons == pytest.approx(1)


def test_product_and_comparisons_add_up_unless_overlapped() -> None:
    both = Terms(memory=3.0, l2=2.0, product=4.0, comparisons=1.0, launches=0.5)
    assert (both.seconds, both.overlapped) == (5.5, 4.5)
    assert both.spent() == {"product": 4.0, "comparisons": 1.0, "launches": 0.5}
    slow = both._replace(l2=6.0)
    assert (slow.seconds, slow.overlapped) == (6.5, 6.5)
    assert slow.spent() == {"L2": 6.0, "launches": 0.5}


def test_programs_beside_each_other_overlap() -> None:
    demand = Demand(flops=990e12 * TENSOR_SHARE * 4, issued=128 * CLOCKS, programs=2)
    two = terms(demand, H100)
    assert two.seconds == two.overlapped == pytest.approx(4, rel=1e-4)
    assert two.spent() == {"product": pytest.approx(4), "launches": LAUNCH}
    assert sum(two._replace(l2=6.0).spent().values()) == two._replace(l2=6.0).seconds
    assert terms(demand._replace(programs=1), H100).seconds == pytest.approx(5, rel=1e-4)


def test_kernels_follow_each_other() -> None:
    found = predict({"a": Demand(memory=3e12), "b": Demand(flops=1e15), "c": Demand(l2=1e12, launches=3)}, H100)
    assert found.seconds == pytest.approx(sum(found.spent.values()))
    assert found.spent.keys() == {"memory", "launches", "product", "comparisons", "L2"}
    assert found.spent["launches"] == pytest.approx(5 * LAUNCH)
    assert found.mostly == "product"


def test_a_round_that_is_not_full_costs_a_full_one() -> None:
    tiles = Tiles(128, 256, 8, 80)
    full = cut(Case(128 * 132, 64, 1024), tiles, 1, 132)
    assert full == (128 * 132 * 1024, 132 * 1024, 1, 1)  # every pair once; a block of rows reads all codes
    assert cut(Case(128 * 132 + 1, 64, 1024), tiles, 1, 132) == (2 * full.pairs, 133 * 1024, 1, 1)
    assert cut(Case(128 * 264, 64, 1024), tiles, 2, 132) == (2 * full.pairs, 264 * 1024, 1, 2)
    assert cut(Case(128 * 132, 64, 1024), tiles, 2, 132) == full  # one a processor, though there is room for two
    assert cut(Case(128 * 132, 64, 1000), tiles, 1, 132) == full  # codes padded to whole tiles


def test_few_rows_split_the_codebook() -> None:
    one = cut(Case(1, 256, 16384), Tiles(128, 128, 8, 272), 1, 132)
    assert one == (132 * 128 * 128, 16384, 128, 1)  # 128 programs of one tile each, four processors idle
    assert search(1, 256, 16384) < search(128 * 132, 256, 16384) / 10


def test_a_codebook_is_split_no_finer_than_its_tiles() -> None:
    assert cut(Case(1024, 64, 1024), Tiles(128, 256, 8, 80), 1, 132).splits == 4
    assert cut(Case(1024, 64, 7 * 256), Tiles(128, 256, 8, 80), 1, 40).splits == 4  # two, two, two and one
    assert cut(Case(128 * 132, 64, 16384), Tiles(128, 256, 8, 80), 2, 132).splits == 1


@pytest.mark.parametrize(
    ("dim", "depth"), [(1, 32), (8, 32), (9, 64), (16, 64), (17, 128), (64, 80), (100, 144), (256, 272), (300, 336)]
)
def test_tiles_are_those_of_the_kernels(dim: int, depth: int) -> None:
    tiles = search_tiles(dim, "sm_90")
    assert tiles.depth == depth
    assert tiles.parts == (3 if dim <= 32 else 1)
    assert tiles.streamed == (dim > 256 or dim == 100)  # 16 does not divide it


def test_the_second_sweep_counts() -> None:
    open_rows = {"data": "N(0, 1)", "product": "float16", "dim": 64, "codes": 1024, "parts": 1}
    shares = [{**open_rows, "shares": {"certified": 0.99, "codes": 0.2, "second sweep": {"rows": 0.25},
               "first sweep": {"certified": 0.75, "codes": 30.0}}}]  # fmt: skip
    case = Case(65536, 64, 1024)
    assert search_tiles(64, "sm_90", again=True).depth == 208
    assert search_tiles(128, "sm_90", again=True) is None
    record = EVIDENCE.targets["sm_90"]
    again = {**record, "nearest_code D=64 fp32 rows again": record["nearest_code D=64 fp32 rows"]}
    demands = search_demands(case, H100, EVIDENCE._replace(targets={"sm_90": again}, shares=shares))
    assert demands["second sweep"].memory == 16384 * (256 + 12) + 160 * 1024  # of the codes, low parts and bounds
    assert demands["second sweep"].l2 == 128 * 288 * 1024  # and those of high parts
    assert demands["second sweep"].flops == 416 * 16896 * 1024  # one round of 132 programs
    shares[0]["shares"]["second sweep"]["rows"] = 0.06  # too few
    demands = search_demands(case, H100, EVIDENCE._replace(targets={"sm_90": again}, shares=shares))
    assert demands["second sweep"] == Demand(memory=160 * 1024)  # a launch, and its columns
    assert demands["settle"].l2 == 30 * 65536 * 4 * 64


def test_rows_that_are_streamed_are_read_for_each_tile() -> None:
    case = Case(128 * 132, 300, 1024)
    demands = search_demands(case, H100, EVIDENCE)
    assert demands is not None
    tiles = search_tiles(300, "sm_90")
    codes, rows = 132 * 1024, 132 * 128 * (1024 // tiles.block_k)
    assert demands["sweep"].l2 == 2 * 336 * (codes + rows)
    assert demands["prepare"].launches == 2


@pytest.mark.parametrize("place", [pytest.param(0, id="N"), pytest.param(1, id="D"), pytest.param(2, id="K")])
def test_more_work_takes_longer(place: int) -> None:
    base = [65536, 64, 1024]
    least, most = ((0, 21), (6, 11), (4, 17))[place]  # up to D = 32 codes take three parts
    times = [search(*base[:place], 1 << power, *base[place + 1 :]) for power in range(least, most)]
    assert times == sorted(times)
    assert times[-1] > 2 * times[0]


@pytest.mark.parametrize(
    ("kind", "case", "mostly"),
    [
        pytest.param("search", Case(65536, 256, 16384), "product", id="a large product"),
        pytest.param("search", Case(1, 256, 16384), "memory", id="one row: the codebook is prepared"),
        pytest.param("search", Case(1, 64, 64), "launches", id="nothing to do"),
        pytest.param("search", Case(1 << 24, 64, 64), "memory", id="few codes"),
        pytest.param("step", Case(65536, 64, 1024), "launches", id="a short step"),
        pytest.param("step", Case(1 << 20, 64, 64), "memory", id="a step that moves much"),
        pytest.param("latent", LatentCase(1 << 20, 256), "memory", id="bottleneck"),
    ],
)
def test_what_dominates(kind: str, case: Case | LatentCase, mostly: str) -> None:
    found = prediction(kind, case, H100, EVIDENCE)
    assert found is not None
    assert found.mostly == mostly
    assert found.overlapped <= found.seconds


def test_slow_loops_are_dominated_by_comparisons() -> None:
    slow = {"per_pair": 20.0, "per_pair_by_opcode": {"VIMNMX": 9.0}, "registers": 230, "shared": 0}
    found = prediction(
        "search", Case(65536, 64, 1024), H100, Evidence({"sm_90": {"nearest_code D=64 fp32 rows": slow}})
    )
    assert found is not None
    assert found.mostly == "comparisons"


def test_l2_counts_the_codebook_once_a_block_of_rows() -> None:
    demands = search_demands(Case(128 * 132, 64, 1024), H100, EVIDENCE)
    assert demands is not None
    assert demands["sweep"].l2 == 132 * 1024 * 80 * 2
    assert demands["sweep"].flops == 2 * 128 * 132 * 1024 * 80
    assert demands["sweep"].half == pytest.approx(1.0 * 128 * 132 * 1024)  # of two instructions a pair


def test_a_step_gathers_and_moves_more_than_its_search() -> None:
    case = Case(65536, 64, 1024)
    search, step = search_demands(case, H100, EVIDENCE), step_demands(case, H100, EVIDENCE)
    assert search is not None
    assert step is not None
    assert step["settle"].memory == 2 * 8 * 65536 + 2 * 65536 * 64 * 4
    assert {name: step[name] for name in ("prepare", "sweep")} == {name: search[name] for name in ("prepare", "sweep")}
    assert sum(demand.launches for demand in step.values()) > 3 * sum(demand.launches for demand in search.values())


def test_a_bottleneck_moves_eight_tensors() -> None:
    demands = latent_demands(LatentCase(10, 256), H100, EVIDENCE)
    assert demands is not None
    assert [demand.memory for demand in demands.values()] == [3 * 10240 + 40, 5 * 10240]
    assert demands["backward"].special == 3 * 2560
