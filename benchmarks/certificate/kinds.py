"""Rows and codebooks to search: random, trained, and made to break a careless search. All float32, from a seed."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from .near_ties import at_bisectors

Case = tuple[Tensor, Tensor]  # rows [n, D], codebook [K, D]
Kind = Callable[[Generator, int, int, int], Case]  # from n, K, D
_SCORES = 1 << 20


def normal(g: Generator, n: int, size: int, dim: int) -> Case:
    return torch.randn(n, dim, generator=g), torch.randn(size, dim, generator=g)


def mixture(g: Generator, n: int, dim: int, centres: int = 64) -> Tensor:
    """[n, dim]: clusters of unequal width."""
    centre = torch.randn(centres, dim, generator=g)
    width = 0.05 + 0.5 * torch.rand(centres, 1, generator=g)
    chosen = torch.randint(centres, (n,), generator=g)
    return centre[chosen] + width[chosen] * torch.randn(n, dim, generator=g)


def k_means(rows: Tensor, size: int, g: Generator, steps: int) -> Tensor:
    """Lloyd's steps from rows drawn at random: [size, dim]. Codes without a row stay."""
    codes = rows[torch.randperm(len(rows), generator=g)[:size]].clone()
    for _ in range(steps):
        nearest = [
            (0.5 * codes.square().sum(1) - part @ codes.T).argmin(1) for part in rows.split(max(64, _SCORES // size))
        ]
        index = torch.cat(nearest)
        count = index.bincount(minlength=size)[:, None]
        means = torch.zeros_like(codes).index_add_(0, index, rows) / count.clamp_min(1)
        codes = torch.where(count > 0, means, codes)
    return codes


def trained(g: Generator, n: int, size: int, dim: int) -> Case:
    rows = mixture(g, n + max(4096, 2 * size), dim)
    return rows[:n], k_means(rows[n:], size, g, 3)


def offset(g: Generator, n: int, size: int, dim: int) -> Case:
    rows, codes = normal(g, n, size, dim)
    return 1000 + 0.01 * rows, 1000 + 0.01 * codes


def tiny_codes(g: Generator, n: int, size: int, dim: int) -> Case:
    return torch.randn(n, dim, generator=g), (2 * torch.rand(size, dim, generator=g) - 1) / size


def outlier_code(g: Generator, n: int, size: int, dim: int) -> Case:
    """One code, and a few rows, far out: by 10 to 10³⁰."""
    rows, codes = normal(g, n, size, dim)
    far = 10.0 ** (1 + 29 * torch.rand(1, generator=g))
    codes[int(torch.randint(size, (1,), generator=g))] *= far
    rows[:64] *= far * torch.logspace(-3, 1, 64)[:, None]
    return rows, codes


def far_in_turn(g: Generator, n: int, size: int, dim: int) -> Case:
    """Each code far out in one dimension, so that the middle of most dimensions is small."""
    rows, codes = normal(g, n, size, dim)
    far = 10.0 ** (1 + 6 * torch.rand(1, generator=g))
    codes[torch.arange(size), torch.arange(size) % dim] *= far
    return rows * 10.0 ** (8 * torch.rand(n, 1, generator=g) - 1), codes


def one_ulp(g: Generator, n: int, size: int, dim: int) -> Case:
    """Codes that differ by one or two ulp in some dimensions, rows among them."""
    centre = torch.randn(1, dim, generator=g)
    ulp = torch.ldexp(torch.ones_like(centre), torch.frexp(centre).exponent - 24)
    codes = centre + ulp * torch.randint(-2, 3, (size, dim), generator=g)
    return centre + ulp * torch.randint(-4, 5, (n, dim), generator=g), codes


def almost_equal(g: Generator, n: int, size: int, dim: int) -> Case:
    rows, codes = normal(g, n, size, dim)
    return codes[:1] + 1e-6 * rows, codes[:1] + 1e-6 * codes


def duplicated(g: Generator, n: int, size: int, dim: int) -> Case:
    rows, codes = normal(g, n, size, dim)
    return rows, codes[torch.randint(1 + size // 4, (size,), generator=g)]


def two_clusters(g: Generator, n: int, size: int, dim: int, width: float | None = None) -> Case:
    """Both tight, 10⁻⁵ to 1 where no width is given, and far from each other."""
    rows, codes = normal(g, n, size, dim)
    centres = 3 * torch.randn(2, dim, generator=g)
    width = 10.0 ** (-5 * float(torch.rand(1, generator=g))) if width is None else width
    place = torch.randint(2, (n + size,), generator=g)
    return centres[place[:n]] + width * rows, centres[place[n:]] + width * codes


def sample_apart(g: Generator, n: int, size: int, dim: int) -> Case:
    """The nine codes that centre and scale are taken from lie apart; all the others, and the rows, within 10⁻⁶."""
    rows, codes = normal(g, n, size, dim)
    centre = 1 + torch.rand(1, dim, generator=g)
    close = centre + 1e-6 * codes
    sample = torch.arange(9) * size // 9
    close[sample] = codes[sample]
    return centre + 1e-6 * rows, close


def rows_are_codes(g: Generator, n: int, size: int, dim: int) -> Case:
    codes = torch.randn(size, dim, generator=g)
    return codes[torch.randint(size, (n,), generator=g)], codes


def heavy_tailed(g: Generator, n: int, size: int, dim: int) -> Case:
    """Cauchy: normal over normal."""
    rows, codes = normal(g, n, size, dim)
    return rows / torch.randn(n, dim, generator=g), codes / torch.randn(size, dim, generator=g)


def bfloat16_rows(g: Generator, n: int, size: int, dim: int) -> Case:
    rows, codes = at_bisectors(g, *normal(g, n, size, dim), "euclidean")
    return rows.bfloat16().float(), codes


def lattice(g: Generator, n: int, size: int, dim: int) -> Case:
    """Small integers and halves: exact ties everywhere."""
    return torch.randint(-6, 7, (n, dim), generator=g) / 2, torch.randint(-2, 3, (size, dim), generator=g).float()


def magnitudes(g: Generator, n: int, size: int, dim: int) -> Case:
    """Powers of two from 2⁻⁵⁰ to 2⁵⁰ for all, and for each row from 2⁻¹² to 2²⁰ more."""
    rows, codes = at_bisectors(g, *normal(g, n, size, dim), "euclidean")
    shared = 2.0 ** (100 * torch.rand(1, generator=g) - 50)
    own = torch.where(torch.rand(n, 1, generator=g) < 0.5, 2.0 ** (32 * torch.rand(n, 1, generator=g) - 12), 1.0)
    return rows * shared * own, codes * shared


def extreme(g: Generator, n: int, size: int, dim: int) -> Case:
    """Entries whose squares under- or overflow float32, subnormal ones among them."""
    rows, codes = at_bisectors(g, *normal(g, n, size, dim), "euclidean")
    exponent = 60 + 40 * float(torch.rand(1, generator=g))
    if torch.rand(1, generator=g) < 0.5:
        exponent = -62 - 83 * float(torch.rand(1, generator=g))
    return rows * 2.0**exponent, codes * 2.0**exponent


def near_ties(of: Kind, metric: str = "euclidean") -> Kind:
    """The same, its rows moved to where two codes are equally near, and off again by a little."""

    def kind(g: Generator, n: int, size: int, dim: int) -> Case:
        return at_bisectors(g, *of(g, n, size, dim), metric)

    return kind


# The metric, and how often the kind is drawn
KINDS: dict[str, tuple[Kind, str, int]] = {
    "normal": (normal, "euclidean", 3),
    "trained": (trained, "euclidean", 3),
    "near ties": (near_ties(normal), "euclidean", 6),
    "near ties, trained": (near_ties(trained), "euclidean", 3),
    "near ties, offset": (near_ties(offset), "euclidean", 2),
    "near ties, tiny codes": (near_ties(tiny_codes), "euclidean", 2),
    "near ties, two clusters": (near_ties(two_clusters), "euclidean", 2),
    "near ties, heavy-tailed": (near_ties(heavy_tailed), "euclidean", 2),
    "near ties, bfloat16 rows": (bfloat16_rows, "euclidean", 2),
    "offset 1000 ± 0.01": (offset, "euclidean", 1),
    "tiny codes": (tiny_codes, "euclidean", 1),
    "outlier code": (outlier_code, "euclidean", 1),
    "far in turn": (far_in_turn, "euclidean", 1),
    "one ulp": (one_ulp, "euclidean", 1),
    "almost equal": (almost_equal, "euclidean", 1),
    "duplicated": (duplicated, "euclidean", 1),
    "two clusters": (two_clusters, "euclidean", 1),
    "rows are codes": (rows_are_codes, "euclidean", 1),
    "heavy-tailed": (heavy_tailed, "euclidean", 1),
    "lattice": (lattice, "euclidean", 1),
    "magnitudes": (magnitudes, "euclidean", 1),
    "extreme": (extreme, "euclidean", 1),
    "normal, cosine": (normal, "cosine", 1),
    "near ties, cosine": (near_ties(normal, "cosine"), "cosine", 2),
    "normal, dot": (normal, "dot", 1),
    "near ties, dot": (near_ties(normal, "dot"), "dot", 2),
    "heavy-tailed, dot": (heavy_tailed, "dot", 1),
    "duplicated, dot": (duplicated, "dot", 1),
}


def drawn(name: str, rows: int, size: int, dim: int, seed: int = 0) -> tuple[Tensor, Tensor, str]:
    """Rows, codebook and metric of one of these."""
    kind, metric, _ = KINDS[name]
    return *kind(Generator().manual_seed(seed), rows, size, dim), metric
