"""How probable the codes of groups of bits are over a batch, as products of matrices, and the gradient.

The code of a group is a pair of codes of its two halves, and the table of pairs, summed over rows, is one product of
the halves' probabilities: [2^high, N]·[N, 2^low]. Nothing has N·2^group entries.
Specification: `aevae_fast.reference.code_probabilities`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ._product import full_precision
from ._rows import row_blocks
from ._threads import on_threads, threads_for

_ELEMENTS = 1 << 17  # of a block's probabilities, over all groups
_PARTS = 32  # partial tables, always as many: the sum does not depend on the number of threads


class _Groups:
    """Where the bits of each group lie among C·bits dimensions. A smaller last group lacks its highest bits."""

    def __init__(self, x: Tensor, slope: float, bits: int, group: int) -> None:
        self.slope, self.codebooks, self.count = slope, x.shape[2] // bits, -(-bits // group)
        self.high, self.low = (group + 1) // 2, group // 2
        lacking = self.count * group - bits
        dims = list(range(bits))
        self.places = dims[: bits - group + lacking] + [bits] * lacking + dims[bits - group + lacking :]
        self.present = [place for place, dim in enumerate(self.places) if dim < bits]
        self.whole, self.shape = lacking == 0, (self.codebooks, self.count, group)
        self.rows = max(64, _ELEMENTS // (self.codebooks * self.count * 2**self.high))

    def blocks(self, x: Tensor) -> list[tuple[slice, slice]]:
        return list(row_blocks(x, self.rows))

    def logits(self, x: Tensor) -> Tensor:
        """[b, s, C·bits] → [C·groups, rows, group] float32, -inf for a bit that is not there: it is 0."""
        logit = x.reshape(-1, self.codebooks, x.shape[2] // self.codebooks).float() * self.slope
        if not self.whole:
            logit = F.pad(logit, (0, 1), value=-torch.inf)[..., self.places]
        return logit.unflatten(-1, self.shape[1:]).flatten(1, 2).transpose(0, 1)

    def restored(self, grad: Tensor, shape: torch.Size) -> Tensor:
        """The gradient of `logits`, back: [C·groups, rows, group] → [b, s, C·bits]."""
        grad = grad.transpose(0, 1).reshape(-1, self.codebooks, self.count * self.shape[2])
        return (grad if self.whole else grad[..., self.present]).reshape(shape)

    def halves(self, logit: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities of the codes of either half, [C·groups, rows, 2^high] and [C·groups, rows, 2^low]."""
        one, zero = torch.sigmoid(logit), torch.sigmoid(-logit)
        split = [self.high, self.low]
        high, low = (_products(*pair) for pair in zip(one.split(split, -1), zero.split(split, -1), strict=True))
        return high, low


def code_probabilities(x: Tensor, mask: Tensor | None, slope: float, bits: int, group: int) -> Tensor:
    """Σ over the rows of x [B, S, C·bits] that count of the probability of every code → [C, groups, 2^group] float32.
    A bit is 1 with probability σ(slope·x); the first of a group is its highest."""
    groups = _Groups(x, slope, bits, group)
    blocks = groups.blocks(x)
    parts = min(_PARTS, len(blocks))
    tables = torch.zeros(max(1, parts), groups.codebooks * groups.count, 2**groups.high, 2**groups.low, device=x.device)

    def add(part: int) -> None:
        for block in blocks[part::parts]:
            high, low = groups.halves(groups.logits(x[block]))
            if mask is not None:  # both: what stands in masked places may be NaN
                dropped = ~mask[block].reshape(-1, 1)
                high, low = high.masked_fill_(dropped, 0.0), low.masked_fill_(dropped, 0.0)
            tables[part].baddbmm_(high.transpose(1, 2), low)

    with full_precision(x.device):
        on_threads(lambda: add, list(range(parts)), threads_for(x))
    return tables.sum(0).view(groups.codebooks, groups.count, 2**group)


def code_probabilities_backward(
    grad: Tensor, x: Tensor, mask: Tensor | None, slope: float, bits: int, group: int
) -> Tensor:
    """The gradient of x for that of the table, [C, groups, 2^group] float32; 0 for masked rows; like x."""
    grad_x = torch.empty_like(x)
    groups = _Groups(x, slope, bits, group)
    table = grad.reshape(-1, 2**groups.high, 2**groups.low).float()

    def differentiate(block: tuple[slice, slice]) -> None:
        logit = groups.logits(x[block])
        high, low = groups.halves(logit)
        of_high = torch.bmm(low, table.transpose(1, 2)).mul_(high)
        of_low = torch.bmm(high, table).mul_(low)
        ones, zeros = zip(_sums_by_bit(of_high), _sums_by_bit(of_low), strict=True)
        # d ln P/d logit is 1 - p where the bit is 1, and -p where it is 0.
        found = torch.sigmoid(-logit) * torch.cat(ones, -1) - torch.sigmoid(logit) * torch.cat(zeros, -1)
        found = groups.restored(found.mul_(slope), x[block].shape)
        grad_x[block] = found if mask is None else found.masked_fill(~mask[block][..., None], 0.0)

    with full_precision(x.device):
        on_threads(lambda: differentiate, groups.blocks(x), threads_for(x))
    return grad_x


def _products(one: Tensor, zero: Tensor) -> Tensor:
    """Probabilities of bits, [..., n] → of their codes, [..., 2^n]; the first bit is the highest."""
    found = one.new_ones(*one.shape[:-1], 1)
    for bit in range(one.shape[-1]):
        pair = torch.stack([zero[..., bit], one[..., bit]], -1)
        found = (found[..., :, None] * pair[..., None, :]).flatten(-2)
    return found


def _sums_by_bit(weight: Tensor) -> tuple[Tensor, Tensor]:
    """weight [G, rows, 2^n] of codes → for each of the n bits, the sum over the codes that have it, and that have not;
    [G, rows, n]."""
    size = weight.shape[-1].bit_length() - 1
    place = torch.arange(size - 1, -1, -1, device=weight.device)
    bits = (torch.arange(2**size, device=weight.device)[:, None] >> place & 1).to(weight.dtype)
    return weight @ bits, weight @ (1 - bits)
