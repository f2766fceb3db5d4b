"""The measures that learn or vote: what must hold, and arithmetic by hand."""

import math
from functools import cache

import numpy as np
import pytest

from aevae_fast.metrics.disentanglement import beta_vae_score, dci, factor_vae_score, modularity_explicitness, sap
from aevae_fast.metrics.disentanglement.arrays import SharedFactor
from aevae_fast.metrics.disentanglement.beta_vae import _points
from aevae_fast.metrics.disentanglement.dci import _concentration
from aevae_fast.metrics.disentanglement.factor_vae import _votes
from aevae_fast.metrics.disentanglement.modularity import _modularities

from .cases import duplicated, factors, grid, identity, permuted, rotated, zeros

V = factors(900)
FEW = factors(600, (3, 3, 3, 3, 3))  # few values keep the boosters fast
BOOSTERS = ["gradient_boosting", "random_forest"]


@cache
def of(codes, booster):
    return dci(codes(FEW), FEW, booster=booster, train_samples=200, test_samples=300)


@pytest.mark.parametrize("booster", BOOSTERS)
def test_dci_where_the_answer_is_known(booster):
    """A duplicate takes half of a code's importance: H_C = ln 2 to base 10, so C = 1 - ln 2 / ln 10, while D stays. The
    halves are by chance: 0.4 and 0.6 of it give 0.708."""
    one = of(identity, booster)
    assert min(one.disentanglement, one.completeness, one.informativeness) >= 0.9
    two = of(duplicated, booster)
    assert two.disentanglement >= 0.9
    assert two.completeness == pytest.approx(1 - math.log(2) / math.log(10), abs=0.02)
    none = of(permuted, booster)
    assert max(none.disentanglement, none.completeness) <= 0.2
    assert none.informativeness < 0.7
    assert one.booster == two.booster == booster


@pytest.mark.parametrize("booster", BOOSTERS)
def test_dci_of_codes_that_tell_nothing(booster):
    nothing = of(zeros, booster)
    assert (nothing.disentanglement, nothing.completeness) == pytest.approx((0, 0), abs=1e-9)
    assert nothing.informativeness == pytest.approx(1 / 3, abs=0.08)  # three values by chance


def test_any_classifier_with_importances_will_do():
    from sklearn.tree import DecisionTreeClassifier

    result = dci(identity(V), V, booster=lambda: DecisionTreeClassifier(random_state=0))
    assert result.booster == "DecisionTreeClassifier"
    assert result.disentanglement >= 0.9


def test_concentration_by_hand():
    """R = [[3, 1], [0, 4]]. By rows: H(3/4, 1/4) = 3/4 log2(4/3) + 1/4 · 2 = 0.811278, H(0, 1) = 0, half of all
    importance in each: D = ½(1 - 0.811278) + ½ = 0.594361. By columns: (3, 0) with 3/8 of it: H = 0; (1, 4) with 5/8:
    H(1/5, 4/5) = 1/5 log2 5 + 4/5 log2(5/4) = 0.721928: C = 3/8 + 5/8 · 0.278072 = 0.548795.
    """
    importance = np.array([[3.0, 1.0], [0.0, 4.0]])
    assert _concentration(importance) == pytest.approx(0.594361, abs=1e-6)
    assert _concentration(importance.T) == pytest.approx(0.548795, abs=1e-6)


@pytest.mark.parametrize(
    ("codes", "low", "high"),
    [
        pytest.param(identity, 0.99, 1, id="identity"),
        pytest.param(duplicated, 0.99, 1, id="duplicated"),
        pytest.param(zeros, 0.15, 0.25, id="zeros"),  # one of five by chance
        pytest.param(permuted, 0.15, 0.3, id="permuted"),
    ],
)
def test_beta_vae_score(codes, low, high):
    result = beta_vae_score(codes(V), V, train_points=1500, eval_points=1500)
    assert low <= result.score <= high


def test_points_of_the_beta_vae_metric():
    """Pairs share their factor's value and, of codes that are the factors, nothing else: |z¹ - z²| of two even draws
    from 0..3 is 1.25 on average: (6·1 + 4·2 + 2·3)/16; its variance is 2.5 - 1.25² = 15/16."""
    v = grid(4, 4)
    points, labels = _points(identity(v), SharedFactor(v, np.random.default_rng(0)), 2000, 64)
    assert set(labels) == {0, 1}
    rows = np.arange(2000)
    assert not points[rows, labels].any()
    other = points[rows, 1 - labels]
    assert other.mean() == pytest.approx(1.25, abs=5 * math.sqrt(15 / 16 / 64 / 2000))
    assert other.std() == pytest.approx(math.sqrt(15 / 16 / 64), rel=0.1)


def test_one_factor_alone_is_always_right():
    assert beta_vae_score(identity(V), V[:, :1], train_points=10, eval_points=10).score == 1


@pytest.mark.parametrize(
    ("codes", "low", "high", "active"),
    [
        pytest.param(identity, 0.99, 1, 5, id="identity"),
        pytest.param(duplicated, 0.99, 1, 10, id="duplicated"),
        pytest.param(zeros, 0, 0, 0, id="zeros"),
        pytest.param(permuted, 0.15, 0.3, 5, id="permuted"),
    ],
)
def test_factor_vae_score(codes, low, high, active):
    result = factor_vae_score(codes(V), V, train_votes=1500, eval_votes=1500)
    assert low <= result.score <= high
    assert result.active == active


def test_votes_by_hand():
    """Code 1 is factor 0, code 0 is factor 1 a thousand times as wide: held, each has no variance, whatever its unit. A
    constant code takes no part; a majority of 2 to 1 is right in 2 of 3 votes."""
    v = grid(3, 3)
    z = np.stack([1000.0 * v[:, 1], 1.0 * v[:, 0], np.full(9, 7.0)], 1)
    result = factor_vae_score(z, v, train_votes=200, eval_votes=200)
    assert (result.score, result.active) == (1, 2)
    votes = _votes(z[:, :2] / z[:, :2].std(0), SharedFactor(v, np.random.default_rng(0)), 300, 64)
    assert votes[0, 0] == votes[1, 1] == 0
    assert votes.sum() == 300
    assert factor_vae_score(z, v, min_deviation=10.0).active == 1  # of code 1 the deviation is √(2/3)
    alone = factor_vae_score(z[:, :1], v)  # always the same vote: the more frequent factor is right
    assert alone.score == pytest.approx(0.5, abs=0.03)


def test_sap_by_hand():
    """Two factors of two values. Code 0 is factor 0: accuracy 1; code 1 is factor 0 too but for a fifth of the rows:
    0.8. Of factor 1 both tell nothing. So the gaps are 0.2 and about 0."""
    v = np.concatenate([grid(2, 2)] * 250)
    flip = np.arange(1000) // 4 % 5 == 0
    z = np.stack([v[:, 0], np.where(flip, 1 - v[:, 0], v[:, 0])], 1).astype(float)
    result = sap(z, v)
    assert result.accuracies[0][0] == 1
    assert result.accuracies[1][0] == pytest.approx(0.8, abs=0.08)
    assert result.gaps[0] == pytest.approx(0.2, abs=0.08)
    assert result.gaps[1] < 0.1
    assert result.score == pytest.approx(sum(result.gaps) / 2)


def test_sap_of_codes_that_are_alike_or_nothing():
    v = factors(900, (2, 2, 2))
    assert sap(identity(v), v).score > 0.4  # 1 less a guess
    assert sap(duplicated(v), v).score == pytest.approx(0, abs=1e-9)
    assert sap(zeros(v), v).score == pytest.approx(0, abs=1e-9)


def test_modularity_by_hand():
    """I = [[2, 1, 0], [0, 0, 3], [0, 0, 0]]: code 0: 1 - (1² + 0²)/(2²·2) = 7/8; code 1: 1; code 2 tells nothing: 0."""
    assert _modularities(np.array([[2.0, 1, 0], [0, 0, 3], [0, 0, 0]])).tolist() == [7 / 8, 1, 0]


def test_modularity_and_explicitness():
    one, two, none, mixed = (modularity_explicitness(codes(V), V) for codes in (identity, duplicated, zeros, rotated))
    assert min(one.modularity, two.modularity) > 0.99
    assert (none.modularity, none.explicitness) == (0, 0.5)
    assert mixed.modularity < 0.9 < one.modularity
    # A linear map loses nothing to a linear classifier with little penalty.
    assert mixed.explicitness == pytest.approx(one.explicitness, abs=0.01)
    assert one.explicitness > 0.99
    wide = modularity_explicitness(1e-3 * identity(V) + 5, V)  # the codes' units do not matter
    assert wide.explicitnesses == pytest.approx(one.explicitnesses, abs=1e-6)
    assert len(two.modularities) == 10
    assert len(two.explicitnesses) == 5
