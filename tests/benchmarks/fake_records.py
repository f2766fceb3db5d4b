"""Records that nobody measured, for tests of what is made of records."""

from typing import Any

from benchmarks.case_types import AnyCase
from benchmarks.evidence import Evidence

_OTHERS = {
    "search": {"cdist + argmin": 6.0, "flash-kmeans": 1.3, "reference, torch.compile": 2.0, "mm into place": 0.8},
    "sweep": {"cdist + argmin": 6.0, "vector-quantize-pytorch (eval)": 20.0, "mm into place": 0.8},
    "step": {"vector-quantize-pytorch": 15.0, "aevae_fast, dead codes replaced": 1.1},
    "latent": {"eager": 3.0, "torch.compile": 1.2},
}
_OPCODES = {"VIMNMX": 0.6, "IADD3": 0.4, "LDS": 0.2, "UMOV": 0.1}
_SEARCH = {"per_pair": 2.0, "per_pair_by_opcode": _OPCODES, "registers": 230, "shared": 184320}
_LATENT = {"per_element": 48.0, "per_element_by_opcode": {"FFMA": 20.0, "MUFU": 3.0}, "registers": 100, "shared": 8}
# What a compiled search and Gaussian bottleneck might come to, on one target.
COMPILED = {
    "sm_90": {
        **{f"nearest_code D={dim} {dtype} rows": _SEARCH for dim in (8, 64, 256) for dtype in ("fp32", "bf16")},
        **{f"narrow D=256 {dtype} rows": _SEARCH for dtype in ("fp32", "bf16")},
        **{
            f"{k} D=256 {t} chunk": _LATENT
            for k in ("reparameterize_kl", "reparameterize_kl_bwd")
            for t in ("fp32", "bf16")
        },
    }
}

EVIDENCE = Evidence(COMPILED)


def entry(kind: str, case: AnyCase, milliseconds: float, **fields: Any) -> dict[str, Any]:
    """A case whose time of ours is given; the others take fixed multiples of it."""
    ratios = {"aevae_fast": 1.0} | _OTHERS[kind]
    providers = {
        name: {"median": milliseconds * ratio, "p20": 0.0, "p80": 0.0, "repeats": 9, "ours_over": 1 / ratio}
        for name, ratio in ratios.items()
    }
    providers["aevae_fast"] |= fields.pop("ours", {})
    return {"kind": kind, **case._asdict(), "unit": "ms", "providers": providers, "skipped": {}, **fields}


def memory(kind: str, case: AnyCase, mib: dict[str, float]) -> dict[str, Any]:
    return {"kind": f"{kind} memory", **case._asdict(), "unit": "MiB", "providers": mib}


def record(device: str, kind: str, cases: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "device": device, "type": kind, "commit": "0123456789abcdef", "dirty": False, "versions": {"torch": "2"},
        "clocks": {}, "load": 0.1, "cases": cases,
    }  # fmt: skip
