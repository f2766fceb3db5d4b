"""The claims are judged by the numbers, whichever way they fall."""

import copy
from types import SimpleNamespace

import pytest
import torch

from aevae_fast.metrics import frechet_distance
from aevae_fast.training.compare import judge
from aevae_fast.training.compare.yardstick import Yardstick

RISING = [[0.001] * 4, [0.02] * 4, [0.025] * 4, [0.03] * 4]  # from less than the plain autoencoder's
GOOD, POOR, SCRAMBLED = [1.0, 1.2, 1.1, 1.0], [9.0, 8.0, 9.5, 8.5], [7.0, 6.0, 7.5, 6.5]


def model(title, *, samples, error, other=None, steps=2.0, halfway=0.3, correlation=2.0, **held_out):
    return {
        "title": title,
        "held_out": held_out,
        "reconstruction_mse": [error] * 4,
        "robustness": {
            "scales": [0.0, 0.1, 0.2, 0.8],
            "mse": [[error] * 4, [1.5 * error] * 4, [2 * error] * 4, [3 * error] * 4],
        },
        "interpolation": {
            "path_length": [steps] * 4,
            "largest_to_mean_step": [steps] * 4,
            "length_to_distance": [steps] * 4,
            "halfway_precision": [halfway] * 4,
        },
        "total_correlation": [correlation] * 4,
        "samples": samples,
        "other_draw": other or samples,
    }


def quality(distance, precision, to_scrambled=SCRAMBLED):
    return {"frechet_distance": distance, "precision": precision, "scrambled_distance": to_scrambled}


@pytest.fixture
def as_claimed():
    """Numbers that bear out every claim."""
    poor, good = quality(POOR, [0.1] * 4), quality(GOOD, [0.7] * 4)
    return {
        "settings": {"noise": 0.05},
        "yardsticks": {"real": quality([0.2] * 4, [0.8] * 4), "scrambled": quality([10.0] * 4, [0.0] * 4)},
        "models": {
            "autoencoder": model("AE", samples=dict(poor), error=0.02, other=quality([2.0] * 4, [0.3] * 4)),
            "noisy-autoencoder": model("noisy AE", samples=dict(poor), error=0.015),
            "vae": model("VAE", samples=dict(good), error=0.03, steps=1.5, halfway=0.6, kl=20.0),
            "beta-vae": model("β-VAE", samples=dict(good), error=0.05, steps=1.2, correlation=0.5, kl=8.0),
        },
    }


def made_up(x, y, count=400):
    """Features of a set: drawn around a point of the plane."""
    return torch.tensor([x, y]) + torch.randn(count, 2, generator=torch.Generator().manual_seed(int(x + 100 * y)))


@pytest.mark.parametrize(
    ("place", "to_real"),
    [
        pytest.param((4.0, 20.0), True, id="far-off-yet-nearer-to-real"),
        pytest.param((6.0, 20.0), False, id="far-off-and-nearer-to-scrambled"),
        pytest.param((1.0, 0.0), True, id="among-real-images"),
        pytest.param((9.0, 0.0), False, id="among-scrambled-images"),
    ],
)
def test_nearer_is_by_the_distances_themselves(as_claimed, place, to_real):
    """Real images lie at (0, 0) and scrambled ones at (10, 0), the samples also far from both."""
    real, scrambled = made_up(0.0, 0.0), made_up(10.0, 0.0)
    features = SimpleNamespace(features=lambda images: images)
    yardstick = Yardstick(features, 1.0, real, real, real, scrambled, [scrambled] * 4)
    samples = yardstick.quality([made_up(*place)] * 4)
    for key in ("autoencoder", "vae"):
        as_claimed["models"][key]["samples"] = samples
    a, _, c, _ = judge(as_claimed)
    assert (a.checks[1].holds, c.checks[1].holds) == (not to_real, to_real)
    assert "nearer to scrambled images than to real ones" in a.checks[1].rule
    distances = [frechet_distance(one, made_up(*place)) for one in (real, scrambled)]
    assert all(f"{distance:.3g}" in c.checks[1].values for distance in distances)


def verdicts(metrics):
    return {claim.letter: claim.verdict for claim in judge(metrics)}


def test_numbers_as_claimed_support_every_claim(as_claimed):
    assert verdicts(as_claimed) == dict.fromkeys("abcd", "supported")
    for claim in judge(as_claimed):
        assert all(check.rule.endswith(".") and any(c.isdigit() for c in check.values) for check in claim.checks)


def test_models_that_are_all_alike_support_none_of_the_differences(as_claimed):
    same = as_claimed["models"]["vae"] | {"held_out": {"kl": 20.0}}
    as_claimed["models"] = {key: copy.deepcopy(same) for key in as_claimed["models"]}
    assert verdicts(as_claimed) == {
        "a": "not supported",  # the autoencoder's samples look real
        "b": "supported in part",  # no better at generating, but no more robust
        "c": "supported in part",  # resembles the data, but nothing sets it apart
        "d": "not supported",
    }


@pytest.mark.parametrize(
    ("change", "letter", "number"),
    [
        pytest.param(("autoencoder", "samples", "precision", [0.1, 0.1, 0.5, 0.1]), "a", 0, id="one-set-looks-real"),
        pytest.param(("autoencoder", "samples", "frechet_distance", GOOD), "a", 1, id="near-real-images"),
        pytest.param(("noisy-autoencoder", "robustness", "mse", RISING), "b", 0, id="error-grows-more"),
        pytest.param(("noisy-autoencoder", "robustness", "mse", [[0.1] * 4] * 4), "b", 1, id="larger-error"),
        pytest.param(("noisy-autoencoder", "samples", "frechet_distance", GOOD), "b", 2, id="nearer-to-real"),
        pytest.param(("noisy-autoencoder", "samples", "precision", [0.5] * 4), "b", 3, id="more-look-real"),
        pytest.param(("vae", "samples", "precision", [0.7, 0.7, 0.3, 0.7]), "c", 0, id="one-set-looks-wrong"),
        pytest.param(("vae", "samples", "frechet_distance", POOR), "c", 1, id="near-scrambled-images"),
        pytest.param(("autoencoder", "samples", "frechet_distance", GOOD), "c", 2, id="no-nearer-than-uniform"),
        pytest.param(("vae", "interpolation", "path_length", [9.0] * 4), "c", 3, id="long-ways"),
        pytest.param(("vae", "interpolation", "length_to_distance", [9.0] * 4), "c", 4, id="detours"),
        pytest.param(("vae", "interpolation", "largest_to_mean_step", [9.0] * 4), "c", 5, id="jumps"),
        pytest.param(("vae", "interpolation", "halfway_precision", [0.1] * 4), "c", 6, id="unreal-half-way"),
        pytest.param(("autoencoder", "other_draw", "frechet_distance", [0.3] * 4), "c", 7, id="a-fitted-prior-does"),
        pytest.param(("beta-vae", "held_out", "kl", 30.0), "d", 1, id="tells-more"),
        pytest.param(("beta-vae", "interpolation", "length_to_distance", [1.6] * 4), "d", 4, id="less-direct"),
    ],
)
def test_a_number_that_falls_the_other_way_is_seen(as_claimed, change, letter, number):
    key, part, measure, values = change
    as_claimed["models"][key][part][measure] = values
    claims = {claim.letter: claim for claim in judge(as_claimed)}
    assert not claims[letter].checks[number].holds
    assert claims[letter].verdict == "supported in part"


@pytest.mark.parametrize(
    ("key", "values", "number"),
    [("reconstruction_mse", [0.05, 0.05, 0.02, 0.05], 0), ("total_correlation", [0.5, 0.5, 2.5, 0.5], 2)],
)
def test_one_set_against_it_is_enough(as_claimed, key, values, number):
    as_claimed["models"]["beta-vae"][key] = values
    assert not judge(as_claimed)[3].checks[number].holds


def test_a_small_gain_is_no_gain(as_claimed):
    """Below in each set, but by less than a tenth of the way to real images."""
    samples = as_claimed["models"]["noisy-autoencoder"]["samples"]
    samples["frechet_distance"] = [value * 0.97 for value in POOR]
    samples["precision"] = [0.15] * 4  # 0.1 of the plain autoencoder, 0.8 of real images
    assert verdicts(as_claimed)["b"] == "supported"
