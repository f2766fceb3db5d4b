"""How generated samples compare with real ones, in a feature space: Fréchet distance, precision, recall, MMD.

All take features `[N, F]`, such as `Classifier.features` gives; their values depend on that space and on the number of
samples, so only numbers from the same classifier and equally large sets may be compared.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .image_checks import check_features

_PAIRS = 1 << 21  # pairs of samples held at a time: 16 MiB of float64


class PrecisionRecall(NamedTuple):
    """Share of the samples that look real, and share of the real ones that the samples cover; both in [0, 1]."""

    precision: float
    recall: float


@dataclass(frozen=True)
class SampleQuality:
    """Generated samples against real ones.

    Attributes:
        frechet_distance: `frechet_distance`, squared feature units; 0 is best.
        precision: `precision_recall`, in [0, 1]; 1 is best.
        recall: `precision_recall`, in [0, 1]; 1 is best.
        mmd: `mmd`, in units of its kernel; 0 is best, negative where the two sets are closer than chance has them.
        real: number of real samples.
        fake: number of generated samples.
    """

    frechet_distance: float
    precision: float
    recall: float
    mmd: float
    real: int
    fake: int


def sample_quality(real: Tensor, fake: Tensor, *, k: int = 5) -> SampleQuality:
    """All measures of this file; real `[N, F]`, fake `[M, F]`, each of more than k samples and at least 2.

    Raises:
        TypeError, ValueError: too few samples, unequal F, or features that are not finite floating point.
    """
    precision, recall = precision_recall(real, fake, k)
    return SampleQuality(
        frechet_distance(real, fake), precision, recall, mmd(real, fake), real=len(real), fake=len(fake)
    )


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """Squared Fréchet distance of the Gaussians that fit the two sets; Dowson & Landau 1982, as in the FID of Heusel et
    al. 2017 (arXiv:1706.08500).

        ‖m - m'‖² + tr C + tr C' - 2 tr (C C')^½,   tr (C C')^½ = the sum of the singular values of C^½ C'^½

    with means m, covariances C (divided by N - 1) and C^½ from the eigendecomposition of the symmetric C, in float64;
    covariances without full rank, as of fewer samples than features, are no exception. Biased: the expected value
    for two sets of one distribution is above 0 and falls with N, so compare equal N only.

    Args:
        real: `[N, F]`, N at least 2.
        fake: `[M, F]`, M at least 2.

    Returns:
        Squared feature units, at least 0.

    Raises:
        TypeError, ValueError: too few samples, unequal F, or features that are not finite floating point.
    """
    real, fake = check_features(real, fake, at_least=2)
    apart = (real.mean(0) - fake.mean(0)).square().sum()
    (root, trace), (other, other_trace) = _root_of_covariance(real), _root_of_covariance(fake)
    overlap = torch.linalg.svdvals(root @ other).sum()
    return max(float(apart + trace + other_trace - 2 * overlap), 0.0)


def _root_of_covariance(features: Tensor) -> tuple[Tensor, Tensor]:
    """C^½ `[F, F]` and tr C. Eigenvalues within rounding of 0 are 0: their roots would be 1e-8 of the largest one's."""
    centered = features - features.mean(0)
    covariance = centered.T @ centered / (len(features) - 1)
    values, vectors = torch.linalg.eigh(covariance)
    rounding = len(values) * torch.finfo(values.dtype).eps * values[-1].clamp(min=0)
    roots = torch.where(values > rounding, values, 0).sqrt()
    return (vectors * roots) @ vectors.T, covariance.trace()


def precision_recall(real: Tensor, fake: Tensor, k: int = 5) -> PrecisionRecall:
    """Improved precision and recall; Kynkäänniemi et al. 2019 (arXiv:1904.06991), equations 1 and 2.

    The manifold of a set is the union of the balls around its samples that reach to their k-th nearest neighbour in the
    set. Precision is the share of fake that lies in the manifold of real; recall that of real in the manifold of fake.
    Distances are Euclidean and exact in float64, in blocks of bounded memory; time grows with (N + M)²·F. A ball
    contains its border, and an outlier spans a large one: neither measure sees how dense the samples lie.

    Args:
        real: `[N, F]`, N more than k.
        fake: `[M, F]`, M more than k; best as many as real.
        k: which neighbour; the paper takes 3. A larger k makes larger balls, and both numbers rise.

    Raises:
        TypeError, ValueError: k below 1, too few samples, unequal F, or features that are not finite floating point.
    """
    if k < 1:
        raise ValueError(f"k: expected at least 1 neighbour, got {k}")
    real, fake = check_features(real, fake, at_least=k + 1)
    return PrecisionRecall(precision=_share_within(fake, real, k), recall=_share_within(real, fake, k))


def _share_within(samples: Tensor, manifold: Tensor, k: int) -> float:
    # The smallest distance is that of a sample to itself; k + 1 of them reach the k-th neighbour.
    radii = torch.cat([d.topk(k + 1, largest=False).values[:, -1] for d in _distances(manifold, manifold)])
    within = torch.cat([(d <= radii).any(1) for d in _distances(samples, manifold)])
    return float(within.double().mean())


def _distances(a: Tensor, b: Tensor) -> Iterator[Tensor]:
    """Rows of the distances [N, M], some at a time. Not by the product of a and b: copies must be exactly 0 apart."""
    for part in a.split(max(1, _PAIRS // len(b))):
        yield torch.cdist(part, b, compute_mode="donot_use_mm_for_euclid_dist")


def mmd(real: Tensor, fake: Tensor) -> float:
    """Squared maximum mean discrepancy with the kernel (x·y / F + 1)³, unbiased: the kernel inception distance of
    Bińkowski et al. 2018 (arXiv:1801.01401), equation 4, here over all samples at once instead of a mean over subsets.

        1/(N(N-1)) Σ_{i≠j} k(x_i, x_j) + 1/(M(M-1)) Σ_{i≠j} k(y_i, y_j) - 2/(NM) Σ_{ij} k(x_i, y_j)

    Args:
        real: `[N, F]`, N at least 2.
        fake: `[M, F]`, M at least 2.

    Returns:
        In units of the kernel, which for features of unit variance has none (papers print it times 1000). Its
        expectation is 0 where the distributions agree, so that it may be negative.

    Raises:
        TypeError, ValueError: too few samples, unequal F, or features that are not finite floating point.
    """
    real, fake = check_features(real, fake, at_least=2)
    n, m = len(real), len(fake)
    within = _kernel_sum(real, real, skip_self=True) / (n * (n - 1))
    within = within + _kernel_sum(fake, fake, skip_self=True) / (m * (m - 1))
    return float(within - 2 * _kernel_sum(real, fake, skip_self=False) / (n * m))


def _kernel_sum(a: Tensor, b: Tensor, skip_self: bool) -> Tensor:
    total = a.new_zeros(())
    for part in a.split(max(1, _PAIRS // len(b))):
        total = total + (part @ b.T / a.shape[1] + 1).pow(3).sum()
    return total - (a.square().sum(1) / a.shape[1] + 1).pow(3).sum() if skip_self else total
