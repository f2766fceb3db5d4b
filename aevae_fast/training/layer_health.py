"""Reading the health of a quantizer, whichever it is, from its state and from one batch."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from aevae_fast.metrics import StageHealth, code_counts, residual_energies, stage_health
from aevae_fast.models.discrete import has_stages, stage_sizes
from aevae_fast.models.modes import evaluation_mode

_ALIVE_FROM = 0.03  # of the mean running count, as the layers' own `usage` has it


def quantizers_in(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The quantizers in `module` with their names: of a residual one the whole, not its stages; of a grouped one each
    group."""
    within: set[nn.Module] = set()
    for name, child in module.named_modules():
        if child not in within and _quantizes(child) and not hasattr(child, "rvqs"):
            within.update(child.modules())
            yield name, child


def _quantizes(module: nn.Module) -> bool:
    sized = hasattr(module, "codebook_size") or hasattr(module, "codebook_sizes")
    tells = getattr(module, "return_indices", True)
    return sized and tells and (hasattr(module, "get_codes_from_indices") or hasattr(module, "indices_to_codes"))


@torch.no_grad()
def layer_health(quantizer: nn.Module, x: Tensor, **counting: Tensor) -> list[StageHealth]:
    """The health of each stage of `quantizer` (of a layer with several codebooks: of each); its state stays as it is.

    Args:
        quantizer: a layer of `aevae_fast.quantizers`.
        x: what goes into it.
        counting: mask or lens, as the layer takes them: which rows count.
    """
    staged = has_stages(quantizer)
    stages = list(getattr(quantizer, "layers", [])) if staged else [quantizer]
    weight = next(getattr(quantizer, "project_in", nn.Identity()).parameters(), x)
    x = x.to(weight.dtype)  # as autocast has it in training
    with evaluation_mode(quantizer):  # all stages, none left out
        indices = quantizer(x, **counting)[1]
    running = _running_counts(stages)
    chosen = indices.unbind(-1) if staged else [indices]
    energy = _energies(quantizer, stages, x, chosen) if _likens(stages) else None
    if running is not None:
        return stage_health(running, energy, _ALIVE_FROM)
    return stage_health([code_counts(*one) for one in zip(chosen, stage_sizes(quantizer), strict=True)], energy)


def _running_counts(stages: Sequence[nn.Module]) -> list[Tensor] | None:
    """Of each codebook `[K]`; None where a stage keeps none, or keeps it as it is."""
    books = [getattr(stage, "_codebook", None) for stage in stages]
    if not books or any(book is None or book.frozen for book in books):
        return None
    return [head for book in books for head in book.cluster_size]  # type: ignore[union-attr]


def _likens(stages: Sequence[nn.Module]) -> bool:
    """Whether the codes of the stages, one a vector, add up to a likeness of what went in."""
    return bool(stages) and all(
        getattr(getattr(stage, "_codebook", None), "metric", None) == "euclidean" and getattr(stage, "heads", 1) == 1
        for stage in stages
    )


def _energies(quantizer: nn.Module, stages: Sequence[nn.Module], x: Tensor, chosen: Sequence[Tensor]) -> Tensor:
    """Share of the energy that is left after each stage, `[Q]`, where the codes are: behind `project_in`."""
    layout = getattr(quantizer, "_layout", quantizer)
    rows = x if getattr(layout, "channel_last", True) else x.movedim(1, -1)
    rows = getattr(quantizer, "project_in", nn.Identity())(rows)
    so_far, partial_sums = torch.zeros_like(rows, dtype=torch.float32), []
    for stage, indices in zip(stages, chosen, strict=True):
        used = (indices >= 0)[..., None]
        so_far = so_far + stage.codebook[indices.clamp(min=0)].where(used, 0.0)  # type: ignore[index]
        partial_sums.append(so_far)
    return residual_energies(rows, partial_sums, kept=(chosen[0] >= 0)[..., None])
