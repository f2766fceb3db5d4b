"""What a layer with a codebook does with the vectors that it is given."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..functional import Impl
from ..functional._checks import check_device
from . import settings
from .affine import AffineCodebook
from .assignment import Assignment, Result, assign, assign_many, cross_entropy, move_now
from .codebook_layer import CodebookLayer
from .codebook_state import RowWeight
from .decoding import check_values
from .heads import Part
from .projection import project
from .regularizers import Regularizers, broken_down


class Quantizing(CodebookLayer):
    """The forward of `VectorQuantize`, which sets what is named here."""

    codebook_size: int
    use_cosine_sim: bool
    stochastic_sample_codes: bool
    sample_codebook_temp: float
    directional_reparam_variance: float
    commitment_weight: float
    codebook_weight: float
    regularizers: Regularizers
    project_in: nn.Module
    impl: Impl | None

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        *,
        lens: Tensor | None = None,
        indices: Tensor | None = None,
        topk: int | None = None,
        sample_codebook_temp: float | None = None,
        freeze_codebook: bool | None = None,
        ema_update_weight: RowWeight | None = None,
        return_loss_breakdown: bool = False,
    ) -> Any:
        """Replace each vector by its nearest code, or each of its heads.

        Args:
            x: `[..., dim]`, or `[B, dim, ...]`.
            mask: bool, x's shape without the channel axis, True where a vector counts.
            lens: int64 `[B]`, in its place: how many vectors of each batch entry count, the first ones.
            indices: int64, as the layer returns them, -1 to skip: codes whose cross-entropy is wanted.
            topk: that many codes for each vector, the nearest first; the codebook does not move. One head only.
            sample_codebook_temp, freeze_codebook: for this call instead of the layer's.
            ema_update_weight: what share of 1 - decay each code moves at the next update: `[K]`, `[H, K]`, or made of
                the update's sums `[H, K, D]` and counts `[H, K]` by a function.
            return_loss_breakdown: also the terms of the loss without their weights.

        Returns:
            quantized: like x; with topk `[..., k, dim]` or `[B, dim, ..., k]`. 0 where masked.
            indices: int64, x's shape without the channel axis, then heads or k if there are several; -1 where masked or
                not finite.
            loss: 0-d float32, the weighted sum of the losses, means over elements; with topk `[..., k]`.
            breakdown: `LossBreakdown`, if asked for.
            With indices: quantized, and the mean of -log softmax(similarity) of the codes that they name, in nats.
        """
        mask = self._layout.check(x, mask, lens)
        settings.check_call(self.heads, self.codebook_size, self._layout.places(x), indices, topk, sample_codebook_temp)
        if indices is not None:
            counted = mask if mask is None or self.heads == 1 else mask[..., None]
            check_values(indices if counted is None else indices.where(counted, -1), self.codebook_size)
        book = self._codebook
        check_device("the codebook", book.embed, x)
        weight = settings.checked_row_weight(ema_update_weight, *book.cluster_size.shape)
        frozen = book.frozen if freeze_codebook is None else freeze_codebook
        training = self.training and not frozen
        how = self._assignment(training, sample_codebook_temp)
        if mask is not None and not (self._is_plain and topk is None and indices is None):
            x = self._layout.blank(x, mask)  # what stands in masked places must not reach a gradient
        rows = project(self.project_in, x, self._layout.axis)
        rows = self._heads.unit(rows) if self.use_cosine_sim else rows
        parts = self._heads.split(rows, mask)
        moving = training and torch.is_grad_enabled() and topk is None
        if moving or (training and book.needs_init):  # reentrant checkpointing runs its first forward without grad
            book.observe(*(parts[0] if len(parts) == 1 else Part(rows, mask, self._layout.axis)))
        by_gradient = moving and (rows.requires_grad or book.learnable)
        codes = self._codes(frozen, by_gradient)
        if topk is None:
            found, chosen, losses = zip(*self._assign(parts, codes, by_gradient, how), strict=True)
        else:
            found, chosen, losses = zip(*[assign_many(parts[0], codes[0], topk, how)], strict=True)
        quantized = self._output(x, self._heads.join(found), mask)
        if indices is None:
            own = losses[0] if len(losses) == 1 else torch.stack(losses).mean(0)
            counts = training and self.regularizers.active
            terms = self.regularizers.terms(parts, codes, book.stored, chosen, how) if counts else None
            loss = own if terms is None else own + self.regularizers.weigh(*terms)
            returned: tuple[Any, ...] = (quantized, self._heads.join_indices(chosen), loss)
            if return_loss_breakdown:
                returned = (*returned, broken_down(own, how.commitment_weight + how.codebook_weight, terms))
        else:
            returned = (quantized, cross_entropy(parts, codes, self._heads.split_indices(indices), how))
        if moving:
            book.row_weight = weight
            if not by_gradient:
                move_now(book, parts, chosen, self.impl)
        return returned

    def _codes(self, frozen: bool, by_gradient: bool) -> Sequence[Tensor]:
        """The codes, [K, D] for each codebook."""
        book = self._codebook
        codes = book.codes.detach() if frozen else book.codes
        # A copy, since the codebook may move before this forward's backward has come.
        codes = codes.clone() if by_gradient and not book.learnable else codes
        return codes.unbind() if self._heads.separate else (codes,)

    def _assign(
        self, parts: Sequence[Part], codes: Sequence[Tensor], by_gradient: bool, how: Assignment
    ) -> list[Result]:
        """Each part with its codebook; by_gradient: gradients of what comes back carry the codebook's statistics."""
        book = self._codebook
        if not by_gradient:
            return [assign(part, each, None, how) for part, each in zip(parts, codes, strict=True)]
        results = [assign(*given, how) for given in zip(parts, codes, book.leaves(), strict=True)]
        if isinstance(book, AffineCodebook):
            results = [book.carry(head, *given) for head, given in enumerate(zip(parts, results, strict=True))]
        return results

    def _output(self, x: Tensor, quantized: Tensor, mask: Tensor | None) -> Tensor:
        quantized = project(self.project_out, quantized.to(x.dtype), self._layout.axis).to(x.dtype)
        if mask is None or isinstance(self.project_out, nn.Identity):
            return quantized
        mask = mask if quantized.ndim == x.ndim else mask[..., None]
        return self._layout.blank(quantized, mask)  # the map's bias would show in masked places

    @property
    def _is_plain(self) -> bool:
        """Whether one operation does all, which leaves masked places alone itself."""
        return (
            not self.use_cosine_sim
            and isinstance(self.project_in, nn.Identity)
            and self.estimator in ("straight_through", "rotation")
            and not self.regularizers.active
        )

    def _assignment(self, training: bool, temperature: float | None) -> Assignment:
        return Assignment(
            metric=self._codebook.metric,
            estimator=self.estimator,
            commitment_weight=self.commitment_weight,
            codebook_weight=self.codebook_weight if self._codebook.learnable else 0.0,
            temperature=self.sample_codebook_temp if temperature is None else temperature,
            sample=self.stochastic_sample_codes and training,
            variance=self.directional_reparam_variance if training else 0.0,
            sync=self._codebook.sync is not False,
            impl=self.impl,
        )
