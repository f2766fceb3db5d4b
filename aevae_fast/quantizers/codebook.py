"""The state of one codebook: the codes, their running counts and sums, and how they move.

What moves a codebook is the count and the sum of the vectors that chose each code. They come home as the *gradients* of
two leaves (see `aevae_fast.functional.vector_quantize`), so autograd does the bookkeeping: one contribution for each
backward pass, added up over accumulated batches, none from a forward that checkpointing repeats. `updates.py` spends
them once per optimizer step.
"""

from collections.abc import Callable
from typing import Any
from weakref import ReferenceType

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from .. import functional
from . import updates
from .kmeans import kmeans, sample_of_all_ranks
from .sharded import WrittenInForward, placed_as

# A code counts as dead below this share of uniform usage, unless a threshold is given, and comes back with a count just
# above it: it follows its new vectors at once, and has about five steps at decay 0.99 to find any.
_DEAD_SHARE, _GRACE = 1 / 2, 1.05
_SPREAD = 1640531527  # 2³²/φ², odd: multiples of it, modulo 2³¹, spread evenly (Knuth, TAOCP 3, section 6.4)

RowWeight = Tensor | Callable[[Tensor, Tensor], Tensor]  # [H, K], or made of sums [H, K, D] and counts [H, K]


class Codebook(nn.Module):
    """`embed [H, K, D]`, `cluster_size [H, K]`, `embed_avg [H, K, D]`: float32 whatever the module is cast to.

    H codebooks that move in one go, one for each head; usually one. Shapes and names in `state_dict` are those of
    vector-quantize-pytorch; `steps` counts how often the codebook has moved. What arrives for a move, and the rows that
    may replace dead codes, lie head after head: [H·K, ...].
    """

    embed: Tensor
    embed_avg: Tensor
    cluster_size: Tensor
    initted: Tensor
    steps: Tensor
    candidates: Tensor

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        metric: str,
        decay: float,
        eps: float,
        learnable: bool,
        kmeans_init: bool,
        kmeans_iters: int,
        dead_code_threshold: float | None,
        sync: bool | None,
        heads: int = 1,
    ) -> None:
        super().__init__()
        self.metric, self.decay, self.eps, self.learnable = metric, decay, eps, learnable
        self.kmeans_iters, self.dead_code_threshold, self.sync = kmeans_iters, dead_code_threshold, sync
        self.heads, self.size = heads, codebook_size
        self._frozen = False
        self.optimizer: ReferenceType[Optimizer] | None = None  # whose steps move it; None: any optimizer's
        self.row_weight: RowWeight | None = None  # of the next move
        self.written: WrittenInForward | None = None  # of a parameter, until the next move
        embed = torch.empty(heads, codebook_size, dim)
        nn.init.kaiming_uniform_(embed)
        embed = F.normalize(embed, dim=-1) if metric == "cosine" else embed
        if learnable:
            self.embed = nn.Parameter(embed)
        else:
            self.register_buffer("embed", embed)
        self.register_buffer("embed_avg", embed.clone())
        self.register_buffer("cluster_size", torch.ones(heads, codebook_size))
        self.register_buffer("initted", torch.tensor(not kmeans_init))
        self.register_buffer("steps", torch.tensor(0))
        # Rows of the last batch that may replace dead codes; the last column is 1 where the row may be used.
        self.register_buffer("candidates", torch.zeros(heads * codebook_size, dim + 1), persistent=False)
        self.needs_init = kmeans_init  # the host's copy of `not initted`: asking the device would wait for it
        self._attach()

    @property
    def stored(self) -> Tensor:
        """`embed`, as the first forward may have left it."""
        return self.embed if self.written is None else self.written.seen(self.embed)

    @property
    def codes(self) -> Tensor:
        """The codes, `[K, D]` float32, or `[H, K, D]` of several heads; unit vectors under the cosine metric, which a
        gradient would not keep so."""
        embed = self.stored[0] if self.heads == 1 else self.stored
        return F.normalize(embed, dim=-1) if self.learnable and self.metric == "cosine" else embed

    @property
    def frozen(self) -> bool:
        return self._frozen

    @frozen.setter
    def frozen(self, frozen: bool) -> None:
        self._frozen = frozen
        if frozen:  # what has arrived is not to move it later
            for leaf in self.sinks:
                leaf.grad = None

    def leaves(self) -> list[tuple[Tensor, Tensor]]:
        """For each head the two tensors whose gradients are its statistics."""
        if self.heads == 1:
            return [self.sinks]
        return list(zip(*(leaf.split(self.size) for leaf in self.sinks), strict=True))

    # --- what a forward does -------------------------------------------------------------------------------------

    @torch.no_grad()
    def observe(self, x: Tensor, mask: Tensor | None, dim: int) -> None:
        """Before a training forward searches: initialise if that is due, note candidates for dead codes. x holds
        H·D along axis `dim`, head after head. Repeating it with the same x changes nothing: checkpointing may."""
        rows = functional.as_rows(x, dim)
        keep = rows.new_ones(rows.shape[:2], dtype=torch.bool) if mask is None else mask.reshape(rows.shape[:2])
        self.initialize(rows, keep)
        if keep.numel() == 0:
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

    def _note_candidates(self, rows: Tensor, keep: Tensor) -> None:
        outer, inner, mine = self.places(rows)
        self.note(rows[outer, inner].float(), keep[outer, inner] & mine)

    def places(self, rows: Tensor, shift: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
        """For code k the row at fraction u_k + shift (modulo 1) of the joined batch of all ranks, u a Weyl sequence
        that goes on from update to update: well spread, the same on every rank, and no random state to save.

        rows [B, S, D], not empty → its place along B and along S, and whether it lies on this rank; each [K]."""
        world = self._world_size()
        number = self.steps * self.size + torch.arange(self.size, device=rows.device)
        place = ((number % 2**31 * _SPREAD + int(shift * 2**31)) % 2**31) * world  # (u + shift)·world, unit 2⁻³¹
        local = (place % 2**31) * (rows.shape[0] * rows.shape[1]) >> 31
        mine = place >> 31 == (dist.get_rank() if world > 1 else 0)
        return local // rows.shape[1], local % rows.shape[1], mine

    def note(self, row: Tensor, usable: Tensor) -> None:
        """Vectors [K, H·D] float32 that may replace dead codes, where usable [K] and finite."""
        usable = (usable & row.isfinite().all(-1)).repeat(self.heads)
        row = row.unflatten(1, (self.heads, -1)).transpose(0, 1).flatten(0, 1)
        self.candidates.copy_(torch.cat([row, torch.ones_like(row[:, :1])], 1).where(usable[:, None], 0.0))

    # --- what an update does -------------------------------------------------------------------------------------

    def statistics(self, counts: Tensor, sums: Tensor) -> Tensor:
        """One flat tensor for one all-reduce: sums, counts and candidates side by side, `[H·K, 2·D + 2]`."""
        return torch.cat([sums, counts[:, None], self.candidates], 1)

    def move(self, statistics: Tensor) -> None:
        """Move the codebook by the statistics of a step, then replace the codes that died."""
        dim = self.embed.shape[2]
        parts = statistics.unflatten(0, (self.heads, self.size)).split([dim, 1, dim, 1], 2)
        sums, counts, candidates, usable = parts[0], parts[1][..., 0], parts[2], parts[3]
        arrived = counts.any()
        if self.row_weight is not None:
            counts, sums = self._weighted(counts, sums, self.row_weight)
            self.row_weight = None
        if self.written is not None:
            self.written.restore(self.embed)
            self.written = None
        if self.learnable:
            self.cluster_size.lerp_(counts, (1 - self.decay) * arrived)
        else:
            for h in range(self.heads):
                state = (self.embed[h], self.cluster_size[h], self.embed_avg[h])
                new = (counts[h].contiguous(), sums[h].contiguous())
                functional.ema_update_(*state, *new, decay=self.decay, eps=self.eps, metric=self.metric)
        if self.dead_code_threshold != 0:
            # One rank has each; where DDP has broadcast its buffers since, several have the same.
            self._replace_dead(candidates / usable.clamp(min=1), (usable[..., 0] > 0) & arrived)
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
        fresh = _GRACE * threshold
        self.cluster_size.copy_(self.cluster_size.where(~dead, fresh))
        alive = placed_as(~dead[..., None].expand_as(candidates), self.embed)
        self.embed.copy_(self.embed.where(alive, placed_as(candidates, self.embed)))
        self.embed_avg.copy_(self.embed_avg.where(~dead[..., None], candidates * fresh[..., None]))

    def _threshold(self) -> Tensor:
        """The running count below which a code is dead, [H, 1]."""
        uniform = self.cluster_size.mean(1, keepdim=True)
        given = self.dead_code_threshold
        return _DEAD_SHARE * uniform if given is None else torch.full_like(uniform, given)

    def _world_size(self) -> int:
        """Ranks that share this codebook; the group is looked up when it is used, not when the layer is built."""
        if self.sync is False or not (dist.is_available() and dist.is_initialized()):
            return 1
        return dist.get_world_size()

    @property
    def shared(self) -> bool:
        return self._world_size() > 1

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("optimizer", "sinks")}

    # --- what PyTorch asks of a module ---------------------------------------------------------------------------

    def _attach(self) -> None:
        """New leaves to carry the statistics; zero-stride views of one element, so they cost no memory."""
        heads, size, dim = self.embed.shape
        zero = torch.zeros((), device=self.embed.device)
        self.sinks = (zero.expand(heads * size).requires_grad_(), zero.expand(heads * size, dim).requires_grad_())
        updates.register(self)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Codebook":
        """Move with the module but stay float32: 400 EMA steps in bfloat16 drift the codes by a tenth."""

        def keep_dtype(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        super()._apply(keep_dtype, recurse)
        if self.sinks[0].device != self.embed.device:
            self._attach()
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.optimizer = None  # a copy has its own
        self._attach()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        state_dict.setdefault(prefix + "steps", torch.tensor(0, device="cpu"))  # peers' checkpoints lack it
        super()._load_from_state_dict(state_dict, prefix, *args)
        self.needs_init = not bool(self.initted)
        if self.candidates.device != self.embed.device:  # built on "meta", loaded with assign=True
            self.candidates = torch.zeros(self.candidates.shape, device=self.embed.device)
            self._attach()
