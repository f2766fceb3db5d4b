"""`GroupedResidualVQ`: the layer. Names, argument names and returns follow vector-quantize-pytorch."""

from typing import Any

import torch
from torch import Tensor, nn

from .layout import Layout
from .loading import LoadsWhole
from .residual_vq import ResidualVQ
from .steered import Steered
from .updates import together


class GroupedResidualVQ(Steered, LoadsWhole):
    """The channels in groups, each with a residual quantizer of its own; Yang et al. 2023 (arXiv:2305.02765).

    Args:
        dim: size of the vectors that go in and come out.
        groups: number of groups, G, which divides dim.
        channel_last, accept_image_fmap, accept_3d_fmap: as `ResidualVQ` takes them.
        options: of each group's `ResidualVQ`: codebook_size, num_quantizers, ...

    Shapes:
        x: `[..., dim]`, or `[B, dim, ...]`; mask: bool, x's shape without the channel axis, True where a vector counts.
        Returns quantized (like x), indices `[G, ..., Q]` int64, losses `[G, Q]` float32, as of `ResidualVQ`.

    State: `rvqs.{g}.layers.{q}._codebook.*` and `rvqs.{g}.project_in`, `rvqs.{g}.project_out` where the sizes differ.
    Checkpoints of vector-quantize-pytorch load.

    Raises:
        ValueError, TypeError: an argument that does not fit, named.
    """

    def __init__(
        self,
        dim: int,
        groups: int = 1,
        *,
        channel_last: bool = True,
        accept_image_fmap: bool = False,
        accept_3d_fmap: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        for name, size in (("dim", dim), ("groups", groups)):
            if not isinstance(size, int):
                raise TypeError(f"{name} must be an int; got {size!r}")
            if size < 1:
                raise ValueError(f"{name} must be at least 1; got {size}")
        if dim % groups:
            raise ValueError(f"groups must divide dim = {dim}; got {groups}")
        self.dim, self.groups = dim, groups
        self._layout = Layout(dim, channel_last and not accept_image_fmap and not accept_3d_fmap)
        layout = {"channel_last": self._layout.channel_last}
        self.rvqs = nn.ModuleList(ResidualVQ(dim // groups, **layout, **options) for _ in range(groups))

    @property
    def residual_quantizers(self) -> list[ResidualVQ]:
        """The layers, one a group."""
        return list(self.rvqs)  # type: ignore[arg-type]

    def _parts(self) -> list[ResidualVQ]:
        return self.residual_quantizers

    @property
    def codebooks(self) -> Tensor | tuple[tuple[Tensor, ...], ...]:
        """The codes of all groups and stages, float32: `[G, Q, K, D]`, or a tuple a group where sizes differ."""
        codes = [rvq.codebooks for rvq in self.residual_quantizers]
        uniform = [found for found in codes if isinstance(found, Tensor)]
        return torch.stack(uniform) if uniform else tuple(found for found in codes if isinstance(found, tuple))

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        indices: Tensor | None = None,
        return_all_codes: bool = False,
        *,
        lens: Tensor | None = None,
        active: Tensor | None = None,
        freeze_codebook: bool = False,
        beam_size: int | None = None,
        sample_codebook_temp: float | None = None,
    ) -> tuple[Tensor, ...]:
        """As `ResidualVQ.forward`, with indices `[G, ..., Q]`, whose cross-entropy is summed over groups, and all codes
        `[G, Q, ..., codebook_dim]`; all groups use the same number of stages."""
        mask = self._layout.check(x, mask, lens)
        first = self.residual_quantizers[0]
        if active is None and indices is None and not freeze_codebook:
            active = first.draw_active(x)
        options: dict[str, Any] = {
            "active": active,
            "freeze_codebook": freeze_codebook,
            "beam_size": beam_size,
            "sample_codebook_temp": sample_codebook_temp,
        }
        if indices is not None:
            self._check_indices(indices)
        targets = [None] * self.groups if indices is None else list(indices)
        parts = zip(self.residual_quantizers, x.chunk(self.groups, self._layout.axis), targets, strict=True)
        with together():
            found = [rvq(part, mask, target, return_all_codes, **options) for rvq, part, target in parts]
        quantized, *rest = zip(*found, strict=True)
        output = torch.cat(quantized, self._layout.axis)
        if indices is not None:
            return output, torch.stack(rest[0]).sum()
        return output, *(torch.stack(part) for part in rest)

    def get_codes_from_indices(self, indices: Tensor) -> Tensor:
        """indices `[G, ..., Q']` int64 → `[G, Q, ..., codebook_dim]`; as `ResidualVQ.get_codes_from_indices`."""
        self._check_indices(indices)
        parts = zip(self.residual_quantizers, indices, strict=True)
        return torch.stack([rvq.get_codes_from_indices(part) for rvq, part in parts])

    def get_output_from_indices(self, indices: Tensor) -> Tensor:
        """indices `[G, ..., Q']` int64 → what forward returned for them; as `ResidualVQ.get_output_from_indices`."""
        self._check_indices(indices)
        parts = zip(self.residual_quantizers, indices, strict=True)
        return torch.cat([rvq.get_output_from_indices(part) for rvq, part in parts], self._layout.axis)

    def _check_indices(self, indices: Tensor) -> None:
        if not isinstance(indices, Tensor):
            raise TypeError(f"indices must be a torch.Tensor; got {type(indices).__name__}")
        if indices.ndim < 2 or indices.shape[0] != self.groups:
            raise ValueError(f"indices must have shape [{self.groups}, ..., Q]; got {tuple(indices.shape)}")

    def extra_repr(self) -> str:
        return f"dim={self.dim}, groups={self.groups}, channel_last={self._layout.channel_last}"
