"""`BSQ`: binary spherical quantization as a layer."""

from typing import Any

from .lfq import LFQ


class BSQ(LFQ):
    """Binary spherical quantization: `LFQ` on the unit sphere; Zhao et al. 2024 (arXiv:2406.07548).

    A vector is normalised and replaced by the nearest corner ±1/√b of the cube within the sphere. The error is bounded
    whatever b is, and the entropy is factorised: exactly given x, by groups of bits over the batch, so that codes of 36
    bits are as cheap as short ones.

    Args:
        dim, codebook_size, group_size and options: as for `LFQ`. group_size is 9 where none is given;
            None for `LFQ`'s own choice.

    Shapes, state and errors: `LFQ`'s. Its inv_temperature is half the paper's τ.
    """

    def __init__(
        self, *, dim: int | None = None, codebook_size: int | None = None, group_size: int | None = 9, **options: Any
    ) -> None:
        if options.pop("spherical", True) is not True:
            raise ValueError("spherical must be True for BSQ; LFQ has it False")
        super().__init__(dim=dim, codebook_size=codebook_size, group_size=group_size, spherical=True, **options)
