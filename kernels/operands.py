"""What a sweep multiplies, as a launch takes it: the columns of the codes, by descriptors where there are, and rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from triton.tools.tensor_descriptor import TensorDescriptor

from .code_columns import EXTRA, CodeColumns
from .configuration import SearchConfig
from .split_rows import split_rows


class Operands(NamedTuple):
    columns: CodeColumns
    main: Any  # tiles of codes, their extra columns and low parts: tensors or descriptors
    extra: Any
    low: Any
    parts: torch.Tensor  # rows in memory, and their bounds; anything where rows stay on the chip
    row_bounds: torch.Tensor
    tiles: int
    slots: int  # of a tile as entries name them, and bits for the number of a group, plus 1
    group_bits: int


def operands(x: torch.Tensor, columns: CodeColumns, config: SearchConfig, metric: str) -> Operands:
    """Of x [B, S, D]."""
    main, extra, low = columns.main, columns.extra, columns.low
    tiles = len(main) // config.block_k
    parts, row_bounds = split_rows(x, columns, config, metric)
    if config.descriptors:
        main = TensorDescriptor.from_tensor(main, [config.block_k, config.columns])
        extra = TensorDescriptor.from_tensor(extra, [config.block_k, config.columns if config.inline else EXTRA.value])
    if config.apart:
        low = TensorDescriptor.from_tensor(low, [config.block_k, config.columns])
    return Operands(
        columns, main, extra, low, parts, row_bounds, tiles, config.slots, (tiles * config.slots).bit_length()
    )
