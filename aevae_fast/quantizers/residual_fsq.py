"""`ResidualFSQ`: stages of finite scalar quantization, each on what the ones before it left."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .. import functional
from ..functional import Impl
from ..functional._levels import bounded, check_levels, codes_of
from ..functional.residual_vector_quantize import check_active
from .projected import Projected
from .residual_decoding import sum_of
from .residual_layer import ResidualLayer

# Of a residual quantizer: the variant of its stages, and whether a stage is L or L - 1 times finer than the one before.
RESIDUAL_VARIANTS = {
    "clamp": ("symmetric_clamp", 0),
    "tanh": ("tanh", 1),
    "bounded": ("tanh", 1),
    "symmetric": ("symmetric", 0),
}


class ResidualFSQ(ResidualLayer, Projected):
    """Residual finite scalar quantization: stage q rounds what is left, r_q, to levels in ±s_q, with s_q a power of the
    levels' number, and the output is the sum of the codes; after Mentzer et al. 2023 (arXiv:2309.15505) and Zeghidour
    et al. 2021 (arXiv:2107.03312), algorithm 1.

    What this means changed between versions of vector-quantize-pytorch, whose checkpoints do not say: see `variant`.

    Args:
        levels: how many levels each of the D entries of a code has.
        num_quantizers: number of stages, Q.
        dim: size of the vectors that go in and come out; where it is not D a linear map goes before and one after.
        is_channel_first: x is `[B, dim, ...]`, read and written in place. None: where it has at least 4 axes.
        quantize_dropout: in training use only the first stages, their number drawn anew in each forward, evenly, from
            torch's generator; the others have index -1. Ranks draw numbers of their own.
        quantize_dropout_cutoff_index: the lowest index that the last stage in use may have.
        quantize_dropout_multiple_of: round the number of stages in use up to a multiple of this.
        soft_clamp_input_value: bound what goes in by c·tanh(x/c), c one number or one for each entry. Not with "clamp",
            which has its own.
        variant: "clamp", vector-quantize-pytorch's today: x is softly clamped to 1 + 1/(L - 1), where the finest codes
            end; a stage clamps to ±1 and rounds symmetrically; s_q = L^-q. The gradient is that of the clamped x.
            "tanh", its 1.21 to 1.23: stages are FSQ's "tanh", s_q = (L - 1)^-q. The gradient is the first stage's.
            "symmetric", today's with bound_hard_clamp=False: FSQ's "symmetric", s_q = L^-q; gradient as "tanh".
        "bounded", its 1.14 to 1.17, and X-Codec2: as "tanh", of an x that is bounded as FSQ bounds it: so twice.
        impl: force "reference", "portable" or "triton"; None lets the device decide.

    Shapes:
        x: `[..., dim]`, or `[B, dim, ...]`; mask: bool, x's shape without the channel axis, True where a vector counts;
        lens: integers `[B]`, in place of a mask.
        Returns quantized (like x; 0 where masked) and indices (int64, like mask, and Q; -1 where masked, not finite or
        of a stage that is not in use); with return_all_codes also each stage's codes, `[Q, ..., D]` float32.

    State: `scheme`, whole numbers that say what this is, and `project_in`, `project_out` where the sizes differ.
    Checkpoints of vector-quantize-pytorch load; name the variant of their version.

    Raises:
        ValueError, TypeError: an argument that does not fit, named.
    """

    def __init__(
        self,
        *,
        levels: Sequence[int],
        num_quantizers: int,
        dim: int | None = None,
        is_channel_first: bool | None = None,
        quantize_dropout: bool = False,
        quantize_dropout_cutoff_index: int = 0,
        quantize_dropout_multiple_of: int = 1,
        soft_clamp_input_value: float | Sequence[float] | None = None,
        variant: str = "clamp",
        impl: Impl | None = None,
    ) -> None:
        if variant not in RESIDUAL_VARIANTS:
            raise ValueError(f"variant must be one of {', '.join(map(repr, RESIDUAL_VARIANTS))}; got {variant!r}")
        stage_variant, less = RESIDUAL_VARIANTS[variant]
        counts = check_levels(levels, stage_variant)
        if not isinstance(num_quantizers, int) or num_quantizers < 1:
            raise ValueError(f"num_quantizers must be a number of at least 1; got {num_quantizers!r}")
        super().__init__(
            dim,
            len(counts),
            channel_first=is_channel_first,
            scheme=[list(RESIDUAL_VARIANTS).index(variant), num_quantizers, *counts],
            impl=impl,
        )
        self.levels, self.codebook_size = counts, math.prod(counts)
        self.variant, self.stage_variant = variant, stage_variant
        dropout = (quantize_dropout, quantize_dropout_cutoff_index, quantize_dropout_multiple_of)
        self._set_stages(num_quantizers, *dropout)
        self.less, self.limits = less, _limits(soft_clamp_input_value, counts, variant)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        return_all_codes: bool = False,
        *,
        lens: Tensor | None = None,
        active: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Besides x and mask:

        Args:
            return_all_codes: return also each stage's codes.
            active: 0-d int64 on x's device: how many stages to use. None: all, or as `quantize_dropout` draws.
        """
        rows, mask, layout = self._enter(x, mask, lens)
        check_active(active, x)
        last = layout.to_last(layout.blank(rows, mask))
        last = self._bounded(last.to(torch.promote_types(last.dtype, torch.float32)))
        active = self.draw_active(x) if active is None else active
        # What carries the gradient: x itself, bounded, or the first stage's code.
        first = last if self.variant == "clamp" else self._stage(last, 0, mask, active)[0]
        residual, total, indices = last.detach(), torch.zeros_like(last), []
        for stage in range(self.num_quantizers):
            code, index = self._stage(residual, stage, mask, active)
            total, residual = total + code, residual - code
            indices.append(index)
        quantized = layout.from_last(total + (first - first.detach()))
        found = torch.stack(indices, -1)
        quantized = self._leave(quantized, x, mask, layout)
        return (quantized, found, self._stage_codes(found)) if return_all_codes else (quantized, found)

    def _stage(self, rows: Tensor, stage: int, mask: Tensor | None, active: Tensor | None) -> tuple[Tensor, Tensor]:
        """What a stage makes of the rows [..., D] that are left: codes, and indices [...]."""
        scale = self._scale(stage, rows.dtype)
        options: dict[str, Any] = {"variant": self.stage_variant, "mask": mask, "impl": self.impl}
        code, index = functional.finite_scalar_quantize(rows / scale, self.levels, **options)
        code = code * scale
        if active is None:
            return code, index
        return code.where(active > stage, 0.0), index.where(active > stage, -1)

    def _bounded(self, rows: Tensor) -> Tensor:
        if self.variant == "bounded":
            rows = bounded(rows, self.scheme[2:])
        if self.variant == "clamp":
            limit = 1 + 1 / (self.scheme[2:] - 1).to(rows.dtype)
        elif self.limits is not None:
            limit = torch.stack([rows.new_full((), value) for value in self.limits])
        else:
            return rows
        return (rows / limit).tanh() * limit

    def _scale(self, stage: int, dtype: torch.dtype) -> Tensor:
        """s_q of each entry, [D], computed where it is needed: to copy it to the device would wait for it."""
        return (self.scheme[2:] - self.less).to(dtype) ** -stage

    def _stage_codes(self, indices: Tensor) -> Tensor:
        codes = codes_of(indices.clamp(min=0), self.scheme[2:], self.stage_variant)
        codes = codes * torch.stack([self._scale(stage, codes.dtype) for stage in range(indices.shape[-1])])
        codes = codes.where((indices >= 0)[..., None], 0.0).movedim(-2, 0)
        return torch.cat([codes, codes.new_zeros(self.num_quantizers - len(codes), *codes.shape[1:])])

    def get_output_from_indices(self, indices: Tensor) -> Tensor:
        """indices `[..., Q']` int64 of the first Q' stages → what forward returned for them, in its layout; zeros where
        all are -1. Raises as `get_codes_from_indices` does."""
        summed = sum_of(self.get_codes_from_indices(indices))
        return self._placed(self._projected_out(summed, (indices >= 0).any(-1)))

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Number of codes of each stage."""
        return (self.codebook_size,) * self.num_quantizers

    @property
    def codebooks(self) -> Tensor:
        """The codes of a stage before they are scaled, for each stage: `[Q, K, D]` float32, computed anew."""
        indices = torch.arange(self.codebook_size, device=self.scheme.device)
        return codes_of(indices, self.scheme[2:], self.stage_variant).expand(self.num_quantizers, -1, -1)

    def _described(self, scheme: list[int]) -> str:
        names = list(RESIDUAL_VARIANTS)
        if len(scheme) < 3 or not 0 <= scheme[0] < len(names):
            return super()._described(scheme)
        number, stages, *levels = scheme
        return f"variant {names[number]!r} with {stages} stages of levels {levels}"

    def extra_repr(self) -> str:
        parts = [f"levels={self.levels}", f"num_quantizers={self.num_quantizers}", f"dim={self.dim}"]
        parts += ["quantize_dropout=True"] if self.quantize_dropout else []
        return ", ".join([*parts, f"variant={self.variant!r}"])


def _limits(value: float | Sequence[float] | None, levels: list[int], variant: str) -> list[float] | None:
    """c of c·tanh(x/c) for each entry; None where nothing bounds."""
    if variant == "clamp":
        if value is not None:
            raise ValueError(
                f"soft_clamp_input_value must be None for variant 'clamp', which has its own; got {value!r}"
            )
        return None
    if value is None:
        return None
    limits = [float(value)] * len(levels) if isinstance(value, int | float) else list(value)
    if len(limits) != len(levels) or not min(limits) > 0:
        raise ValueError(f"soft_clamp_input_value must be above 0, one or {len(levels)} numbers; got {value!r}")
    return limits
