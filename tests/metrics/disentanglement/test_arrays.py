"""What the measures take, what they refuse, and how rows are drawn."""

import numpy as np
import pytest
import torch

from aevae_fast.metrics.disentanglement import (
    beta_vae_score,
    dci,
    factor_vae_score,
    modularity_explicitness,
    mutual_information_gap,
    mutual_information_gap_posterior,
    sap,
)
from aevae_fast.metrics.disentanglement.arrays import SharedFactor, check_arrays, some_rows, two_parts

from .cases import factors, grid, identity, rotated


def posterior(codes, factors):
    return mutual_information_gap_posterior(codes, codes, factors)


MEASURES = [
    mutual_information_gap, beta_vae_score, dci, factor_vae_score, sap, modularity_explicitness,
]  # fmt: skip
V = factors(40, (3, 2, 4))
Z = identity(V)
RARE = V * [1, 0, 1] + (np.arange(40) == 39)[:, None] * [0, 1, 0]  # column 1 is 1 in the last row alone


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(
    ("z", "v", "error", "message"),
    [
        pytest.param(Z[:-1], V, ValueError, r"factors: expected one row for each of the 39 codes, got 40", id="length"),
        pytest.param(Z, V * [1, 0, 1], ValueError, r"factors: .*column 1 is 0 throughout", id="one-value"),
        pytest.param(np.where(Z > 2, np.nan, Z), V, ValueError, r"codes: expected finite.*rows with NaN", id="nan"),
        pytest.param(np.where(Z > 2, np.inf, Z), V, ValueError, r"codes: expected finite", id="infinite"),
        pytest.param(Z[:0], V[:0], ValueError, r"codes: .*none of them empty, got \[0, 3\]", id="no-rows"),
        pytest.param(Z[:, :0], V, ValueError, r"codes: .*none of them empty, got \[40, 0\]", id="no-codes"),
        pytest.param(Z, V[:, :0], ValueError, r"factors: .*none of them empty, got \[40, 0\]", id="no-factors"),
        pytest.param(Z, V + 0.5, TypeError, r"factors: expected integers, got float64", id="real-factors"),
        pytest.param(Z, V > 1, TypeError, r"factors: expected integers, got bool", id="boolean-factors"),
        pytest.param(Z, V[:, 0], ValueError, r"factors: expected two dimensions.*got \[40\]", id="flat-factors"),
        pytest.param(Z.tolist(), V, TypeError, r"codes: expected an array or tensor, got list", id="list"),
        pytest.param(Z * 1j, V, TypeError, r"codes: expected real numbers, got complex128", id="complex"),
    ],
)
def test_bad_input_is_named(measure, z, v, error, message):
    with pytest.raises(error, match=message):
        measure(z, v)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mutual_information_gap(Z, V, bins=1), r"bins: .*got 1"),
        (lambda: mutual_information_gap(Z, V, samples=0), r"samples: .*got 0"),
        (lambda: mutual_information_gap(Z, V, estimator="exact"), r"estimator: .*got 'exact'"),
        (lambda: mutual_information_gap(Z, V, estimator="posterior"), r"logvar: .*got None"),
        (lambda: mutual_information_gap(Z, V, logvar=Z), r"logvar: expected None"),
        (lambda: mutual_information_gap_posterior(Z, Z[:, :2], V), r"logvar: .*\[40, 3\], got \[40, 2\]"),
        (lambda: mutual_information_gap_posterior(Z, Z * np.nan, V), r"logvar: expected finite"),
        (lambda: mutual_information_gap_posterior(Z, Z, V[:-1]), r"factors: .*40 codes, got 39"),
        (lambda: beta_vae_score(Z, V, pairs=0), r"pairs: .*got 0"),
        (lambda: beta_vae_score(Z, V, train_points=0), r"train_points: .*got 0"),
        (lambda: factor_vae_score(Z, V, eval_votes=0), r"eval_votes: .*got 0"),
        (lambda: factor_vae_score(Z, V, batch_size=1), r"batch_size: .*got 1"),
        (lambda: factor_vae_score(Z, V, min_deviation=-1), r"min_deviation: .*got -1"),
        (lambda: dci(Z, V, train_samples=0), r"train_samples: .*got 0"),
        (lambda: dci(Z, V, booster="lightning"), r"booster: .*gradient_boosting, random_forest.*got 'lightning'"),
        (lambda: dci(Z[:, :1], V), r"codes: expected at least 2 columns"),
        (lambda: dci(Z, V[:, :1]), r"factors: expected at least 2 columns"),
        (
            lambda: sap(Z[[0, -1]], 1 - np.eye(2, dtype=int)),
            r"column 0 of factors .* 1 rows drawn; raise `train_samples`",
        ),
        (
            lambda: mutual_information_gap(Z, RARE, samples=5),
            r"^samples: .*column 1 .*the 5 rows drawn; raise `samples`",
        ),
        (lambda: dci(Z, RARE, train_samples=5, test_samples=5), r"^train_samples: .*column 1 .*the 5 rows drawn"),
        (lambda: modularity_explicitness(Z, V[:, :1]), r"factors: expected at least 2 columns"),
    ],
)
def test_options_out_of_range_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
    with pytest.raises(TypeError, match=r"booster: .*int"):
        dci(Z, V, booster=3)


@pytest.mark.parametrize("size", [2.5, 40.0, True, None, "9"])
@pytest.mark.parametrize(
    ("measure", "name"),
    [
        (mutual_information_gap, "bins"),
        (mutual_information_gap, "samples"),
        (modularity_explicitness, "bins"),
        (beta_vae_score, "pairs"),
        (factor_vae_score, "batch_size"),
        (factor_vae_score, "train_votes"),
        (dci, "train_samples"),
        (sap, "test_samples"),
    ],
)
def test_sizes_are_integers(measure, name, size):
    with pytest.raises(TypeError, match=f"^{name}: expected an integer, got {size!r}"):
        measure(Z, V, **{name: size})


def test_sizes_may_be_numpys():
    assert mutual_information_gap(Z, V, bins=np.int64(5)) == mutual_information_gap(Z, V, bins=5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64])
def test_tensors_and_arrays_are_alike(dtype):
    """Small integers are exact in every dtype; a tensor may carry a gradient."""
    codes = torch.from_numpy(Z).to(dtype)
    codes = codes.requires_grad_() if dtype.is_floating_point else codes
    assert mutual_information_gap(codes, torch.from_numpy(V)) == mutual_information_gap(Z, V)


@pytest.mark.parametrize("measure", MEASURES)
def test_names_of_values_do_not_matter(measure):
    """Values may be any integers: they are classes."""
    renamed = np.array([7, -2, 100, 31])[V]
    options = {"booster": "random_forest"} if measure is dci else {}
    if measure is dci:  # classes keep their order there, on which ties between splits depend
        renamed = np.array([-7, 2, 31, 100])[V]
    first, again, other = (measure(Z, v, **options) for v in (V, V, renamed))
    assert first == again
    assert other == (first if measure is dci else measure(Z, np.array([2, 0, 3, 1])[V], **options))


@pytest.mark.parametrize("measure", [factor_vae_score, modularity_explicitness])
@pytest.mark.parametrize("scale", [2.0**-700, 2.0**700])
def test_scale_does_not_matter(measure, scale):
    """By powers of two, which round nothing; squares of such codes are 0 or infinite."""
    options = {"train_votes": 200, "eval_votes": 200} if measure is factor_vae_score else {}
    z = rotated(V)
    assert measure(z * [scale, 1, 1 / scale], V, **options) == measure(z, V, **options)


def test_rows_drawn_share_the_value_and_are_even():
    v = np.concatenate([grid(3, 4), grid(3, 4)[:5]])
    shared = SharedFactor(v, np.random.default_rng(0))
    wanted = np.repeat(np.arange(3), 4000).reshape(3, 4000)
    rows = shared.draw(0, wanted)
    assert np.array_equal(v[rows, 0], wanted)
    for value in range(3):
        members = np.flatnonzero(v[:, 0] == value)
        counts = np.bincount(rows[value], minlength=len(v))[members]
        expected = 4000 / len(members)
        assert np.abs(counts - expected).max() < 4.5 * np.sqrt(expected)  # of 17 binomial counts


def test_batches_cover_every_point_once(monkeypatch):
    monkeypatch.setattr("aevae_fast.metrics.disentanglement.arrays._NUMBERS", 64 * 3 * 7)
    shared = SharedFactor(V, np.random.default_rng(0))
    parts = list(shared.batches(500, 64, 3))
    points = np.concatenate([np.arange(500)[part] for _, part in parts])
    assert np.array_equal(np.sort(points), np.arange(500))
    assert {factor for factor, _ in parts} == {0, 1, 2}
    assert max(part.stop - part.start for _, part in parts) <= 7


def test_parts_never_overlap_and_keep_their_ratio():
    z = np.arange(120.0).reshape(60, 2)
    v = factors(60, (2, 3))
    for train, test, sizes in ((10_000, 5_000, (40, 20)), (30, 10, (30, 10)), (10_000, 1, (59, 1))):
        (x, y), (unseen, labels) = two_parts(z, v, train, test, seed=3)
        assert (len(x), len(unseen)) == sizes
        assert not set(x[:, 0]) & set(unseen[:, 0])
        assert np.array_equal(y, v[(x[:, 0] / 2).astype(int)])
        assert np.array_equal(labels, v[(unseen[:, 0] / 2).astype(int)])
    with pytest.raises(ValueError, match="at least 2 rows"):
        two_parts(z[:1], v[:1], 2, 1, seed=0)


def test_rows_are_left_out_only_where_there_are_too_many():
    z, v = check_arrays(Z, V)
    assert some_rows(z, v, 40, 0)[0] is z
    some, _ = some_rows(z, v, 30, 0)
    assert some.shape == (30, 3)
