"""A codebook that follows the mean and variance of the data as a whole; Huh et al. 2023 (arXiv:2305.08842), section 4.

The codes that vectors meet are (e - m_c)·σ_b/σ_c + m_b: the stored codes, moved from running moments of the codebook to
those of the batches. All codes move with the data, also those that nothing chose.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from ..portable._rows import wide_dtype
from .codebook import Codebook
from .heads import Part
from .sharded import is_sharded

Result = tuple[Tensor, Tensor, Tensor]
_LIMBS = 6
_LEAST = 1e-5  # variances count as at least this much


class AffineCodebook(Codebook):
    """Four more buffers, [H, 1, D]: batch_mean, batch_variance, codebook_mean, codebook_variance; and whether the
    latter two wait for the first batch, as vector-quantize-pytorch names them.

    The moments change where the codebook does, once for each step and for all ranks: a batch's own enter with the step
    that it belongs to, and those of the first step are taken as they are. Until then codes are met as they are stored.
    """

    _OWN = (*Codebook._OWN, "moments")

    batch_mean: Tensor
    batch_variance: Tensor
    codebook_mean: Tensor
    codebook_variance: Tensor
    codebook_mean_needs_init: Tensor
    codebook_variance_needs_init: Tensor

    def __init__(self, *args: Any, batch_decay: float, codebook_decay: float, **options: Any) -> None:
        super().__init__(*args, **options)
        self.batch_decay, self.codebook_decay = batch_decay, codebook_decay
        for name in ("batch", "codebook"):
            self.register_buffer(f"{name}_mean", torch.zeros_like(self.embed[:, :1]))
            self.register_buffer(f"{name}_variance", torch.ones_like(self.embed[:, :1]))
        for name in ("codebook_mean_needs_init", "codebook_variance_needs_init"):
            self.register_buffer(name, torch.tensor(True))

    @property
    def _ratio(self) -> Tensor:
        """σ_b/σ_c, [H, 1, D]."""
        return (self.batch_variance.clamp(min=_LEAST) / self.codebook_variance.clamp(min=_LEAST)).sqrt()

    @property
    def codes(self) -> Tensor:
        """What vectors meet, `[K, D]`, or `[H, K, D]` of several heads."""
        codes = (self.stored - self.codebook_mean) * self._ratio + self.batch_mean
        return codes[0] if self.heads == 1 else codes

    def _note_candidates(self, rows: Tensor, keep: Tensor | None) -> None:
        outer, inner, mine = self.places(rows)
        self.note(rows[outer, inner].float(), mine if keep is None else keep[outer, inner] & mine)

    def note(self, row: Tensor, usable: Tensor) -> None:
        """A vector of the batch as a stored code."""
        mean, ratio, own = (t.transpose(0, 1).flatten(1) for t in (self.batch_mean, self._ratio, self.codebook_mean))
        super().note((row - mean) / ratio + own, usable)

    # --- the moments of batches, which travel as gradients like counts and sums -----------------------------------

    def carry(self, head: int, part: Part, result: Result) -> Result:
        """Quantized, indices and loss, a gradient of which also brings home the moments of vectors with an index."""
        quantized, indices, loss = result
        found = self._moments_of(head, part, indices)
        quantized, loss = _Carry.apply(quantized, loss, self.moments[head], found)
        return quantized, indices, loss

    @torch.no_grad()
    def _moments_of(self, head: int, part: Part, indices: Tensor) -> Tensor:
        """Σ(x - m_b) and Σ(x - m_b)² in limbs, [2·limbs, D]. Around the batch's own mean first, since squares of data
        far from m_b would cancel."""
        kept = (indices >= 0).flatten()[:, None]
        x = part.x.movedim(part.axis, -1).flatten(0, -2).float().where(kept, 0.0)
        n = kept.sum()
        mean = x.sum(0) / n.clamp(min=1)
        x = (x - mean).where(kept, 0.0)
        wide = wide_dtype(x)
        rest, square, away = x.sum(0).to(wide), x.square().sum(0).to(wide), mean.to(wide) - self.batch_mean[head, 0]
        return _limbs(torch.stack([rest + n * away, square + 2 * away * rest + n * away.square()]))

    def take(self, parts: Sequence[Part], indices: Sequence[Tensor]) -> None:
        """Moments for an update that no gradient brings."""
        for head, (part, chosen) in enumerate(zip(parts, indices, strict=True)):
            self.moments[head].grad = self._moments_of(head, part, chosen)

    def _attach(self) -> None:
        super()._attach()
        shape, zero = (2 * _LIMBS, self.embed.shape[2]), torch.zeros((), device=self.embed.device)
        self.moments = [zero.expand(shape).requires_grad_() for _ in range(self.heads)]

    def statistics(self, counts: Tensor, sums: Tensor) -> tuple[Tensor, ...]:
        found = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in self.moments]
        for leaf in self.moments:
            leaf.grad = None
        moments = torch.stack(found)
        return moments, *super().statistics(counts, sums)

    def move(self, moments: Tensor, *statistics: Tensor) -> None:  # type: ignore[override]  # its own statistics
        sums, counts = statistics[0].unflatten(0, (self.heads, -1)), statistics[1].view(self.heads, -1, 1)
        # Sums of vectors as sums of stored codes, by the moments that the forward used.
        inner = (sums - counts * self.batch_mean) / self._ratio + counts * self.codebook_mean
        super().move(inner, *statistics[1:])
        n = counts.sum(1, keepdim=True)
        joined = moments.view(self.heads, 2, _LIMBS, -1).to(wide_dtype(moments)).sum(2, keepdim=True)
        first, second = (joined / n.clamp(min=1)[:, None]).unbind(1)
        seen, variance = (n > 0).float(), (second - first.square()).clamp(min=0).float()
        waited = self.codebook_mean_needs_init
        batch, own = (torch.where(waited, 1.0, 1.0 - decay) * seen for decay in (self.batch_decay, self.codebook_decay))
        self.batch_variance.lerp_(variance, batch)
        self.batch_mean.add_((batch * first).float())
        embed = self.embed.full_tensor() if is_sharded(self.embed) else self.embed  # type: ignore[attr-defined]
        self.codebook_variance.lerp_(torch.var(embed, 1, correction=0, keepdim=True), own)
        self.codebook_mean.lerp_(embed.mean(1, keepdim=True), own)
        for flag in (self.codebook_mean_needs_init, self.codebook_variance_needs_init):
            flag.logical_and_(~(n > 0).any())

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        key = prefix + "codebook_mean_needs_init"
        if bool(state_dict.get(key, False)):  # a peer's that has seen no batch holds anything in these places
            for name in ("batch_mean", "batch_variance", "codebook_mean", "codebook_variance"):
                state_dict[prefix + name] = torch.full(self.batch_mean.shape, float("variance" in name))
        super()._load_from_state_dict(state_dict, prefix, *args)


def _limbs(exact: Tensor) -> Tensor:
    """exact [2, D], float64 → parts of 8 bits each, [2·limbs, D] float32, which add up to it. Sums of such parts over
    batches and ranks are exact in float32, where sums of rounded numbers would lose a small variance far from 0."""
    parts = []
    for _ in range(_LIMBS):
        parts.append(exact.bfloat16().float())
        exact = exact - parts[-1]
    return torch.stack(parts, 1).flatten(0, 1)


class _Carry(Function):
    """Two values whose backward, whichever of them it comes by, also hands `found` to a leaf."""

    @staticmethod
    def forward(quantized: Tensor, loss: Tensor, leaf: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
        return quantized.view_as(quantized), loss.view_as(loss)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(inputs[3])

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, grad_loss: Tensor | None) -> tuple[Tensor | None, ...]:
        return grad, grad_loss, ctx.saved_tensors[0], None
