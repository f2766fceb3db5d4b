"""What quantizers without a stored codebook share: projections, where vectors lie, a state that says what it is."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..functional import Impl
from ..functional._dispatch import check_impl
from .layout import Layout
from .loading import LoadsWhole
from .projection import project


class Projected(LoadsWhole):
    """Vectors of `dim` entries go in and come out; `inner` entries, behind two linear maps where that differs, are
    quantized.

    `scheme`, a buffer of whole numbers, says which quantizer a state dict is of; peers' checkpoints, which do not say,
    load all the same.
    """

    scheme: Tensor

    def __init__(
        self,
        dim: int | None,
        inner: int,
        *,
        channel_first: bool | None,
        has_projections: bool | None = None,
        projection_has_bias: bool = True,
        scheme: Sequence[int],
        impl: Impl | None,
    ) -> None:
        super().__init__()
        dim = inner if dim is None else dim
        if not isinstance(dim, int) or dim < 1:
            raise ValueError(f"dim must be a number of at least 1; got {dim!r}")
        has_projections = dim != inner if has_projections is None else has_projections
        if dim != inner and not has_projections:
            raise ValueError(f"has_projections must be True where dim is {dim} and codes take {inner}; got False")
        check_impl(impl)
        self.dim, self.channel_first, self.has_projections, self.impl = dim, channel_first, has_projections, impl
        self.project_in = nn.Linear(dim, inner, projection_has_bias) if has_projections else nn.Identity()
        self.project_out = nn.Linear(inner, dim, projection_has_bias) if has_projections else nn.Identity()
        self._scheme = list(scheme)  # the host's copy
        self.register_buffer("scheme", torch.tensor(self._scheme))

    def _enter(self, x: Tensor, mask: Tensor | None, lens: Tensor | None) -> tuple[Tensor, Tensor | None, Layout]:
        """Check; the vectors to be quantized, the mask and where they lie."""
        layout = Layout(self.dim, not self._moves_channels(x.ndim if isinstance(x, Tensor) else 0))
        mask = layout.check(x, mask, lens)
        if not self.has_projections:
            return x, mask, layout
        return project(self.project_in, layout.blank(x, mask), layout.axis), mask, layout

    def _leave(self, quantized: Tensor, x: Tensor, mask: Tensor | None, layout: Layout) -> Tensor:
        """To x's size and dtype; the map's bias must not show in masked places."""
        if not self.has_projections:
            return quantized.to(x.dtype)
        return layout.blank(project(self.project_out, quantized.to(x.dtype), layout.axis).to(x.dtype), mask)

    def _moves_channels(self, ndim: int) -> bool:
        """Channel-first? Where it is not said, maps are: x of at least 4 axes."""
        return ndim >= 4 if self.channel_first is None else self.channel_first

    def _projected_out(self, codes: Tensor, found: Tensor) -> Tensor:
        """codes [..., inner] float32 → [..., dim]; zeros where nothing was found."""
        if not self.has_projections:
            return codes
        weight = getattr(self.project_out, "weight", codes)
        return self.project_out(codes.to(weight.dtype)).where(found[..., None], 0.0)

    def _placed(self, decoded: Tensor) -> Tensor:
        """decoded [..., dim], a map where it has the axes of one → as x lies."""
        return Layout(self.dim, not (self._moves_channels(decoded.ndim) and decoded.ndim > 1)).from_last(decoded)

    def _described(self, scheme: list[int]) -> str:
        """A scheme in words, for errors."""
        return f"scheme {scheme}"

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        metadata: Any,
        strict: bool,
        missing: Any,
        unknown: Any,
        errors: Any,
    ) -> None:
        key, mine = prefix + "scheme", self._scheme
        theirs = state_dict[key].tolist() if key in state_dict else mine
        if theirs != mine:
            errors.append(f"{key}: this is {self._described(mine)}, the checkpoint {self._described(theirs)}")
        if theirs != mine or key not in state_dict:
            state_dict[key] = torch.tensor(mine, device="cpu")
        super()._load_from_state_dict(state_dict, prefix, metadata, strict, missing, unknown, errors)
