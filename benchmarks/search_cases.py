"""The configurations of the search kernels, with the arguments that the JIT would see (compile_cases.py)."""

from __future__ import annotations

from typing import Any

from aevae_fast.kernels import narrow, nearest_code, search, settle, vector_quantize
from aevae_fast.kernels.code_columns import EXTRA
from aevae_fast.kernels.configuration import SearchConfig, search_config

from .compile_types import size_type, stride_types
from .machine_code import Case


def search_case(
    kernel: str, dimension: int, dtype: str, layout: str, arch: str, metric: str = "euclidean", split: bool = False,
    config: SearchConfig | None = None, again: bool = False,
) -> Case:  # fmt: skip
    """A kernel of the search at one D, dtype and layout of x, as launched on arch: "nearest_code", its sweep (`again`:
    its second); "narrow" and "settle_wide", for its wide rows; "settle"; "vector_quantize", which settles, gathers and
    sums."""
    config = config or search_config(dimension, arch)
    lists = search.OPEN if config.again else search.WIDE if config.segment > 64 else search.NO_LIST
    slots = config.slots
    if again:
        assert config.again is not None, "one sweep alone"
        config, lists = config.again, search.AGAIN
    tail = f"D={dimension} {dtype} {layout}" + (f" {metric}" if metric != "euclidean" else "")
    name = f"{kernel} {tail}" + (" split" if split else "") + (" again" if again else "")
    common: dict[str, Any] = {
        "x_ptr": f"*{dtype}", "entry_ptr": "*i64", "N": "i32:16", "S": "i32:16", "D": size_type(dimension),
        **stride_types("x", dimension, layout), "tiles": "i32", "BLOCK_K": config.block_k, "LANES": config.lanes,
        "GROUP_STEPS": config.group_steps,
    }  # fmt: skip
    if kernel == "nearest_code":
        arguments = common | _sweep_arguments(config, metric) | {
            "lowest_ptr": "*fp32", "reach_ptr": "*fp32", "bounds_ptr": "*fp32", "open_ptr": "*i32", "K": "i32",
            "tile_mask": "i32", "few": "i32", "group_bits": "i32", "PARTS": config.parts, "INLINE": config.inline,
            "SPLIT": split, "LISTS": search.NO_LIST.value if split else lists.value, "ENTRY_SLOTS": slots,
            "AT_ONCE": search.dimensions_at_once(config),
            "low": f"tensordesc<fp16[{config.block_k}, {config.columns}]>" if config.apart else "*fp16",
            "PTX": config.ptx,
        }  # fmt: skip
        return _sweep(name, search._sweep_kernel, arguments, config)
    groups = {"count_ptr": "*i32", "list_ptr": "*i32", "groups_ptr": "*u8" if config.slots <= 8 else "*i16",
              "first": "i32"}  # fmt: skip
    if kernel == "narrow":
        return _sweep(name, narrow._narrow_kernel, common | groups | _sweep_arguments(config, metric), config,
                      narrow.warps_of(config))  # fmt: skip
    common |= {
        "codes_ptr": "*fp32", "K": "i32", "EUCLIDEAN": metric == "euclidean",
        "BLOCK_D": settle.dimensions_of(dimension), "CODES": settle.CODES,
    }  # fmt: skip
    if kernel == "settle_wide":
        arguments = common | groups | {"wave": "i32", "GROUPS": narrow.GROUPS}
        return Case(name, narrow._settle_wide_kernel, arguments, 4, registers=settle.registers_of(2 if split else 1))
    common |= {
        "lowest_ptr": "*fp32", "reach_ptr": "*fp32", "indices_ptr": "*i64", "splits": "i32", "group_bits": "i32",
        "SPLITS": 16 if split else 1, "ROWS": 8 if split else 32,
    }  # fmt: skip
    if kernel == "settle":
        counted = {}
        if arch.startswith("sm_") and not split:  # the loop in which a block meets all codes
            pairs, step = common["ROWS"] * settle.BLOCK_CODES.value, settle.STEP.value
            counted = {"pairs": pairs, "depth": -(-dimension // step) * step, "step": step}
        registers = settle.registers_of(2 if split else 1)
        return Case(name, nearest_code._settle_kernel, common, 4, registers=registers, **counted)
    common |= {"codebook_ptr": "*fp32", "mask_ptr": "*i8", "quantized_ptr": f"*{dtype}", "error_ptr": "*fp32",
               "HAS_MASK": True, **stride_types("q", dimension, layout)}  # fmt: skip
    return Case(
        name, vector_quantize._settle_and_quantize_kernel, common, 4, registers=settle.registers_of(2 if split else 1)
    )


def _sweep_arguments(config: SearchConfig, metric: str) -> dict[str, Any]:
    """What the sweeps share."""
    wide = config.columns if config.inline else EXTRA.value
    tiles = ["*fp16", "*fp16"]
    if config.descriptors:
        tiles = [f"tensordesc<fp16[{config.block_k}, {columns}]>" for columns in (config.columns, wide)]
    return {
        "parts_ptr": "*fp16", "row_bounds_ptr": "*fp32", "main": tiles[0], "extra": tiles[1],
        "extremes_ptr": "*fp32", "shift_ptr": "*fp32", "list_ptr": "*i32", "each": "i32", "programs": "i32",
        "kappa": "fp32", "METRIC": metric, "SEGMENT": config.segment, "COLUMNS": config.columns,
        "BLOCK_N": config.block_n, "BLOCK_D": config.block_d, "EXTRA": EXTRA.value, "DESCRIPTORS": config.descriptors,
    }  # fmt: skip


def _sweep(name: str, kernel: Any, arguments: dict[str, Any], config: SearchConfig, warps: int | None = None) -> Case:
    pairs, streamed = config.block_n * config.block_k, config.columns if config.streamed else 0
    return Case(name, kernel, arguments, warps or config.num_warps, config.num_stages, pairs, streamed)
