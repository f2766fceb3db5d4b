"""Reading the health of a quantizer, whichever it is, from its state and from one batch."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from aevae_fast.metrics import StageHealth, code_counts, residual_energies, stage_health
from aevae_fast.models.modes import evaluation_mode

_ALIVE_FROM = 0.03  # of the mean running count, as the layers' own `usage` has it


def quantizers_in(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The quantizers in `module` with their names: of a residual one the whole, not its stages; of a grouped one each
    group."""
    within: set[nn.Module] = set()
    for name, child in module.named_modules():
        if child not in within and hasattr(child, "codebook_size") and not hasattr(child, "rvqs") and _decodes(child):
            within.update(child.modules())
            yield name, child


def _decodes(module: nn.Module) -> bool:
    return hasattr(module, "get_codes_from_indices") or hasattr(module, "indices_to_codes")


@torch.no_grad()
def layer_health(quantizer: nn.Module, x: Tensor, mask: Tensor | None = None) -> list[StageHealth]:
    """The health of each stage of `quantizer` (of a layer with several codebooks: of each); its state stays as it is.

    Args:
        quantizer: a layer of `aevae_fast.quantizers`.
        x: what goes into it.
        mask: as the layer takes it; None: all rows count.
    """
    layers = getattr(quantizer, "layers", None)
    stages = [quantizer] if layers is None else list(layers)
    weight = next(getattr(quantizer, "project_in", nn.Identity()).parameters(), x)
    x = x.to(weight.dtype)  # as autocast has it in training
    with evaluation_mode(quantizer):  # all stages, none left out
        indices = (quantizer(x) if mask is None else quantizer(x, mask=mask))[1]
    running = _running_counts(stages)
    chosen = [indices] if layers is None else list(indices.unbind(-1))
    energy = _energies(quantizer, stages, x, chosen) if _likens(stages) else None
    if running is not None:
        energy = energy if energy is not None and len(energy) == len(running) else None
        return stage_health(running, energy, _ALIVE_FROM)
    sizes = [int(stage.codebook_size) for stage in stages]  # type: ignore[arg-type]
    return stage_health([code_counts(*one) for one in zip(chosen, sizes, strict=True)], energy)


def _running_counts(stages: list[nn.Module]) -> list[Tensor] | None:
    """Of each codebook `[K]`; None where a stage keeps none, or keeps it as it is."""
    books = [getattr(stage, "_codebook", None) for stage in stages]
    if any(book is None or book.frozen for book in books):
        return None
    return [head for book in books for head in book.cluster_size]  # type: ignore[union-attr]


def _likens(stages: list[nn.Module]) -> bool:
    """Whether the codes of the stages add up to a likeness of what went in."""
    return all(
        getattr(getattr(stage, "_codebook", None), "metric", None) == "euclidean" and stage.codebook.ndim == 2
        for stage in stages
    )


def _energies(quantizer: nn.Module, stages: list[nn.Module], x: Tensor, chosen: list[Tensor]) -> Tensor:
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
