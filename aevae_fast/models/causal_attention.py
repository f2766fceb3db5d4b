"""A transformer block whose positions see only themselves and what came before."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Past = tuple[Tensor, Tensor] | None  # keys and values of the positions before, `[B, heads, P, channels / heads]`


class CausalBlock(nn.Module):
    """Causal self-attention, then a perceptron, each added to what came in and with a layer norm before it (Vaswani et
    al., 2017; norms first: Radford et al., 2019).

    Args:
        channels: width.
        heads: heads of the attention; they divide `channels`.
        dropout: share of the features of what is added that training leaves out.
    """

    def __init__(self, channels: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(channels)
        self.queries_keys_values = nn.Linear(channels, 3 * channels)
        self.attention_output = nn.Linear(channels, channels)
        self.perceptron = nn.Sequential(
            nn.LayerNorm(channels), nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, past: Past = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """All positions at once, or one more position.

        Args:
            x: `[B, N, channels]`; N is 1 where there is a `past`.
            past: of the positions before; None where `x` begins with the first.

        Returns:
            `[B, N, channels]`, and the past with these positions added.
        """
        projected = self.queries_keys_values(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1))
        query, key, value = projected.permute(2, 0, 3, 1, 4)
        if past is not None:
            key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=past is None)
        x = x + self.dropout(self.attention_output(attended.transpose(1, 2).flatten(2)))
        return x + self.dropout(self.perceptron(x)), (key, value)
