"""One codebook for all stages of a residual quantizer."""

import re
from collections.abc import Sequence
from typing import Any

import torch

from .vector_quantize import VectorQuantize


def share_codebook(stages: Sequence[VectorQuantize]) -> None:
    """Let all stages use the first one's codebook. It stays a module of that stage alone, so that it has one name:
    tools that save or exchange tensors by their names do not take several for one."""
    for stage in stages[1:]:
        del stage._codebook
        object.__setattr__(stage, "_codebook", stages[0]._codebook)


def drop_repeated_names(state_dict: dict[str, Any], prefix: str) -> None:
    """Peers save a shared codebook once for each stage; what equals the first stage's is taken out."""
    name = re.compile(rf"{re.escape(prefix)}layers\.[1-9]\d*\.(_codebook\..*)")
    for key, found in [(key, name.fullmatch(key)) for key in state_dict]:
        same = state_dict.get(f"{prefix}layers.0.{found[1]}") if found else None
        if same is not None and torch.equal(same, state_dict[key]):
            del state_dict[key]
