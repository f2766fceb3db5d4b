"""The cost model beside what was measured; where no GPU was, its predictions alone, under a heading that says so."""

from collections.abc import Callable
from importlib.util import find_spec
from statistics import median
from typing import Any, NamedTuple

from .case_types import AnyCase, Case, LatentCase
from .cases import OPEN
from .cost_model import Prediction, predict
from .demands import every_code_demands, latent_demands, open_demands, search_demands, step_demands
from .devices import DEVICES, Device, device_named
from .evidence import Evidence
from .record import OURS, YARDSTICK
from .roofline import Work, floor_seconds, latent_work, search_work, step_bytes, step_work
from .tables import digits, sizes, table


class _Kind(NamedTuple):
    """Of which title, case and demands a kind of benchmark is, and what none can avoid."""

    title: str
    case: type[Case] | type[LatentCase]
    demands: Callable[..., Any]
    work: Callable[[Any], Work]


_SEARCH = _Kind("nearest code", Case, search_demands, search_work)
_KINDS = {
    "search": _SEARCH,
    "sweep": _SEARCH,
    "step": _Kind("training step", Case, step_demands, step_work),
    "latent": _Kind("sample and KL, backward", LatentCase, latent_demands, latent_work),
}
_SHAPES = [(65536, 64, 512), (65536, 64, 1024), (65536, 256, 16384), (65536, 8, 16384), (150_000, 128, 1024)]
_SHAPES += [(150_000, 8, 1024), (1024, 256, 16384), (1, 256, 16384)]
_DTYPES = ("fp32", "bf16")
UNMEASURED: list[tuple[str, AnyCase]] = [
    *(("search", Case(*shape, dtype)) for shape in _SHAPES for dtype in _DTYPES),
    *(("step", Case(65536, 64, 1024, dtype)) for dtype in _DTYPES),
    *(("latent", LatentCase(65536, 256, dtype)) for dtype in _DTYPES),
]
# On a CPU: passes over a score in the cache, each as long as one multiply-add of the product: a bias, a minimum.
_PASSES = 2


def prediction(kind: str, case: AnyCase, device: Device, evidence: Evidence) -> Prediction | None:
    """Seconds of that case by the model; None where the model or the record of compiled kernels does not reach, or
    where there is no Triton, without which the kernels' table of tiles cannot be read."""
    if kind not in _KINDS or not find_spec("triton"):
        return None
    demands = _KINDS[kind].demands(case, device, evidence)
    return predict(demands, device) if demands else None


def of_entry(entry: dict[str, Any], device: Device, evidence: Evidence) -> Prediction | None:
    """Of a case in a record."""
    if entry["kind"] not in _KINDS:
        return None
    case = _KINDS[entry["kind"]].case
    return prediction(entry["kind"], case(*(entry[field] for field in case._fields)), device, evidence)


def unmeasured(name: str, evidence: Evidence) -> list[str]:
    """Predictions for a device that nothing was measured on, in microseconds; nothing where nothing is recorded."""
    device = DEVICES[name]
    rows = [["", "N, D (, K)", "input", "floor", "predicted", "if all overlapped", "predicted / floor", "mostly"]]
    for kind, case in UNMEASURED:
        found = prediction(kind, case, device, evidence)
        floor = floor_seconds(_KINDS[kind].work(case), name)
        if found is None or floor is None:
            continue
        place = [_KINDS[kind].title, sizes(case._asdict()), case.dtype, _us(floor)]
        times = [_us(found.seconds), _us(found.overlapped), f"{found.seconds / floor:.2f}×"]
        rows.append([*place, *times, found.mostly])
    if len(rows) == 1:
        return []
    text = (
        "Microseconds, computed, not measured: no number in this table was timed. The floor is the least that the "
        "device's peak rates allow ([roofline.py](benchmarks/roofline.py)); predicted is what counted bytes, products, "
        "instructions and launches take at the rates assumed in [devices.py](benchmarks/devices.py), product and "
        "comparisons one after the other ([cost_model.py](benchmarks/cost_model.py)). A record of the device replaces "
        "this table by the model's error."
    )
    return [f"### {name}: unmeasured predictions", text, table(rows), *_unmeasured_open(device, evidence)]


def _unmeasured_open(device: Device, evidence: Evidence) -> list[str]:
    """What a search costs where its certificate decides nothing, beside the comparison that it then comes to."""
    rows = [["N, D, K", "input", "predicted", "every code compared at once", "ratio"]]
    for case in OPEN["cuda"]:
        demands = open_demands(case, device, evidence), every_code_demands(case, device, evidence)
        if None not in demands:
            ours, exact = (predict(each, device).seconds for each in demands if each)
            rows.append([sizes(case._asdict()), case.dtype, _us(ours), _us(exact), f"{ours / exact:.2f}×"])
    text = "The same where no row is certified and each is swept in vain, then compared with every code"
    return [text, table(rows)] if len(rows) > 1 else []


def step_traffic() -> list[str]:
    """What each kernel of a training step moves, counted."""
    rows = [["N, D, K", "input", *step_bytes(Case(1, 1, 1)), "all"]]
    for case in (Case(65536, 64, 1024, dtype) for dtype in _DTYPES):
        moved = step_bytes(case).values()
        rows.append([sizes(case._asdict()), case.dtype, *(f"{n / 1e6:.1f}" for n in (*moved, sum(moved)))])
    text = "Megabytes that each kernel reads and writes, each tensor once ([roofline.py](benchmarks/roofline.py))"
    return ["### Bytes of a training step, counted", text, table(rows)]


def gpu_comparison(record: dict[str, Any], evidence: Evidence) -> list[str]:
    """Predicted and measured of each case of a GPU's record, in microseconds, and the model's error. Measured is the
    time of a replayed graph, where there is one: the model knows launches, not what Python takes to ask for them."""
    device = device_named(record["device"])
    rows = [["", "N, D (, K)", "input", "predicted", "if all overlapped", "measured", "predicted / measured", "mostly"]]
    ratios = []
    for entry in record["cases"]:
        found = of_entry(entry, device, evidence) if device else None
        if found is None:
            continue
        measured = _measured(entry)
        ratios.append(found.seconds / measured)
        if entry["kind"] != "sweep":
            times = [_us(seconds) for seconds in (found.seconds, found.overlapped, measured)]
            place = [_KINDS[entry["kind"]].title, sizes(entry), entry["dtype"]]
            rows.append([*place, *times, f"{ratios[-1]:.2f}×", found.mostly])
    if not ratios:
        return []
    title = "**The cost model** ([cost_model.py](benchmarks/cost_model.py)) beside this record, microseconds"
    return [title, table(rows), _error(ratios)]


def cpu_comparison(record: dict[str, Any]) -> list[str]:
    """A model of the search on a CPU: the product at the best rate that a bare product reached in this record, and two
    passes over the scores. Nothing is fitted to the search itself."""
    entries = [entry for entry in record["cases"] if entry["kind"] in ("search", "sweep")]
    bare = {id(entry): entry["providers"][YARDSTICK]["median"] for entry in entries if YARDSTICK in entry["providers"]}
    if not bare:
        return []
    rate = max(_multiply_adds(entry) / bare[id(entry)] for entry in entries if id(entry) in bare)
    rows = [["N, D, K", "input", YARDSTICK, "predicted", "measured", "predicted / measured"]]
    ratios = []
    for entry in entries:
        predicted = _multiply_adds(entry, _PASSES) / rate
        measured = entry["providers"][OURS]["median"]
        ratios.append(predicted / measured)
        if entry["kind"] == "search":
            floor = digits(bare[id(entry)]) if id(entry) in bare else "-"
            rows.append(
                [sizes(entry), entry["dtype"], floor, digits(predicted), digits(measured), f"{ratios[-1]:.2f}×"]
            )
    title = (
        "**A model of the search**, milliseconds: N·K·(D + 2) multiply-adds, two of them for what follows the product, "
        f"at the best rate that {YARDSTICK} reached"
    )
    return [title, table(rows), _error(ratios)]


def _multiply_adds(entry: dict[str, Any], passes: int = 0) -> int:
    return entry["rows"] * entry["codes"] * (entry["dim"] + passes)


def _measured(entry: dict[str, Any]) -> float:
    """Seconds of ours."""
    ours = entry["providers"][OURS]
    return ours.get("graph", ours["median"]) / 1e3


def _error(ratios: list[float]) -> str:
    """In words: how far the predictions stray from what was measured."""
    off = median(abs(ratio - 1) for ratio in ratios)
    return f"Median absolute relative error of the prediction over {len(ratios)} cases: {100 * off:.0f}%."


def _us(seconds: float) -> str:
    return digits(seconds * 1e6)
