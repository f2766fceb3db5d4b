"""The mutual information gap against arithmetic by hand, scikit-learn, and closed forms."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import mutual_info_score

from aevae_fast.metrics.disentanglement import mutual_information_gap, mutual_information_gap_posterior

from .cases import duplicated, factors, grid, identity, permuted, rotated, zeros

LN2 = math.log(2)


def test_two_codes_and_two_factors_by_hand():
    """Eight rows, factors v1 = 0 0 0 0 1 1 1 1 and v2 = 0 0 1 1 0 0 1 1, H = ln 2 each.

    Code 1 is v1 but for one row: v1 = 1 on four rows, code 1 = 1 on five. Joint counts (code, v1): 3 of (0, 0), 1 of
    (1, 0), 4 of (1, 1).
        I(1; v1) = 3/8 ln(3/8 / (3/8 · 1/2)) + 1/8 ln(1/8 / (5/8 · 1/2)) + 4/8 ln(4/8 / (5/8 · 1/2))
                 = 3/8 ln 2 + 1/8 ln(2/5) + 4/8 ln(8/5)
    The row is the fourth, v2 = 1: joint counts (code, v2): 2 of (0, 0), 1 of (0, 1), 2 of (1, 0), 3 of (1, 1).
        I(1; v2) = 2/8 ln(4/3) + 1/8 ln(2/3) + 2/8 ln(4/5) + 3/8 ln(6/5)
    Code 2 is v2: I(2; v2) = ln 2, I(2; v1) = 0, since v1 and v2 are independent.
    """
    v = np.array([[0, 0], [0, 0], [0, 1], [0, 1], [1, 0], [1, 0], [1, 1], [1, 1]])
    z = v.astype(float)
    z[3, 0] = 1.0
    one = 3 / 8 * math.log(2) + 1 / 8 * math.log(2 / 5) + 4 / 8 * math.log(8 / 5)
    cross = 2 / 8 * math.log(4 / 3) + 1 / 8 * math.log(2 / 3) + 2 / 8 * math.log(4 / 5) + 3 / 8 * math.log(6 / 5)
    result = mutual_information_gap(z, v)
    assert np.allclose(result.information, [[one, cross], [0, LN2]], atol=1e-12)
    assert result.entropies == pytest.approx((LN2, LN2))
    assert result.gaps == pytest.approx((one / LN2, 1 - cross / LN2))
    assert result.score == pytest.approx((one + LN2 - cross) / (2 * LN2))
    assert result.estimator == "histogram"


def test_a_transpose_is_no_view():
    """One of two factors is known: MIG is 0.5 but for chance. Codes read as if rows were codes tell nothing."""
    v = factors(6000, (5, 5), seed=2)
    z = np.stack([v[:, 0].astype(float), np.random.default_rng(3).normal(size=6000)], 1)
    right = mutual_information_gap(z, v).score
    assert right == pytest.approx(0.5, abs=0.01)
    viewed = z.T.reshape(z.shape)  # what a view in the place of a transpose makes of it
    assert mutual_information_gap(viewed, v).score < 0.02
    assert mutual_information_gap(torch.from_numpy(z.T.copy()).T, v).score == right  # strides do not matter


def test_information_is_scikit_learns():
    """The library bins with numpy's histogram and digitize and counts with `mutual_info_score`."""
    v = factors(3000, (3, 6, 7))
    z = np.random.default_rng(0).normal(size=(3000, 4)) + rotated(np.pad(v, ((0, 0), (0, 1))))
    result = mutual_information_gap(z, v)
    bins = [np.digitize(code, np.histogram(code, 20)[1][:-1]) for code in z.T]
    expected = np.array([[mutual_info_score(v[:, k], code) for k in range(3)] for code in bins])
    assert np.allclose(result.information, expected, atol=1e-12)
    ordered = np.sort(expected, 0)[::-1]
    entropies = [mutual_info_score(column, column) for column in v.T]
    assert result.score == pytest.approx(np.mean((ordered[0] - ordered[1]) / entropies))


def test_what_must_hold():
    v = factors(2000, (4, 5, 10, 3, 20))
    assert mutual_information_gap(identity(v), v).score >= 0.9
    assert mutual_information_gap(zeros(v), v).score <= 0.2
    assert mutual_information_gap(duplicated(v), v).score <= 0.1
    assert mutual_information_gap(permuted(v), v).score <= 0.2
    single = mutual_information_gap(identity(v)[:, :1], v)
    assert single.gaps[0] == pytest.approx(1)  # nothing comes second


def test_a_code_that_is_constant_up_to_rounding_tells_nothing():
    """Between its smallest and largest are fewer numbers than bins; numpy's histogram refuses that."""
    v = factors(400, (4, 5))
    z = np.stack([1.0 + v[:, 0] * np.spacing(1.0), v[:, 1].astype(float), np.full(400, -7.0)], 1)
    information = np.array(mutual_information_gap(z, v).information)
    assert (information[[0, 2]] == 0).all()
    assert np.array_equal(information[1], mutual_information_gap(z[:, 1:2], v).information[0])


def test_scale_does_not_matter():
    v = factors(400, (4, 5))
    z = rotated(v)
    whole = mutual_information_gap(z, v)
    for scale in (2.0**-600, 2.0**600, 2.0**1021):
        assert mutual_information_gap(z * scale, v) == whole


def test_samples_are_drawn_where_there_are_more():
    v = factors(4000)
    z = rotated(v)
    few, again, other = (mutual_information_gap(z, v, samples=500, seed=seed) for seed in (0, 0, 1))
    assert few == again != other
    assert few.score == pytest.approx(mutual_information_gap(z, v).score, abs=0.1)


def test_far_posteriors_tell_all_of_their_factor():
    """z_j = v_j ± 0.01: H(z_j) - H(z_j | v_j) = ln L; the other factor shares out every value, so nothing of it."""
    v = grid(4, 5, 6)
    logvar = np.full(v.shape, 2 * math.log(0.01))
    result = mutual_information_gap(identity(v), v, estimator="posterior", logvar=logvar, samples=6000)
    expected = np.diag(np.log([4, 5, 6]))
    # -log of a Gaussian density has a deviation of √½ nats: √(1/6000) for the difference of two means of 6000.
    assert np.abs(np.array(result.information) - expected).max() < 5 * math.sqrt(1 / 6000)
    assert result.score == pytest.approx(1, abs=0.03)
    assert result.estimator == "posterior"


def test_overlapping_posteriors_by_integration():
    """z = v + ε with v even in {0, 1}, ε ~ N(0, 1): I(z; v) = H(z) - H(N(0, 1)), by the rectangle rule."""
    v = np.concatenate([grid(2, 2)] * 100)
    mean = np.stack([v[:, 0].astype(np.float32), np.zeros(400, np.float32)], 1)
    t = np.linspace(-12, 13, 50_001)
    density = (np.exp(-(t**2) / 2) + np.exp(-((t - 1) ** 2) / 2)) / (2 * math.sqrt(2 * math.pi))
    information = -(density * np.log(density)).sum() * (t[1] - t[0]) - 0.5 * math.log(2 * math.pi * math.e)
    result = mutual_information_gap_posterior(mean, np.zeros_like(mean), v, samples=20_000)
    assert result.information[0][0] == pytest.approx(information, abs=5 * math.sqrt(1 / 20_000))
    assert result.gaps[0] == pytest.approx(information / LN2, abs=0.06)
    assert result.gaps[1] < 0.06


def test_a_posterior_that_ignores_the_image_tells_nothing():
    v = factors(600)
    result = mutual_information_gap_posterior(zeros(v), zeros(v), v, samples=2000)
    assert np.max(result.information) < 5 * math.sqrt(1 / 2000)


def test_the_posterior_estimate_is_repeated_and_leaves_torchs_generator_alone():
    v = torch.from_numpy(factors(300, (3, 3)))
    mean = torch.from_numpy(rotated(v.numpy())).float()
    before = torch.get_rng_state()
    first, again, other = (
        mutual_information_gap_posterior(mean, mean * 0, v, samples=300, seed=seed) for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert first == again != other
