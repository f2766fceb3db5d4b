"""The yardstick of every search test: float64 distances by differences, and which wrong answers count as wrong."""

from collections.abc import Callable

import torch
from torch import Tensor

UNIT = 2.0**-24


def distances64(x: Tensor, codebook: Tensor, metric: str) -> Tensor:
    """x [N, D], codebook [K, D] → [N, K] float64, smaller is nearer."""
    x, codebook = x.double(), codebook.double()
    if metric == "euclidean":
        return torch.cdist(x, codebook, compute_mode="donot_use_mm_for_euclid_dist").square()
    if metric == "cosine":
        codebook = torch.nn.functional.normalize(codebook, dim=-1)
    return -(x @ codebook.T)


def real_mismatches(x: Tensor, codebook: Tensor, indices: Tensor, metric: str = "euclidean") -> int:
    """Rows whose code is farther than the nearest one by more than float32's own rounding of the two distances.

    Σ(x - c)² in float32 is off by at most (D + 2)·2⁻²⁴ of its value, an inner product by D·2⁻²⁴ of ‖x‖·‖c‖."""
    assert indices.min() >= 0
    assert indices.max() < len(codebook)
    distance = distances64(x, codebook, metric)
    best = distance.amin(1)
    chosen = distance.gather(1, indices[:, None])[:, 0]
    dim = x.shape[1]
    if metric == "euclidean":
        rounding = (dim + 2) * UNIT * (chosen + best)
    else:
        largest = 1.0 if metric == "cosine" else codebook.double().norm(dim=1).amax()
        rounding = 2 * (dim + 4) * UNIT * x.double().norm(dim=1) * largest
    return int((chosen - best > rounding).sum())


def hard_product(kind: str, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """x [N, D] and c [K, D] drawn from N(0, 1) as factors of sums that round badly; any other kind as they are."""
    if kind == "aligned":
        c = x[:1] * (1 + 1e-3 * c)
    elif kind == "one sign":
        x, c = x.abs() + 1, c.abs() + 1
    elif kind == "cancelling":
        x[:, ::2] = x[:, 1::2] = x[:, ::2].abs() + 100
        c[:, 1::2] = -c[:, ::2]
    return x, c


def _normal(n: int, k: int, d: int) -> tuple[Tensor, Tensor]:
    return torch.randn(n, d), torch.randn(k, d)


def _offset(n: int, k: int, d: int) -> tuple[Tensor, Tensor]:
    return 1000 + 0.01 * torch.randn(n, d), 1000 + 0.01 * torch.randn(k, d)


def _tiny(n: int, k: int, d: int) -> tuple[Tensor, Tensor]:
    return torch.randn(n, d), (2 * torch.rand(k, d) - 1) / k


def _duplicated(n: int, k: int, d: int) -> tuple[Tensor, Tensor]:
    return torch.randn(n, d), torch.randn(-(-k // 3), d).repeat(3, 1)[:k]


def _midway(n: int, k: int, d: int) -> tuple[Tensor, Tensor]:
    codebook = torch.randint(-8, 9, (k, d)).float()  # on a grid, so that halves are exact
    first, second = torch.randint(k, (2, n))
    return (codebook[first] + codebook[second]) / 2, codebook


def _outlier_row(n: int, k: int, d: int) -> tuple[Tensor, Tensor]:
    x, codebook = _normal(n, k, d)
    x[n // 2] = 1e6
    return x, codebook


def _outlier_code(n: int, k: int, d: int) -> tuple[Tensor, Tensor]:
    x, codebook = _normal(n, k, d)
    codebook[k // 2] = 1e6
    return x, codebook


def _identical(n: int, k: int, d: int) -> tuple[Tensor, Tensor]:
    return torch.randn(n, d), torch.ones(k, d)


# What each set is there for: plain; bound that only a shift saves; scores that the expanded form rounds away; ties;
# exact ties between far codes; one row or code whose size must not spoil the bound of the others; nothing certified.
DATA: dict[str, Callable[[int, int, int], tuple[Tensor, Tensor]]] = {
    "normal": _normal,
    "offset_1000": _offset,
    "tiny_codes": _tiny,
    "duplicated": _duplicated,
    "midway": _midway,
    "outlier_row": _outlier_row,
    "outlier_code": _outlier_code,
    "identical_codes": _identical,
}
