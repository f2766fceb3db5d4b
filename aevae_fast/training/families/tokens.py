"""Pictures of what the codes of an image tokenizer stand for."""

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from aevae_fast.metrics import UsageReport
from aevae_fast.models import VQVAE
from aevae_fast.models.discrete import bits

from ..pictures import code_colours, draw_grid, draw_photographs
from .family import device_of
from .usage import by_stage

_CODES = 256  # at most so many in the picture of a codebook
_AROUND = 3  # a code is decoded among its like, so many across and down, and the middle is shown


@torch.no_grad()
def draw_codebook(model: VQVAE, usage: UsageReport) -> Figure:
    """What the most used codes of the first stage decode to, each where all positions have it; most used first."""
    order = usage.counts.argsort(descending=True, stable=True)[:_CODES].to(device_of(model))
    indices = order[:, None, None].expand(-1, _AROUND, _AROUND)
    decoded = model.decode(indices[..., None] if model.has_stages else indices)
    middle = slice(model.downsampling_factor, 2 * model.downsampling_factor)
    which = f"The {len(order)} most used codes" if len(order) < len(usage.counts) else f"The {len(order)} codes"
    of = " of the first stage" if len(model.codebook_sizes) > 1 else ""
    return draw_grid(decoded[..., middle, middle], f"{which}{of}, decoded; most used first")


@torch.no_grad()
def draw_tokenised(model: VQVAE, photographs: Sequence[Tensor], border: int) -> Figure:
    """Whole photographs `[C, H, W]`, their codes of the first stage, and what codes decode to: of the first stage, if
    there are several, and of all.

    Args:
        model: on any device.
        photographs: values in [0, 1].
        border: pixels on the right of each that training never saw.
    """
    sizes, factor = model.codebook_sizes, model.downsampling_factor
    counts = [1, len(sizes)] if len(sizes) > 1 else [1]
    rows, colours = [], code_colours(model.codebook)
    for photograph in photographs:
        height, width = (side // factor * factor for side in photograph.shape[1:])
        whole = photograph[None, :, :height, photograph.shape[2] - width :].to(device_of(model))
        indices = model.encode(whole)
        first = by_stage(indices, len(sizes))[0].reshape(indices.shape[1:3])
        tokens = colours[first.cpu()].permute(2, 0, 1)
        decoded = [model.decode(indices[..., :count] if model.has_stages else indices)[0] for count in counts]
        rows.append([whole[0], tokens, *decoded])
    of = " of the first stage" if len(sizes) > 1 else ""
    rates = [bits(sizes[:count]) / factor**2 for count in counts]
    words = [f"{count} stage{'s' * (count > 1)}" if len(sizes) > 1 else "decoded" for count in counts]
    decoded_titles = [f"{word}, {rate:.3g} bits a pixel" for word, rate in zip(words, rates, strict=True)]
    return draw_photographs(rows, ["original", f"codes{of}", *decoded_titles], border)
