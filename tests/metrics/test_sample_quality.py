"""Sample quality against closed forms and brute force."""

import importlib
import math

import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aevae_fast.metrics import frechet_distance, mmd, precision_recall, sample_quality

CASES = given(st.integers(7, 30), st.integers(7, 30), st.integers(1, 12), st.integers(0, 2**31))


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def two_sets(n, m, width, seed):
    return normal(n, width, seed=seed), 0.7 * normal(m, width, seed=seed + 1) + 0.5


def with_moments(mean, root, count=40):
    """Samples whose mean and covariance (by N - 1) are exactly mean and root·rootᵀ."""
    raw = normal(count, len(mean))
    raw = raw - raw.mean(0)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(raw.T @ raw / (count - 1)), raw.T, upper=False)
    return mean + white.T @ root.T


def test_frechet_distance_of_gaussians_with_diagonal_covariance():
    mean, other, a, b = torch.tensor([[1, -2, 0.5], [0, 0, 3], [0.1, 2, 3], [4, 0.5, 3]], dtype=torch.float64)
    exact = (mean - other).square().sum() + (a - b).square().sum()  # (√λ - √λ')² for each axis
    found = frechet_distance(with_moments(mean, a.diag()), with_moments(other, b.diag()))
    assert found == pytest.approx(float(exact), rel=1e-12)


@settings(deadline=None, max_examples=30)
@CASES
def test_frechet_distance_against_the_root_of_the_product(n, m, width, seed):
    real, fake = two_sets(n, m, width, seed)
    c, d = torch.atleast_2d(real.T.cov()), torch.atleast_2d(fake.T.cov())
    values = torch.linalg.eigvals(c @ d).real.clamp(min=0)  # of C C': those of its root are their roots
    exact = (real.mean(0) - fake.mean(0)).square().sum() + c.trace() + d.trace() - 2 * values.sqrt().sum()
    # A zero eigenvalue of C C' is known to eps·‖C C'‖, so that its root is a 1.5e-8 of ‖C C'‖^½ off.
    assert frechet_distance(real, fake) == pytest.approx(
        float(exact), abs=1e-7 * width * float(c.norm() * d.norm()) ** 0.5
    )


def test_frechet_distance_of_sets_in_one_direction_each():
    """Rank 1 each: tr (C C')^½ is √λ√λ' |cos φ|."""
    line, angle = torch.linspace(-1, 1, 9).double()[:, None], 0.7
    real = line * torch.tensor([1.0, 0, 0]).double()
    fake = 3 * line * torch.tensor([math.cos(angle), math.sin(angle), 0], dtype=torch.float64)
    variance = float(line.var())
    exact = variance * (1 + 9 - 2 * 3 * math.cos(angle))
    assert frechet_distance(real, fake) == pytest.approx(exact, rel=1e-13)
    assert frechet_distance(real, real[:1].expand(4, 3)) == pytest.approx(1 + variance, rel=1e-13)


def test_frechet_distance_matches_scipys_matrix_root():
    real, fake = two_sets(200, 150, 20, 3)
    root = scipy.linalg.sqrtm((real.T.cov() @ fake.T.cov()).numpy())
    exact = (real.mean(0) - fake.mean(0)).square().sum() + real.T.cov().trace() + fake.T.cov().trace()
    assert frechet_distance(real, fake) == pytest.approx(float(exact) - 2 * root.trace().real, rel=1e-12)


def test_identical_and_shifted_sets():
    real = normal(50, 8)
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-12)
    assert frechet_distance(real, real.flip(0) + 2) == pytest.approx(8 * 4, rel=1e-12)
    assert precision_recall(real, real) == (1, 1)
    assert precision_recall(real, real + 1e3) == (0, 0)
    wide = normal(5, 300)  # fewer samples than features
    assert frechet_distance(wide, wide) == pytest.approx(0, abs=1e-9)


def test_a_collapsed_set_is_precise_and_covers_nothing():
    real = normal(200, 4)
    collapsed = real[:1] + 1e-6 * normal(200, 4, seed=1)
    assert precision_recall(real, collapsed) == (1, pytest.approx(1 / 200))
    copies = real[:1].expand(200, 4)
    assert precision_recall(real, copies) == (1, pytest.approx(1 / 200))
    assert precision_recall(copies, real) == (pytest.approx(1 / 200), 1)
    noise = 10 * normal(200, 4, seed=2)
    assert precision_recall(real, noise).precision < 0.2


def brute_force(real, fake, k):
    def share(samples, manifold):
        inside = 0
        for x in samples:
            for number, y in enumerate(manifold):
                others = sorted(float((y - z).norm()) for j, z in enumerate(manifold) if j != number)
                if float((x - y).norm()) <= others[k - 1]:
                    inside += 1
                    break
        return inside / len(samples)

    return share(fake, real), share(real, fake)


@settings(deadline=None, max_examples=8)
@given(st.integers(7, 14), st.integers(7, 14), st.integers(1, 5), st.integers(1, 6), st.integers(0, 2**31))
def test_precision_recall_against_brute_force(n, m, width, k, seed):
    real, fake = two_sets(n, m, width, seed)
    assert precision_recall(real, fake, k) == pytest.approx(brute_force(real, fake, k))


def test_k_neighbours_leave_out_the_sample_itself():
    """Balls of real: [-1, 1], [0, 2], [1, 5]; of fake: a quarter around each. Borders count."""
    real, fake = torch.tensor([[0.0], [1], [3]]), torch.tensor([[-1.0], [-1.25], [3.25], [3.5]])
    assert precision_recall(real, fake, k=1) == (3 / 4, pytest.approx(1 / 3))


@settings(deadline=None, max_examples=30)
@CASES
def test_mmd_against_its_sums(n, m, width, seed):
    real, fake = two_sets(n, m, width, seed)

    def mean_kernel(a, b, same):
        values = [
            float((x @ y / width + 1) ** 3) for i, x in enumerate(a) for j, y in enumerate(b) if i != j or not same
        ]
        return sum(values) / len(values)

    exact = mean_kernel(real, real, True) + mean_kernel(fake, fake, True) - 2 * mean_kernel(real, fake, False)
    assert mmd(real, fake) == pytest.approx(exact, rel=1e-10, abs=1e-10)


def test_mmd_is_unbiased():
    """Over many draws from one distribution the mean is 0 within its standard error: 4 of them, 1 alarm in 16,000."""
    draws = torch.tensor([mmd(normal(20, 3, seed=s), normal(31, 3, seed=s + 1000)) for s in range(400)])
    assert draws.min() < 0 < draws.max()
    assert abs(draws.mean()) < 4 * draws.std() / 20


@settings(deadline=None, max_examples=20)
@CASES
def test_invariances(n, m, width, seed):
    """Order never matters; a rotation leaves all alone; a shift all but the MMD, whose kernel has an origin."""
    real, fake = two_sets(n, m, width, seed)
    turn, _ = torch.linalg.qr(normal(width, width, seed=seed + 2))
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    whole = sample_quality(real, fake)
    turned, moved = sample_quality(real[order] @ turn, fake @ turn), sample_quality(real + 3, fake + 3)
    for name in ("frechet_distance", "mmd"):
        assert getattr(turned, name) == pytest.approx(getattr(whole, name), rel=1e-6, abs=1e-6)
    assert moved.frechet_distance == pytest.approx(whole.frechet_distance, rel=1e-6, abs=1e-6)
    assert (moved.precision, moved.recall) == (whole.precision, whole.recall)
    back = sample_quality(fake, real)
    assert (back.precision, back.recall) == (whole.recall, whole.precision)
    assert (back.real, back.fake) == (m, n)
    assert back.mmd == pytest.approx(whole.mmd, rel=1e-9, abs=1e-9)


def test_blocks_give_what_the_whole_gives(monkeypatch):
    real, fake = (part.float() for part in two_sets(60, 41, 6, 9))
    whole = sample_quality(real, fake)
    module = importlib.import_module("aevae_fast.metrics.sample_quality")  # the package's attribute is the function
    monkeypatch.setattr(module, "_PAIRS", 130)
    blocked = sample_quality(real, fake)
    assert blocked.mmd == pytest.approx(whole.mmd, rel=1e-12)
    assert (blocked.precision, blocked.recall) == (whole.precision, whole.recall)


def test_errors_name_what_came():
    good, bad = normal(8, 3), normal(8, 3)
    bad[2, 1] = torch.nan
    for measure in (frechet_distance, mmd, precision_recall, sample_quality):
        with pytest.raises(ValueError, match=r"fake: .*finite.*got 1 rows"):
            measure(good, bad)
        with pytest.raises(ValueError, match=r"fake: .*as many features as real, 3, got 4"):
            measure(good, normal(8, 4))
        with pytest.raises(ValueError, match=r"real: expected at least \d samples, got 1"):
            measure(good[:1], good)
        with pytest.raises(ValueError, match=r"real: .*\[N, F\].*got \[8, 3, 1\]"):
            measure(good[..., None], good)
        with pytest.raises(TypeError, match=r"real: .*floating point.*int64"):
            measure(good.long(), good)
        with pytest.raises(TypeError, match=r"fake: .*tensor.*list"):
            measure(good, [1.0])
    with pytest.raises(ValueError, match=r"fake: expected at least 6 samples, got 5"):
        precision_recall(good, good[:5], k=5)
    with pytest.raises(ValueError, match=r"k: .*got 0"):
        precision_recall(good, good, k=0)
