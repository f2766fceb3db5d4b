"""Measure one case: every provider that can take part, interleaved; its entry in the record."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from aevae_fast import reference
from aevae_fast.cli._verdict import wrong_indices

from . import (
    cosine_providers,
    latent_providers,
    mixture_providers,
    open_providers,
    residual_providers,
    scalar_providers,
    search_providers,
    step_providers,
)
from .cases import AnyCase
from .environment import device_name
from .record import OURS
from .roofline import (
    Work,
    floor_seconds,
    latent_work,
    mixture_work,
    residual_step_work,
    residual_work,
    scalar_work,
    search_work,
    step_work,
)
from .search_providers import Call, Provider
from .timing import (
    BUDGETS,
    SWEEP_BUDGETS,
    Budget,
    Spread,
    capture,
    cuda_seconds,
    interleave,
    ratio,
    spread,
    wall_seconds,
)

_CHECKED_ROWS = 64


class Measured:
    """One case, measured: samples in seconds, and why some providers are missing."""

    def __init__(self, kind: str, case: AnyCase, device: torch.device, scale: str) -> None:
        providers, work, refuse_wrong, budgets = _KINDS[kind]
        self.kind, self.case, self.device = kind, case, device
        self.skipped = {name: why for name in providers if (why := providers[name].obstacle(case, device.type))}
        tensors = case.draw(device)
        calls = {name: p.prepare(*tensors) for name, p in providers.items() if name not in self.skipped}
        refuse_wrong(calls[OURS](), *tensors)
        self.samples = interleave(calls, device, budgets[scale])
        self.floor = floor_seconds(work(case), device_name(device)) if device.type == "cuda" else None
        self.extra: dict[str, dict[str, float]] = {}
        if device.type == "cuda":
            self.extra = {name: _launch_costs(call, providers[name].capturable) for name, call in calls.items()}

    def spread(self, name: str) -> Spread:
        return spread(self.samples[name])

    def entry(self) -> dict[str, Any]:
        """This case in the record; times in milliseconds, `ours_over` the ratio of our median to that one's."""
        ours = self.samples[OURS]
        measured = {
            name: {
                **_milliseconds(self.spread(name)),
                "ours_over": round(ratio(ours, samples), 4),
                **self.extra.get(name, {}),
            }
            for name, samples in self.samples.items()
        }
        entry = {"kind": self.kind, **self.case._asdict(), "unit": "ms", "providers": measured, "skipped": self.skipped}
        if self.floor:
            entry |= {"floor": round(self.floor * 1e3, 5), "ours_over_floor": self.spread(OURS).median / self.floor}
        return entry


def _milliseconds(times: Spread) -> dict[str, float]:
    values = {key: round(value * 1e3, 5) for key, value in times._asdict().items()}
    return values | {"repeats": times.repeats}


def _refuse_wrong_codes(indices: torch.Tensor, x: torch.Tensor, codebook: torch.Tensor) -> None:
    """The first rows against the float64 reference."""
    rows, found = x[:_CHECKED_ROWS], indices[:_CHECKED_ROWS]
    best = reference.nearest_code(rows.double(), codebook.double())
    if wrong_indices(rows, codebook, found, best, "euclidean").any():
        raise ArithmeticError(f"aevae_fast found wrong codes for x {tuple(x.shape)}, codebook {tuple(codebook.shape)}")


class _Kind(NamedTuple):
    """Who takes part, what none of them can avoid, what raises where ours is wrong (no number for that), and how long
    a case may take, by scale."""

    providers: Mapping[str, Provider]
    work: Callable[[Any], Work]
    refuse_wrong: Callable[..., None]
    budgets: Mapping[str, Budget] = BUDGETS


_KINDS = {
    "search": _Kind(search_providers.PROVIDERS, search_work, _refuse_wrong_codes),
    "sweep": _Kind(search_providers.SWEEP, search_work, _refuse_wrong_codes, SWEEP_BUDGETS),
    "open search": _Kind(open_providers.PROVIDERS, search_work, _refuse_wrong_codes),
    "step": _Kind(step_providers.PROVIDERS, step_work, _refuse_wrong_codes),
    "cosine search": _Kind(cosine_providers.PROVIDERS, search_work, cosine_providers.refuse_wrong),
    "residual step": _Kind(residual_providers.STEPS, residual_step_work, residual_providers.refuse_wrong),
    "residual forward": _Kind(residual_providers.FORWARDS, residual_work, residual_providers.refuse_wrong),
    "latent": _Kind(latent_providers.PROVIDERS, latent_work, latent_providers.refuse_wrong),
    "mixture": _Kind(mixture_providers.PROVIDERS, mixture_work, mixture_providers.refuse_wrong),
    "fsq": _Kind(scalar_providers.FSQ, scalar_work, scalar_providers.refuse_wrong_levels),
    "lfq": _Kind(scalar_providers.LFQ, scalar_work, scalar_providers.refuse_wrong_signs),
}


def _launch_costs(call: Call, capturable: bool) -> dict[str, float]:
    """Wall time of an eager call and device time of a replayed graph, in milliseconds, medians."""
    wall = spread([wall_seconds(call) for _ in range(20)]).median
    costs = {"eager_wall": round(wall * 1e3, 5)}
    if capturable:
        graph, _ = capture(call)
        costs["graph"] = round(spread([cuda_seconds(graph.replay) for _ in range(20)]).median * 1e3, 5)
    return costs
