"""`FSQ`: finite scalar quantization as a layer. Names, argument names and returns follow vector-quantize-pytorch."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .. import functional
from ..functional import Impl
from ..functional._levels import VARIANTS, check_levels, codes_of, indices_of
from .implicit import ImplicitCodebook


class FSQ(ImplicitCodebook):
    """Finite scalar quantization: each entry is bounded and rounded to one of a few levels; Mentzer et al. 2023
    (arXiv:2309.15505). There is no codebook to learn, to store or to collapse, and no loss.

    Args:
        levels: how many levels each of the D entries of a code has, at least 3, or 2 where symmetric. The codebook has
            as many codes as their product.
        dim: size of the vectors that go in and come out, where it is not `num_codebooks`·D: a linear map goes before
            and one after.
        num_codebooks: so many codes for each vector, each with an index of its own.
        keep_num_codebooks_dim: whether indices have an axis for the codebooks; None: where there are several.
        channel_first: x is `[B, dim, ...]`, read and written in place. None: where it has at least 4 axes.
        projection_has_bias: of the two linear maps.
        return_indices: False: forward returns None in their place.
        preserve_symmetry: the same as variant="symmetric".
        bound_hard_clamp: bound by a clamp: variant="clamp", or "symmetric_clamp" with preserve_symmetry.
        noise_dropout: in training, the share of the entries that take uniform noise of one level's width in place of
            being rounded (Parker et al. 2024, arXiv:2411.19842, section 3.2). vector-quantize-pytorch adds noise of one
            width, whatever the number of levels, to what is rounded.
        variant: as in `functional.finite_scalar_quantize`, "tanh" where nothing is said.
        impl: force "reference", "portable" or "triton"; None lets the device decide.

    Shapes:
        x: `[..., dim]`, or `[B, dim, ...]`; mask: bool, x's shape without the channel axis, True where a vector counts;
        lens: integers `[B]`, in place of a mask.
        Returns quantized (like x; 0 where masked) and indices (int64, like mask, and `num_codebooks` where that axis is
        kept; -1 where masked or not finite; the first entry is the lowest digit).

    State: `scheme`, whole numbers that say what this is, and `project_in`, `project_out` where the sizes differ.
    Checkpoints of vector-quantize-pytorch load; those of its version 1.10 need variant="tan".

    Raises:
        ValueError, TypeError: an argument that does not fit, named.
    """

    def __init__(
        self,
        levels: Sequence[int],
        dim: int | None = None,
        num_codebooks: int = 1,
        keep_num_codebooks_dim: bool | None = None,
        *,
        channel_first: bool | None = None,
        projection_has_bias: bool = True,
        return_indices: bool = True,
        preserve_symmetry: bool = False,
        bound_hard_clamp: bool = False,
        noise_dropout: float = 0.0,
        variant: str | None = None,
        impl: Impl | None = None,
    ) -> None:
        variant = chosen_variant(variant, preserve_symmetry, bound_hard_clamp)
        counts = check_levels(levels, variant)
        if not 0 <= noise_dropout <= 1:
            raise ValueError(f"noise_dropout must lie in [0, 1]; got {noise_dropout}")
        super().__init__(
            dim,
            len(counts),
            math.prod(counts),
            num_codebooks=num_codebooks,
            keep_num_codebooks_dim=keep_num_codebooks_dim,
            channel_first=channel_first,
            projection_has_bias=projection_has_bias,
            scheme=[VARIANTS.index(variant), *counts],
            impl=impl,
        )
        self.levels, self.variant = counts, variant
        self.return_indices, self.noise_dropout = return_indices, noise_dropout

    def forward(
        self, x: Tensor, mask: Tensor | None = None, *, lens: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        rows, mask, layout = self._enter(x, mask, lens)
        quantized, indices = functional.finite_scalar_quantize(
            rows,
            self.levels,
            variant=self.variant,
            noise_dropout=self.noise_dropout if self.training else 0.0,
            codebooks=self._codebooks,
            mask=mask,
            dim=layout.axis,
            impl=self.impl,
        )
        return self._leave(quantized, x, mask, layout), indices if self.return_indices else None

    def indices_to_level_indices(self, indices: Tensor) -> Tensor:
        """indices `[...]` → the level of each entry, `[..., D]`, from 0."""
        digits = []
        for count in self.levels:
            digits.append(indices % count)
            indices = indices // count
        return torch.stack(digits, -1)

    def _codes(self, indices: Tensor) -> Tensor:
        return codes_of(indices, self.scheme[1:-1], self.variant)

    def _indices(self, codes: Tensor) -> Tensor:
        return indices_of(codes, self.scheme[1:-1], self.variant)

    @property
    def implicit_codebook(self) -> Tensor:
        """`codebook`."""
        return self.codebook

    def _described(self, scheme: list[int]) -> str:
        return described(scheme)

    def extra_repr(self) -> str:
        parts = [f"levels={self.levels}", f"dim={self.dim}", f"variant={self.variant!r}"]
        parts += [f"num_codebooks={self.num_codebooks}"] if self.num_codebooks > 1 else []
        parts += [f"noise_dropout={self.noise_dropout}"] if self.noise_dropout else []
        return ", ".join(parts)


def chosen_variant(variant: str | None, symmetric: bool, hard: bool) -> str:
    """The variant that the arguments name together."""
    said = {(False, True): "clamp", (True, False): "symmetric", (True, True): "symmetric_clamp"}.get((symmetric, hard))
    if variant is not None and variant not in VARIANTS:
        raise ValueError(f"variant must be one of {', '.join(map(repr, VARIANTS))}; got {variant!r}")
    if variant is not None and said not in (None, variant):
        raise ValueError(f"variant={variant!r}, but preserve_symmetry and bound_hard_clamp say {said!r}")
    return variant or said or "tanh"


def described(scheme: list[int]) -> str:
    number, *levels, codebooks = scheme
    name = VARIANTS[number] if 0 <= number < len(VARIANTS) else number
    return f"variant {name!r} with levels {levels}" + (f", {codebooks} codebooks" if codebooks > 1 else "")
