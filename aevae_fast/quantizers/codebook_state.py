"""What a codebook consists of, and what PyTorch asks of it as a module."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from ..functional._checks import METRICS
from . import updates
from .sharded import WrittenInForward

if TYPE_CHECKING:
    from typing_extensions import Self

RowWeight = Tensor | Callable[[Tensor, Tensor], Tensor]  # [H, K], or made of sums [H, K, D] and counts [H, K]


class CodebookState(nn.Module):
    """The tensors of `Codebook`, which stay float32 whatever the module is cast to, and the leaves that carry what
    moves it."""

    _OWN: tuple[str, ...] = ("optimizer", "row_weight", "sinks")  # what no copy takes along

    embed: Tensor
    embed_avg: Tensor
    cluster_size: Tensor
    initted: Tensor
    steps: Tensor
    scheme: Tensor
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
        self.register_buffer("scheme", torch.tensor(METRICS.index(metric)))  # what the codes are for
        # Rows of the last batch that may replace dead codes; the last column is 1 where the row may be used.
        self.register_buffer("candidates", torch.zeros(heads * codebook_size, dim + 1), persistent=False)
        self.needs_init = kmeans_init  # the host's copy of `not initted`: asking the device would wait for it
        self._attach()

    @property
    def stored(self) -> Tensor:
        """`embed`, as the first forward may have left it."""
        return self.embed if self.written is None else self.written.seen(self.embed)

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

    def _world_size(self) -> int:
        """Ranks that share this codebook; the group is looked up when it is used, not when the layer is built."""
        if self.sync is False or not (dist.is_available() and dist.is_initialized()):
            return 1
        return dist.get_world_size()

    @property
    def shared(self) -> bool:
        return self._world_size() > 1

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in self._OWN}

    # --- what PyTorch asks of a module ---------------------------------------------------------------------------

    def _attach(self) -> None:
        """New leaves to carry the statistics; zero-stride views of one element, so they cost no memory."""
        heads, size, dim = self.embed.shape
        zero = torch.zeros((), device=self.embed.device)
        self.sinks = (zero.expand(heads * size).requires_grad_(), zero.expand(heads * size, dim).requires_grad_())
        updates.register(self)  # type: ignore[arg-type]  # nothing else is a CodebookState

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Self":
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
        self.optimizer = self.row_weight = None  # a copy has its own
        self._attach()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name, value in (("steps", 0), ("scheme", METRICS.index(self.metric))):  # peers' checkpoints lack them
            state_dict.setdefault(prefix + name, torch.tensor(value, device="cpu"))
        misfits = self._misfits(state_dict, prefix)
        if misfits:  # then nothing of it is taken: a codebook that is half another's would be none
            args[-1].extend(misfits)
            return
        super()._load_from_state_dict(state_dict, prefix, *args)
        self.needs_init = not bool(self.initted)
        if self.candidates.device != self.embed.device:  # built on "meta", loaded with assign=True
            self.candidates = torch.zeros(self.candidates.shape, device=self.embed.device)
            self._attach()

    def _misfits(self, state_dict: dict[str, Any], prefix: str) -> list[str]:
        """What of the state is not of this size and metric, in words."""
        shapes = {
            name: (tuple(mine.shape), tuple(state_dict.get(prefix + name, mine).shape))
            for name, mine in (*self.named_parameters(), *self.named_buffers())
            if name not in self._non_persistent_buffers_set
        }
        sizes = [
            f"size mismatch for {prefix}{name}: expected {expected}, got {got}"
            for name, (expected, got) in shapes.items()
            if expected != got
        ]
        found = int(state_dict[prefix + "scheme"])
        if found == METRICS.index(self.metric):
            return sizes
        metric = METRICS[found] if 0 <= found < len(METRICS) else f"number {found}"
        return [*sizes, f"{prefix}scheme: expected codes for the {self.metric} metric, got codes for {metric}"]
