"""One of each scalar quantizer, as the tests build them: 6 entries in and out unless a test says otherwise."""

from collections.abc import Callable
from typing import Any

from torch import nn

from aevae_fast.quantizers import BSQ, FSQ, LFQ, LatentQuantize, ResidualFSQ, ResidualLFQ


def _residual_fsq(dim: int = 6, channel_first: bool | None = None, **options: Any) -> ResidualFSQ:
    return ResidualFSQ(levels=[5, 5, 4], num_quantizers=3, dim=dim, is_channel_first=channel_first, **options)


LAYERS: dict[str, Callable[..., nn.Module]] = {
    "FSQ": lambda **options: FSQ([8, 5, 5], **{"dim": 6, **options}),
    "FSQ, two codebooks": lambda **options: FSQ([8, 5, 3], num_codebooks=2, **{"dim": 6, **options}),
    "LFQ": lambda **options: LFQ(codebook_size=2**7, commitment_loss_weight=0.2, **{"dim": 6, **options}),
    "LFQ, two codebooks": lambda **options: LFQ(codebook_size=8, num_codebooks=2, **{"dim": 6, **options}),
    "BSQ": lambda **options: BSQ(codebook_size=2**12, commitment_loss_weight=0.2, **{"dim": 6, **options}),
    "ResidualFSQ": _residual_fsq,
    "ResidualFSQ, bounded": lambda **options: _residual_fsq(variant="bounded", **options),
    "ResidualLFQ": lambda **options: ResidualLFQ(codebook_size=16, num_quantizers=3, **{"dim": 6, **options}),
    "LatentQuantize": lambda **options: LatentQuantize(
        [5, 4, 3], **{"dim": 6, **options, "channel_first": bool(options.get("channel_first"))}
    ),
}


def extra_axes(name: str) -> tuple[int, ...]:
    """What indices have beside the axes of the vectors' places."""
    return (3,) if name.startswith("Residual") else (2,) if "two codebooks" in name else ()
