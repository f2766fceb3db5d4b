"""The state of one codebook: the codes, their running counts and sums, and how they move.

What moves a codebook is the count and the sum of the vectors that chose each code. They come home as the *gradients* of
two leaves (see `aevae_fast.functional.vector_quantize`), so autograd does the bookkeeping: one contribution for each
backward pass, added up over accumulated batches, none from a forward that checkpointing repeats. `updates.py` spends
them once per optimizer step.
"""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from .. import functional
from ..functional._dispatch import run
from ..functional.ema_update import DEAD_SHARE, GRACE
from ..portable.candidates import places, write_candidates_
from .codebook_state import CodebookState, RowWeight
from .kmeans import drawn_aside, kmeans, sample_of_all_ranks
from .sharded import WrittenInForward, placed_as

_SPREAD = 1640531527  # 2³²/φ², odd: multiples of it, modulo 2³¹, spread evenly (Knuth, TAOCP 3, section 6.4)


class Codebook(CodebookState):
    """`embed [H, K, D]`, `cluster_size [H, K]`, `embed_avg [H, K, D]`: float32 whatever the module is cast to.

    H codebooks that move in one go, one for each head; usually one. Shapes and names in `state_dict` are those of
    vector-quantize-pytorch; `steps` counts how often the codebook has moved. What arrives for a move, and the rows that
    may replace dead codes, lie head after head: [H·K, ...].
    """

    @property
    def codes(self) -> Tensor:
        """The codes, `[K, D]` float32, or `[H, K, D]` of several heads; unit vectors under the cosine metric, which a
        gradient would not keep so."""
        embed = self.stored[0] if self.heads == 1 else self.stored
        return F.normalize(embed, dim=-1) if self.learnable and self.metric == "cosine" else embed

    # --- what a forward does -------------------------------------------------------------------------------------

    @torch.no_grad()
    def observe(self, x: Tensor, mask: Tensor | None, dim: int) -> None:
        """Before a training forward searches: initialise if that is due, note candidates for dead codes. x holds
        H·D along axis `dim`, head after head. Repeating it with the same x changes nothing: checkpointing may."""
        if not self.needs_init and self.dead_code_threshold == 0:
            return
        rows = functional.as_rows(x, dim)
        keep = None if mask is None else mask.reshape(rows.shape[:2])
        if self.needs_init:
            with drawn_aside(x.device):
                self.initialize(rows, rows.new_ones(rows.shape[:2], dtype=torch.bool) if keep is None else keep)
        if 0 in rows.shape[:2]:
            self.candidates.zero_()
        elif self.dead_code_threshold != 0:
            self._note_candidates(rows, keep)

    @torch.no_grad()
    def initialize(self, rows: Tensor, keep: Tensor) -> None:
        """If that is due: k-means on the rows of all ranks, [B, S, H·D] and [B, S]; a batch with no row to go by leaves
        the codes as they were drawn, and it due. (Where that is compiled, until the state is loaded again.)"""
        if not self.needs_init or (keep.numel() == 0 and not self.shared):
            return
        flat, kept = rows.flatten(0, 1).float(), keep.flatten()
        if self.shared:
            flat, kept = sample_of_all_ranks(flat, kept, 64 * self.size)
        kept = kept & flat.isfinite().all(1)
        found, before = kept.any(), self.embed.detach().clone()
        for head, part in enumerate(flat.chunk(self.heads, 1)):
            centroids, counts = kmeans(part, kept, self.size, self.kmeans_iters, self.metric)
            self.embed[head].copy_(centroids.where(found, self.embed[head]))
            self.cluster_size[head].copy_(counts)
        self.embed_avg.copy_(self.embed * self.cluster_size[..., None])
        if self.shared:  # each rank drew its own numbers
            for state in (self.embed, self.cluster_size, self.embed_avg):
                dist.broadcast(state, 0)
        if self.learnable:
            self.written = WrittenInForward(before, self.embed.detach())
        self.initted.copy_(found)
        self.needs_init = not torch.compiler.is_compiling() and not bool(found)

    def _note_candidates(self, rows: Tensor, keep: Tensor | None) -> None:
        world, rank = self._world_and_rank()
        run("note_candidates_", "dispatch", self.candidates, rows, keep, self.steps, self.heads, world, rank, _SPREAD)

    def places(self, rows: Tensor, shift: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
        """For code k the row at fraction u_k + shift (modulo 1) of the joined batch of all ranks, u a Weyl sequence
        that goes on from update to update: well spread, the same on every rank, and no random state to save.

        rows [B, S, D], not empty → its place along B and along S, and whether it lies on this rank; each [K]."""
        world, rank = self._world_and_rank()
        outer, inner, where = places(self.size, rows, self.steps, world, _SPREAD, int(shift * 2**31))
        return outer, inner, where == rank

    def _world_and_rank(self) -> tuple[int, int]:
        world = self._world_size()
        return world, dist.get_rank() if world > 1 else 0

    def note(self, row: Tensor, usable: Tensor) -> None:
        """Vectors [K, H·D] float32 that may replace dead codes, where usable [K] and finite."""
        write_candidates_(self.candidates, row, usable, self.heads)

    # --- what an update does -------------------------------------------------------------------------------------

    def statistics(self, counts: Tensor, sums: Tensor) -> tuple[Tensor, ...]:
        """What is summed over ranks, and `move` then takes: sums [H·K, D], counts [H·K]; candidates, if codes die."""
        return (sums, counts) if self.dead_code_threshold == 0 else (sums, counts, self.candidates)

    def move(self, sums: Tensor, counts: Tensor, candidates: Tensor | None = None) -> None:
        """Move the codebook by the statistics of a step, and replace the codes that died. Of each candidate one rank
        has it; where DDP has broadcast its buffers since, several have the same."""
        shape = (self.heads, self.size, -1)
        counts, sums = counts.view(shape[:2]), sums.view(shape)
        rows = None if candidates is None else candidates.view(shape)
        if self.row_weight is not None:
            counts, sums = self._weighted(counts, sums, self.row_weight)
            self.row_weight = None
        if self.written is not None:
            self.written.restore(self.embed)
            self.written = None
        if self.learnable:
            self._follow(counts, rows)
            return
        for h in range(self.heads):
            functional.ema_update_(
                self.embed[h],
                self.cluster_size[h],
                self.embed_avg[h],
                counts[h],
                sums[h],
                decay=self.decay,
                eps=self.eps,
                metric=self.metric,
                replacements=None if rows is None else rows[h],
                dead_code_threshold=self.dead_code_threshold,
                steps=self.steps if self.heads == 1 else None,
            )
        if self.heads > 1:
            self.steps += counts.any()

    def _follow(self, counts: Tensor, rows: Tensor | None) -> None:
        """A gradient has moved the codes: their counts follow, and the dead are replaced."""
        arrived = counts.any()
        self.cluster_size.lerp_(counts, (1 - self.decay) * arrived)
        if rows is not None:
            self._replace_dead(rows[..., :-1] / rows[..., -1:].clamp(min=1), (rows[..., -1] > 0) & arrived)
        self.steps += arrived

    def _weighted(self, counts: Tensor, sums: Tensor, weight: RowWeight) -> tuple[Tensor, Tensor]:
        """counts [H, K] and sums [H, K, D] with which the EMA takes 1 - decay times the weight of each code."""
        found = weight(sums, counts) if callable(weight) else weight
        part = found.to(counts).expand_as(counts)
        moved = self.cluster_size.lerp(counts, part), self.embed_avg.lerp(sums, part[..., None])
        return moved[0] * counts.any(), moved[1] * counts.any()  # still 0 where nothing has arrived

    def _replace_dead(self, candidates: Tensor, usable: Tensor) -> None:
        """Vector, sum and count are all written: left to its old sum a code would be pulled back at the next step."""
        threshold = self._threshold()
        dead = (self.cluster_size < threshold) & usable
        fresh = GRACE * threshold
        self.cluster_size.copy_(self.cluster_size.where(~dead, fresh))
        alive = placed_as(~dead[..., None].expand_as(candidates), self.embed)
        self.embed.copy_(self.embed.where(alive, placed_as(candidates, self.embed)))
        self.embed_avg.copy_(self.embed_avg.where(~dead[..., None], candidates * fresh[..., None]))

    def _threshold(self) -> Tensor:
        """The running count below which a code is dead, [H, 1]."""
        uniform = self.cluster_size.mean(1, keepdim=True)
        given = self.dead_code_threshold
        return DEAD_SHARE * uniform if given is None else torch.full_like(uniform, given)
