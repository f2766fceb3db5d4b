"""`ResidualSimVQ`: the layer. Names, argument names and returns follow vector-quantize-pytorch."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from .. import functional
from . import residual_options
from .layout import Layout
from .loading import LoadsWhole
from .residual_decoding import codes_of, sum_of
from .residual_layer import ResidualLayer
from .sim_vq import SimVQ


class ResidualSimVQ(ResidualLayer, LoadsWhole):
    """Residual quantization by `SimVQ` stages, in one operation for all; Zeghidour et al. 2021 (arXiv:2107.03312),
    algorithm 1. The gradient goes through the choice once, for the sum of the codes.

    Args:
        dim: size of the vectors that go in and come out, and of the codes.
        num_quantizers: number of stages, Q; may be left out where `codebook_size` is a sequence.
        codebook_size: number of codes of each stage, or a sequence with that of every one.
        quantize_dropout: in training use only the first stages, their number drawn anew in each forward, evenly, from
            torch's generator; the other stages have index -1 and loss 0. Ranks draw numbers of their own.
        quantize_dropout_cutoff_index: the lowest index that the last stage in use may have.
        quantize_dropout_multiple_of: round the number of stages in use up to a multiple of this.
        channel_first: x is `[B, dim, ...]`; else `[..., dim]`.
        rotation_trick: for the sum of the codes, as in `SimVQ`.
        options: of each stage, as `SimVQ` takes them.

    Shapes:
        x, mask and lens as in `SimVQ`. Returns quantized (like x), indices (int64, like mask, and Q; -1 where masked,
        not finite or of a stage that is not in use), losses (`[Q]` float32).

    State: `layers.{q}.*`, as of `SimVQ`. Checkpoints of vector-quantize-pytorch load.

    Raises:
        ValueError, TypeError: an argument that does not fit, named.
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int | Sequence[int],
        num_quantizers: int | None = None,
        *,
        quantize_dropout: bool = False,
        quantize_dropout_cutoff_index: int = 0,
        quantize_dropout_multiple_of: int = 1,
        channel_first: bool = False,
        rotation_trick: bool = True,
        **options: Any,
    ) -> None:
        super().__init__()
        sizes = residual_options.stage_sizes(codebook_size, num_quantizers, shared=False)
        if options.get("codebook_transform") is not None and len(sizes) > 1:
            raise ValueError("codebook_transform is one module, which stages would share; None makes a map for each")
        self._set_stages(len(sizes), quantize_dropout, quantize_dropout_cutoff_index, quantize_dropout_multiple_of)
        self.dim = dim
        self.channel_first, self.rotation_trick = channel_first, rotation_trick
        self._layout = Layout(dim, not channel_first)
        options = {"channel_first": channel_first, "rotation_trick": rotation_trick, **options}
        self.layers = nn.ModuleList(SimVQ(dim, size, **options) for size in sizes)

    @property
    def stages(self) -> list[SimVQ]:
        """The layers, one a stage."""
        return list(self.layers)  # type: ignore[arg-type]

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Number of codes of each stage."""
        return tuple(stage.codebook_size for stage in self.stages)

    @property
    def codebooks(self) -> list[Tensor]:
        """The codes of all stages, `[K_q, dim]` float32 each."""
        return [stage.codebook for stage in self.stages]

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        return_all_codes: bool = False,
        *,
        lens: Tensor | None = None,
        active: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Besides x, mask and lens:

        Args:
            return_all_codes: return also each stage's codes, `[Q, ..., dim]`, zeros where the index is -1.
            active: 0-d int64 on x's device: how many stages to use. None: all, or as `quantize_dropout` draws.
        """
        mask = self._layout.check(x, mask, lens)
        active = self.draw_active(x) if active is None else active
        first, codebooks = self.stages[0], self.codebooks
        found = functional.residual_vector_quantize(
            x,
            codebooks,
            commitment_weight=first.weights[0],
            codebook_weight=first.weights[1],
            active=active,
            mask=mask,
            dim=self._layout.axis,
            estimator="rotation" if self.rotation_trick else "straight_through",
            impl=first.impl,
        )
        return (*found, self._stage_codes(found[1])) if return_all_codes else found

    def _stage_codes(self, indices: Tensor) -> Tensor:
        return codes_of(indices, self.codebooks)

    def get_output_from_indices(self, indices: Tensor) -> Tensor:
        """indices `[..., Q']` int64 → what forward returned for them, float32, in its layout; zeros where all are -1.
        Raises as `get_codes_from_indices` does."""
        return self._layout.from_last(sum_of(self.get_codes_from_indices(indices)))

    def extra_repr(self) -> str:
        parts = [f"dim={self.dim}", f"codebook_sizes={self.codebook_sizes}"]
        parts += ["quantize_dropout=True"] if self.quantize_dropout else []
        return ", ".join([*parts, f"channel_first={self.channel_first}", f"rotation_trick={self.rotation_trick}"])
