"""`ResidualLFQ`: stages of lookup-free quantization, each on what the ones before it left."""

from typing import Any

import torch
from torch import Tensor, nn

from ..functional import Impl
from ..functional.residual_vector_quantize import check_active
from .lfq import LFQ
from .projected import Projected
from .residual_decoding import sum_of
from .residual_layer import ResidualLayer


class ResidualLFQ(ResidualLayer, Projected):
    """Residual lookup-free quantization: stage q takes the signs of what is left, at magnitude 2^-q, and the output is
    the sum of the codes; Zeghidour et al. 2021 (arXiv:2107.03312), algorithm 1, on Yu et al. 2023 (arXiv:2310.05737).

    The gradient goes through the choice once, for the sum; vector-quantize-pytorch passes it once a stage. The loss of
    every stage reaches x.

    Args:
        dim: size of the vectors that go in and come out; where it is not b a linear map goes before and one after.
        num_quantizers: number of stages, Q.
        codebook_size: number of codes of a stage, 2^b.
        quantize_dropout: in training use only the first stages, their number drawn anew in each forward, evenly, from
            torch's generator; the others have index -1 and loss 0. Ranks draw numbers of their own.
        quantize_dropout_cutoff_index: the lowest index that the last stage in use may have.
        quantize_dropout_multiple_of: round the number of stages in use up to a multiple of this.
        soft_clamp_input_value: of the first stage, as `LFQ` takes it; half of it for the next, and so on.
        channel_first: x is `[B, dim, ...]`, read and written in place. None: where it has at least 4 axes.
        impl: force "reference", "portable" or "triton"; None lets the device decide.
        options: of each stage, as `LFQ` takes them: entropy_loss_weight, diversity_gamma, spherical, ...

    Shapes:
        x: `[..., dim]`, or `[B, dim, ...]`; mask: bool, x's shape without the channel axis, True where a vector counts;
        lens: integers `[B]`, in place of a mask.
        Returns quantized (like x; 0 where masked), indices (int64, like mask, and Q; -1 where masked, not finite or of
        a stage that is not in use) and losses (`[Q]` float32, each stage's as `LFQ` returns it; 0 in `eval()`); with
        return_all_codes also each stage's codes, `[Q, ..., b]` float32.

    State: `layers.{q}`, each an `LFQ`'s; `scheme`; `project_in`, `project_out` where the sizes differ. Checkpoints of
    vector-quantize-pytorch load.

    Raises:
        ValueError, TypeError: an argument that does not fit, named.
    """

    def __init__(
        self,
        *,
        dim: int,
        num_quantizers: int,
        codebook_size: int,
        quantize_dropout: bool = False,
        quantize_dropout_cutoff_index: int = 0,
        quantize_dropout_multiple_of: int = 1,
        soft_clamp_input_value: float | None = None,
        channel_first: bool | None = None,
        impl: Impl | None = None,
        **options: Any,
    ) -> None:
        if not isinstance(num_quantizers, int) or num_quantizers < 1:
            raise ValueError(f"num_quantizers must be a number of at least 1; got {num_quantizers!r}")
        for name in ("num_codebooks", "keep_num_codebooks_dim", "has_projections", "codebook_scale"):
            if name in options:
                raise ValueError(f"{name} has no meaning in residual stages; got {options[name]!r}")
        limits = [
            None if soft_clamp_input_value is None else soft_clamp_input_value * 0.5**q for q in range(num_quantizers)
        ]
        layers = [
            LFQ(
                codebook_size=codebook_size,
                codebook_scale=2.0**-stage,
                soft_clamp_input_value=limit,
                channel_first=False,
                impl=impl,
                **options,
            )
            for stage, limit in enumerate(limits)
        ]
        bits = layers[0].codebook_dim
        scheme = [num_quantizers, bits]
        super().__init__(dim, bits, channel_first=channel_first, scheme=scheme, impl=impl)
        self.layers = nn.ModuleList(layers)
        self.codebook_size, self.codebook_dim = codebook_size, bits
        dropout = (quantize_dropout, quantize_dropout_cutoff_index, quantize_dropout_multiple_of)
        self._set_stages(num_quantizers, *dropout)

    @property
    def stages(self) -> list[LFQ]:
        """The layers, one a stage."""
        return list(self.layers)  # type: ignore[arg-type]

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        return_all_codes: bool = False,
        *,
        inv_temperature: float = 100.0,
        lens: Tensor | None = None,
        active: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Besides x and mask:

        Args:
            return_all_codes: return also each stage's codes.
            inv_temperature: of the soft assignment, as `LFQ` takes it.
            active: 0-d int64 on x's device: how many stages to use. None: all, or as `quantize_dropout` draws.
        """
        rows, mask, layout = self._enter(x, mask, lens)
        check_active(active, x)
        residual = layout.to_last(layout.blank(rows, mask))
        residual = residual.to(torch.promote_types(residual.dtype, torch.float32))
        active = self.draw_active(x) if active is None else active
        total, first, indices, losses = torch.zeros_like(residual), None, [], []
        for number, stage in enumerate(self.stages):
            code, index, loss = stage(residual, inv_temperature, mask=mask)
            if active is not None:
                used = active > number
                code, index, loss = code.where(used, 0.0), index.where(used, -1), loss.where(used, 0.0)
            first = code if first is None else first
            total, residual = total + code.detach(), residual - code.detach()
            indices.append(index)
            losses.append(loss)
        assert first is not None
        quantized = layout.from_last(total + (first - first.detach()))
        found = torch.stack(indices, -1)
        result = (self._leave(quantized, x, mask, layout), found, torch.stack(losses))
        return (*result, self._stage_codes(found)) if return_all_codes else result

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Number of codes of each stage."""
        return (self.codebook_size,) * self.num_quantizers

    @property
    def codebooks(self) -> Tensor:
        """The codes of each stage, `[Q, K, b]` float32, computed anew."""
        return torch.stack([stage.codebook for stage in self.stages])

    def _stage_codes(self, indices: Tensor) -> Tensor:
        pairs = zip(self.stages, indices.unbind(-1), strict=False)
        codes = [stage._codes(index.clamp(min=0)).where((index >= 0)[..., None], 0.0) for stage, index in pairs]
        return torch.stack(codes + [torch.zeros_like(codes[0])] * (self.num_quantizers - len(codes)))

    def get_output_from_indices(self, indices: Tensor) -> Tensor:
        """indices `[..., Q']` int64 of the first Q' stages → what forward returned for them, in its layout; zeros where
        all are -1. Raises as `get_codes_from_indices` does."""
        summed = sum_of(self.get_codes_from_indices(indices))
        return self._placed(self._projected_out(summed, (indices >= 0).any(-1)))

    def _described(self, scheme: list[int]) -> str:
        return f"{scheme[0]} stages of {scheme[1]} bits" if len(scheme) == 2 else super()._described(scheme)

    def extra_repr(self) -> str:
        parts = [f"dim={self.dim}", f"codebook_size={self.codebook_size}", f"num_quantizers={self.num_quantizers}"]
        return ", ".join(parts + (["quantize_dropout=True"] if self.quantize_dropout else []))
