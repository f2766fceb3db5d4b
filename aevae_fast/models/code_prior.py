"""An autoregressive prior over the codes of a VQ-VAE: what its decoder needs to draw new images."""

import itertools
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aevae_fast.quantizers.loading import LoadsWhole

from .causal_attention import CausalBlock, Past
from .checks import INTEGERS, check_image_size, check_positive, check_whole
from .modes import evaluation_mode

# (rows up, columns left) of the codes around a position that its input shows; all come earlier in raster order.
_NEIGHBOURS = ((0, 1), (0, 2), (1, 1), (1, 0), (1, -1), (2, 0), (1, -2))
_AT_A_TIME = 512  # samples drawn together; bounds the memory of the attention's past


class CodePriorOutput(NamedTuple):
    """What `CodePrior.forward` returns.

    Attributes:
        logits: `[B, K, H, W]`; at each position of the codes given all earlier ones, unnormalised.
        loss: scalar to minimise, -log p(codes) in nats an image, mean over the batch.
    """

    logits: Tensor
    loss: Tensor


class CodePrior(LoadsWhole):
    """p(codes) over an `[H, W]` grid of K codes, the product of p(code | all earlier ones) in raster order.

    What the PixelCNN is to pixels and to the codes of a VQ-VAE (van den Oord et al., 2016, arXiv:1606.05328; 2017,
    arXiv:1711.00937), here a transformer with causal attention (Vaswani et al., 2017). The input at a position is the
    code before it and the codes that lie next to it, left and above, so attention need not find them first; there is
    no blind spot. Input and output share one table of vectors, one a code, so what is learned of a code in one place
    holds in the other; `start_from` makes it the codebook's.

    Args:
        codebook_size: number of codes K.
        grid: height H and width W of the grid of codes, or one number for both.
        embedding_dim: width of the vectors that stand for codes.
        channels: width of the transformer.
        layers: blocks of attention and perceptron.
        heads: heads of the attention; they divide `channels`.
        dropout: share of the features that training leaves out, in [0, 1).

    Raises:
        TypeError: an argument is no number, or not a whole one where that is needed.
        ValueError: an argument is out of range.
    """

    neighbours: Tensor

    def __init__(
        self,
        codebook_size: int = 512,
        grid: int | tuple[int, int] = 7,
        *,
        embedding_dim: int = 64,
        channels: int = 128,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        sizes = {
            "codebook_size": codebook_size,
            "embedding_dim": embedding_dim,
            "channels": channels,
            "layers": layers,
            "heads": heads,
        }
        check_whole(**sizes)
        check_positive(**sizes)
        if channels % heads:
            raise ValueError(f"heads: expected a divisor of channels={channels}, got {heads}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout: expected a share in [0, 1), got {dropout!r}")
        self.grid = check_image_size(grid, name="grid")
        self.codebook_size = codebook_size
        self.config: dict[str, Any] = {**sizes, "grid": list(self.grid), "dropout": dropout}
        self.own_parts: list[str] = []

        self.register_buffer("neighbours", _neighbours(*self.grid), persistent=False)
        positions, around = self.neighbours.shape
        self.embedding = nn.Embedding(codebook_size + 1, embedding_dim)  # the last: outside the grid
        self.input = nn.Linear(around * embedding_dim, channels)
        self.position = nn.Parameter(0.02 * torch.randn(positions, channels))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(CausalBlock(channels, heads, dropout) for _ in range(layers))
        self.output = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, embedding_dim))
        self.bias = nn.Parameter(torch.zeros(codebook_size))
        self.start_from(torch.randn(codebook_size, embedding_dim))

    @torch.no_grad()
    def start_from(self, codebook: Tensor) -> None:
        """Let the codes' vectors start as those of `codebook [K, embedding_dim]`, on a scale of their own: codes that
        look alike are alike from the start.

        Raises:
            ValueError: another shape.
        """
        vectors = self.embedding.weight[: self.codebook_size]
        if codebook.shape != vectors.shape:
            raise ValueError(f"codebook: expected {list(vectors.shape)}, got {list(codebook.shape)}")
        centred = codebook - codebook.mean(0)
        vectors.copy_(centred / centred.square().mean().sqrt().clamp(min=1e-12))

    def forward(self, codes: Tensor) -> CodePriorOutput:
        """The logits of every position, and the loss.

        Args:
            codes: integer `[B, H, W]` with values in `[0, K)`; they are not looked at, which would hold up a GPU.

        Raises:
            TypeError: `codes` is not an integer tensor.
            ValueError: another shape.
        """
        logits = self._all_logits(codes)
        loss = F.cross_entropy(logits.flatten(0, 1), codes.long().flatten(), reduction="sum") / max(len(codes), 1)
        return CodePriorOutput(logits.transpose(1, 2).unflatten(2, self.grid), loss)

    @torch.no_grad()
    def log_prob(self, codes: Tensor) -> Tensor:
        """log p(codes) in nats, `[B]`, of codes `[B, H, W]`, as evaluation has it: without dropout, without gradient.

        Raises:
            TypeError, ValueError: as `forward`.
        """
        with evaluation_mode(self):
            logits = self._all_logits(codes)
        chosen = codes.long().flatten(1)
        return -F.cross_entropy(logits.transpose(1, 2), chosen, reduction="none").sum(1)

    @torch.no_grad()
    def sample(self, n: int, *, generator: torch.Generator | None = None, temperature: float = 1.0) -> Tensor:
        """`n` draws, int64 `[n, H, W]`; each position costs one column of attention, what came before is kept.

        Args:
            n: number of draws, 0 or more.
            generator: must be on the module's device.
            temperature: divides the logits; below 1 favours what is likely.

        Raises:
            TypeError, ValueError: an argument that is no number or out of range.
        """
        check_whole(n=n)
        check_positive(temperature=temperature)
        if n < 0:
            raise ValueError(f"n: expected 0 or more, got {n}")
        with evaluation_mode(self):
            parts = [
                self._draw(min(_AT_A_TIME, n - start), generator, temperature)
                for start in range(0, max(n, 1), _AT_A_TIME)
            ]
        return torch.cat(parts).unflatten(1, self.grid)

    def _draw(self, n: int, generator: torch.Generator | None, temperature: float) -> Tensor:
        positions = len(self.neighbours)
        codes = self.neighbours.new_full((n, positions + 1), self.codebook_size)
        pasts: list[Past] = [None] * len(self.blocks)
        for place in range(positions):
            logits, pasts = self._logits(codes, slice(place, place + 1), pasts)
            probabilities = (logits[:, 0].float() / temperature).softmax(-1)
            if n:  # multinomial takes no empty batch
                codes[:, place] = torch.multinomial(probabilities, 1, generator=generator)[:, 0]
        return codes[:, :-1]

    def _all_logits(self, codes: Tensor) -> Tensor:
        """`[B, H * W, K]` of codes `[B, H, W]`."""
        if codes.dtype not in INTEGERS:
            raise TypeError(f"codes: expected an integer tensor, got {codes.dtype}")
        if codes.ndim != 3 or tuple(codes.shape[1:]) != self.grid:
            raise ValueError(f"codes: expected [B, {self.grid[0]}, {self.grid[1]}] (grid), got {list(codes.shape)}")
        known = F.pad(codes.long().flatten(1), (0, 1), value=self.codebook_size)
        return self._logits(known, slice(None), [None] * len(self.blocks))[0]

    def _logits(self, codes: Tensor, places: slice, pasts: list[Past]) -> tuple[Tensor, list[Past]]:
        """Logits `[B, places, K]`, and the new pasts; `codes [B, H * W + 1]` ends with what stands for outside."""
        around = codes[:, self.neighbours[places]]
        x = self.dropout(self.input(self.embedding(around).flatten(2)) + self.position[places])
        seen = []
        for block, past in zip(self.blocks, pasts, strict=True):
            x, past = block(x, past)
            seen.append(past)
        return F.linear(self.output(x), self.embedding.weight[: self.codebook_size], self.bias), seen

    def extra_repr(self) -> str:
        height, width = self.grid
        return f"codes={height}x{width} of {self.codebook_size}"


def _neighbours(height: int, width: int) -> Tensor:
    """For each position in raster order the places that its input shows, `[H * W, 8]`: the one before, which may be the
    end of the row above, then those next to it; `H * W` stands for outside the grid."""
    outside = height * width
    table = []
    for row, column in itertools.product(range(height), range(width)):
        place = row * width + column
        around = [place - 1 if place else outside]
        for up, left in _NEIGHBOURS:
            inside = row >= up and 0 <= column - left < width
            around.append(place - up * width - left if inside else outside)
        table.append(around)
    return torch.tensor(table)
