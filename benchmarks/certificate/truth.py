"""float64's judgement of indices, for many rows."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_SCORES = 1 << 19
_ELEMENTS = 1 << 19
_UNIT = 2.0**-53
_LEAST = 2.0**-148  # what float32 may lose of a square by underflow, of two


class Judgement(NamedTuple):
    mismatches: int  # rows whose code is not at the least float64 distance, or stands at a lower index as well
    wrong: int  # those where the gap exceeds float32's rounding of the distance
    blind: int  # and those where it does because float32's squares under- or overflow: not counted as wrong
    worst: float  # the largest other gap, in units of that rounding; 1 is where wrong begins


class Truth:
    """Judges the answers for rows x and one codebook.

    Wrong is a code whose float64 distance exceeds the least by more than 2·(D + 2)·2⁻²⁴ of it (cosine and dot: of
    ‖x‖·‖c‖, the mean of the two codes'), or one that stands at a lower index too.

    Most rows are judged by scores in float64, lower bounds such as the CPU's search takes in float32: those where one
    code alone can be the nearest. The others are compared with all codes, directly."""

    def __init__(self, codebook: Tensor, metric: str) -> None:
        self.metric = metric
        size, dim = codebook.shape
        _, group = torch.unique(codebook, dim=0, return_inverse=True)
        first = torch.full((size,), size).scatter_reduce_(0, group, torch.arange(size), "amin")
        self.first = first[group]
        wide = codebook.double()
        self.codes = F.normalize(wide, dim=1) if metric == "cosine" else wide
        self.norm = self.codes.norm(dim=1)
        euclidean = metric == "euclidean"
        self.centre = self.codes[size // 2] if euclidean else torch.zeros_like(self.codes[0])
        centred = self.codes - self.centre
        self.a = (dim + 16) * _UNIT
        norm = centred.norm(dim=1)
        bias = (0.5 if euclidean else 0.0) * norm.square() - self.a * norm.square()
        bias[self.first != torch.arange(size)] = torch.inf
        self.columns = torch.cat([-centred, bias[:, None], -self.a * norm[:, None]], 1)
        self.reach = 2 * self.a * norm

    def judge(self, x: Tensor, *answers: Tensor) -> list[Judgement]:
        """x [N, D] finite, answers [N] int64 each."""
        step = max(1, _SCORES // len(self.codes))
        parts = [self._block(*part) for part in zip(x.split(step), *(a.split(step) for a in answers), strict=True)]
        return [_total(found) for found in zip(*parts, strict=True)]

    def _block(self, x: Tensor, *answers: Tensor) -> list[Judgement]:
        wide = x.double() - self.centre
        norm = wide.norm(dim=1)
        rows = torch.cat([wide, torch.ones_like(norm)[:, None], norm[:, None]], 1)
        lower = self.columns @ rows.T
        least = lower.amin(0)
        hits = torch.empty_like(lower)  # numbers: sums of them are vectorised, those of bools are not
        # Where several are least this is none of them; such rows are not alone below `upper`, whatever it is.
        places = torch.arange(len(lower), dtype=torch.float64)
        best = (places @ torch.eq(lower, least, out=hits)).long().clamp_max(len(lower) - 1)
        upper = least + self.reach[best] * (norm + self.reach[best] / (2 * self.a))
        open_ = torch.le(lower, upper, out=hits).sum(0) != 1
        for answer in answers:
            open_ |= answer != best
        at = torch.nonzero(open_)[:, 0]
        direct = [self._direct(part) for part in x[at].double().split(max(1, _ELEMENTS // self.codes.numel()))]
        return [self._compare(at, direct, answer) for answer in answers]

    def _direct(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """All distances [n, K], and ‖x‖."""
        if self.metric == "euclidean":
            return (x[:, None] - self.codes).square().sum(2), x[:, 0]
        return -(x[:, None] * self.codes).sum(2), x.norm(dim=1)

    def _compare(self, at: Tensor, direct: list[tuple[Tensor, Tensor]], answer: Tensor) -> Judgement:
        if not len(at):
            return Judgement(0, 0, 0, 0.0)
        chosen = answer[at]
        repeated = self.first[chosen] != chosen
        gaps, scales = [], []
        for (distance, norm), code in zip(direct, chosen.split(len(direct[0][0])), strict=True):
            least, best = distance.min(1)
            gaps.append(distance.gather(1, code[:, None])[:, 0] - least)
            mean = 0.5 * (self.norm[best] + self.norm[code])
            scales.append(least if self.metric == "euclidean" else norm * mean)
        gap, allowed = torch.cat(gaps), 2 * (self.codes.shape[1] + 2) * 2.0**-24 * torch.cat(scales)
        beyond = gap > allowed
        least = torch.cat([distance.amin(1) for distance, _ in direct])
        blind = beyond & (
            (gap <= allowed + self.codes.shape[1] * _LEAST) | (least.abs() > torch.finfo(torch.float32).max)
        )
        ratio = torch.where((gap > 0) & ~blind, gap / allowed, 0.0)
        blind &= ~repeated
        wrong = (beyond & ~blind) | repeated
        mismatches, found, missed = (int(rows.sum()) for rows in ((gap > 0) | repeated, wrong, blind))
        return Judgement(mismatches, found, missed, float(ratio.max()))


def _total(found: Sequence[Judgement]) -> Judgement:
    mismatches, wrong, blind, worst = zip(*found, strict=True)
    return Judgement(sum(mismatches), sum(wrong), sum(blind), max(worst))
