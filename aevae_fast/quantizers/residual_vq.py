"""`ResidualVQ`: the layer. Names, argument names and returns follow vector-quantize-pytorch."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..functional.residual_vector_quantize import check_active
from . import residual_options
from .layout import Layout
from .loading import LoadsWhole
from .projection import project
from .residual_decoding import codes_of, sum_of
from .residual_in_turn import cross_entropy_in_turn, quantize_in_turn
from .residual_layer import ResidualLayer
from .residual_stages import Call, quantize_at_once
from .shared_codebook import drop_repeated_names, share_codebook
from .steered import Steered
from .updates import together
from .vector_quantize import VectorQuantize


class ResidualVQ(ResidualLayer, Steered, LoadsWhole):
    """Residual vector quantization: each stage quantizes what the stages before it leave over, and the output is the
    sum of their codes; Zeghidour et al. 2021 (arXiv:2107.03312), algorithm 1.

    The codebooks move as `VectorQuantize`'s does, once per `optimizer.step()`. All stages run as one operation, unless
    an option asks for what it does not do (cosine similarity, sampling, ...): then one layer after the other, with the
    same meaning. The gradient goes through the choice once, for the sum.

    Args:
        dim: size of the vectors that go in and come out.
        codebook_size: number of codes of each stage, or a sequence with that of every one.
        num_quantizers: number of stages, Q; may be left out where `codebook_size` is a sequence.
        codebook_dim: size of the codes where it differs from dim; one linear map goes before all stages and one after.
        shared_codebook: one codebook for all stages, moved by what all of them found.
        quantize_dropout: in training use only the first stages, their number drawn anew in each forward, evenly, from
            torch's generator; the other stages have index -1 and loss 0. Ranks draw numbers of their own; none is
            drawn while all codebooks are frozen. With kmeans_init all are used before the first optimizer step.
        quantize_dropout_cutoff_index: the lowest index that the last stage in use may have.
        quantize_dropout_multiple_of: round the number of stages in use up to a multiple of this.
        detach_residual: subtract codes that carry no gradient, so that every stage's commitment loss reaches x. False:
            only the first stage's does, as in the Descript audio codec.
        beam_size: keep so many candidates from stage to stage, by how near their sum is to x, in training.
        eval_beam_size: the same in `eval()`; None: as in training.
        channel_last: x is `[..., dim]`; False: `[B, dim, ...]`, read and written in place.
        accept_image_fmap: x is `[B, dim, H, W]`; the same as channel_last=False.
        accept_3d_fmap: x is `[B, dim, D, H, W]`; the same as channel_last=False.
        options: of each stage, as `VectorQuantize` takes them: decay, kmeans_init, rotation_trick, ...

    Shapes:
        x: `[..., dim]`, or `[B, dim, ...]`; mask: bool, x's shape without the channel axis, True where a vector counts.
        Returns quantized (like x), indices (int64, like mask, and Q; -1 where masked, not finite or of a stage that is
        not in use), losses (`[Q]` float32: each stage's, as `VectorQuantize` returns it).

    State: `layers.{q}._codebook.*`, `layers.0._codebook.*` alone where they share it, and `project_in`, `project_out`
    where the sizes differ. Checkpoints of vector-quantize-pytorch load.

    Raises:
        ValueError, TypeError: an argument that does not fit, named.
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int | Sequence[int],
        num_quantizers: int | None = None,
        codebook_dim: int | None = None,
        *,
        shared_codebook: bool = False,
        quantize_dropout: bool = False,
        quantize_dropout_cutoff_index: int = 0,
        quantize_dropout_multiple_of: int = 1,
        detach_residual: bool = True,
        beam_size: int | None = None,
        eval_beam_size: int | None = None,
        channel_last: bool = True,
        accept_image_fmap: bool = False,
        accept_3d_fmap: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        sizes = residual_options.stage_sizes(codebook_size, num_quantizers, shared_codebook)
        codebook_dim = dim if codebook_dim is None else codebook_dim
        residual_options.check_stage_options(options)
        self._set_stages(len(sizes), quantize_dropout, quantize_dropout_cutoff_index, quantize_dropout_multiple_of)
        self.dim, self.codebook_dim = dim, codebook_dim
        self.shared_codebook, self.detach_residual = shared_codebook, detach_residual
        self._kmeans_init = bool(options.get("kmeans_init"))
        self.beam_size, self.eval_beam_size = beam_size, beam_size if eval_beam_size is None else eval_beam_size
        self._layout = Layout(dim, channel_last and not accept_image_fmap and not accept_3d_fmap)
        self.layers = nn.ModuleList(VectorQuantize(codebook_dim, size, **options) for size in sizes)
        self.project_in = nn.Linear(dim, codebook_dim) if dim != codebook_dim else nn.Identity()
        self.project_out = nn.Linear(codebook_dim, dim) if dim != codebook_dim else nn.Identity()
        if shared_codebook:
            share_codebook(self.stages)
        self.at_once = all(residual_options.fits_one_operation(stage) for stage in self.stages)
        residual_options.check_beams(self.at_once, beam_size=beam_size, eval_beam_size=eval_beam_size)

    @property
    def stages(self) -> list[VectorQuantize]:
        """The layers, one a stage."""
        return list(self.layers)  # type: ignore[arg-type]

    @property
    def codebook_size(self) -> int:
        """Number of codes of the first stage; `codebook_sizes` has that of each."""
        return self.codebook_sizes[0]

    def _parts(self) -> list[VectorQuantize]:
        return self.stages

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Number of codes of each stage."""
        return tuple(stage.codebook_size for stage in self.stages)

    @property
    def codebooks(self) -> Tensor | tuple[Tensor, ...]:
        """The codes of all stages, float32: `[Q, K, codebook_dim]`, or a `[K_q, codebook_dim]` of each where their
        numbers differ."""
        codes = tuple(stage.codebook for stage in self.stages)
        return torch.stack(codes) if len(set(self.codebook_sizes)) == 1 else codes

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
        """Besides x and mask:

        Args:
            indices: int64, as the layer returns them, -1 to skip. Then it returns the sum of their codes and their
                cross-entropy, in nats: summed over stages, each one's taken at what the given codes before it leave
                over. No codebook moves.
            return_all_codes: return also each stage's codes, `[Q, ..., codebook_dim]`, zeros where the index is -1.
            lens: integers `[B]`, in place of a mask: how many vectors of each sequence count.
            active: 0-d int64 on x's device: how many stages to use. None: all, or as `quantize_dropout` draws.
            freeze_codebook: in this call the codebooks do not move.
            beam_size, sample_codebook_temp: in this call, in place of the layer's.
        """
        mask = self._layout.check(x, mask, lens)
        check_active(active, x)
        residual_options.check_beams(self.at_once, beam_size=beam_size)
        beam_size = beam_size or (self.beam_size if self.training else self.eval_beam_size) or 1
        if active is None and indices is None and not freeze_codebook:
            active = self.draw_active(x)
        axis = self._layout.axis
        call = Call(axis, mask, active, freeze_codebook, self.detach_residual, beam_size, sample_codebook_temp)
        rows = x
        if self.dim != self.codebook_dim:
            rows = project(self.project_in, self._layout.blank(x, mask), axis)
        if indices is not None:
            residual_options.check_targets(indices, (*self._layout.places(x), self.num_quantizers))
            quantized, loss = cross_entropy_in_turn(self.stages, rows, indices, call)
            return self._output(quantized, x, mask), loss
        quantize = quantize_at_once if self.at_once else quantize_in_turn
        with together():
            quantized, indices, losses = quantize(self.stages, rows, call)
        quantized = self._output(quantized, x, mask)
        if not return_all_codes:
            return quantized, indices, losses
        return quantized, indices, losses, self._stage_codes(indices)

    def _output(self, quantized: Tensor, x: Tensor, mask: Tensor | None) -> Tensor:
        if self.dim == self.codebook_dim:
            return quantized
        projected = project(self.project_out, quantized.to(x.dtype), self._layout.axis).to(x.dtype)
        return self._layout.blank(projected, mask)  # the map's bias would show in masked places

    def draw_active(self, x: Tensor) -> Tensor | None:
        """How many stages this forward uses; None: all, as when all are frozen. With k-means all until the codebooks
        have moved once, so that each gets its first codes."""
        drawn = None if self.freeze_codebook else super().draw_active(x)
        if drawn is None or not self._kmeans_init:
            return drawn
        # Not `needs_init`, which a forward that checkpointing repeats finds changed.
        steps = [stage._codebook.steps for stage in self.stages if not stage.freeze_codebook]
        return drawn.where(torch.stack(steps).min() > 0, self.num_quantizers)

    def _stage_codes(self, indices: Tensor) -> Tensor:
        return codes_of(indices, [stage.codebook for stage in self.stages])

    def get_output_from_indices(self, indices: Tensor) -> Tensor:
        """indices `[..., Q']` int64 of the first Q' stages → what forward returned for them, in its layout; zeros where
        all are -1. Raises as `get_codes_from_indices` does."""
        summed = sum_of(self.get_codes_from_indices(indices))
        weight = getattr(self.project_out, "weight", summed)
        found = (indices >= 0).any(-1, keepdim=True)
        return self._layout.from_last(self.project_out(summed.to(weight.dtype)).where(found, 0.0))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        if self.shared_codebook:
            drop_repeated_names(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)

    @property
    def perplexity(self) -> Tensor:
        """`VectorQuantize.perplexity` of each stage, [Q] float32; stays on the device."""
        return torch.stack([stage.perplexity for stage in self.stages])

    @property
    def usage(self) -> Tensor:
        """`VectorQuantize.usage` of each stage, [Q] float32; stays on the device."""
        return torch.stack([stage.usage for stage in self.stages])

    def extra_repr(self) -> str:
        parts = [f"dim={self.dim}", f"codebook_sizes={self.codebook_sizes}"]
        parts += [f"codebook_dim={self.codebook_dim}"] if self.codebook_dim != self.dim else []
        parts += ["shared_codebook=True"] if self.shared_codebook else []
        parts += ["quantize_dropout=True"] if self.quantize_dropout else []
        parts += [] if self.detach_residual else ["detach_residual=False"]
        parts += [] if self.beam_size is None else [f"beam_size={self.beam_size}"]
        return ", ".join([*parts, f"channel_last={self._layout.channel_last}"])
