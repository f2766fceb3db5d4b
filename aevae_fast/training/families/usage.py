"""What is told of the codebooks of a model with discrete codes, of one stage or several."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from aevae_fast.metrics import UsageReport


def by_stage(indices: Tensor, stages: int) -> Sequence[Tensor]:
    """The indices of each stage: where there are several they stand along the last axis."""
    return indices.unbind(-1) if stages > 1 else [indices]


def usage_numbers(usages: Sequence[UsageReport]) -> dict[str, Any]:
    """Plain numbers, for JSON: means over the stages, the dead codes of all; where there are several stages also the
    perplexity of each."""
    each = {f"perplexity_stage_{number}": usage.perplexity for number, usage in enumerate(usages, 1)}
    return {
        "perplexity": mean_perplexity(usages),
        "entropy_bits_per_code": sum(usage.entropy_bits for usage in usages) / len(usages),
        "usage": sum(usage.usage for usage in usages) / len(usages),
        "dead_codes": sum(usage.dead_codes for usage in usages),
    } | (each if len(usages) > 1 else {})


def usage_rows(usages: Sequence[UsageReport]) -> dict[str, str]:
    """The same as rows of a table."""
    of = ", mean of the stages" if len(usages) > 1 else ""
    return {
        f"codebook perplexity{of}": f"{mean_perplexity(usages):.1f}",
        "codes used": f"{sum(usage.usage for usage in usages) / len(usages):.1%}",
        "dead codes": str(sum(usage.dead_codes for usage in usages)),
    }


def mean_perplexity(usages: Sequence[UsageReport]) -> float:
    return sum(usage.perplexity for usage in usages) / len(usages)
