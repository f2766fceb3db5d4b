"""Latent space measures on decoders whose answer is known."""

import math

import pytest
import torch

from aevae_fast.metrics import interpolation_smoothness, noise_robustness


def latents_of(count=400, shape=(3, 2, 2), scale=0.01, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 5 + scale * torch.randn(count, *shape, generator=generator)


def test_a_linear_decoder_errs_by_the_noise_itself():
    """decode(z) = z/10 leaves an mse of (s·R)²/D/100; each of N·D squares strays by √2 of that."""
    z = latents_of()
    scales = (0.0, 0.1, 0.5, 2.0)
    report = noise_robustness(lambda latents: latents / 10, z, z / 10, scales=scales, batch_size=64)
    flat = z.double().flatten(1)
    assert report.radius == pytest.approx(float((flat - flat.mean(0)).square().sum(1).mean().sqrt()), rel=1e-12)
    assert report.scales == scales
    assert report.mse[0] == 0
    for scale, mse in zip(scales[1:], report.mse[1:], strict=True):
        exact = (scale * report.radius) ** 2 / flat.shape[1] / 100
        assert abs(mse / exact - 1) < 4 * math.sqrt(2 / flat.numel())  # 4 standard errors: 1 alarm in 16,000
        # The same noise at every scale: only float32's rounding of z ≈ 5 parts the ratios from a square.
        assert mse / report.mse[1] == pytest.approx((scale / 0.1) ** 2, rel=1e-2)


def test_the_unit_of_the_latents_does_not_matter():
    z = latents_of(scale=1.0)
    images = torch.sigmoid(z)
    own = noise_robustness(torch.sigmoid, z, images)
    scaled = noise_robustness(lambda latents: torch.sigmoid(latents / 64), 64 * z, images)
    assert scaled.radius == pytest.approx(64 * own.radius, rel=1e-6)
    assert scaled.mse == pytest.approx(own.mse, rel=1e-5)


def test_a_decoder_that_ignores_its_latents_is_robust_and_noise_is_repeated():
    z, images = latents_of(10), torch.rand(10, 1, 4, 4)
    before = torch.get_rng_state()
    deaf = noise_robustness(lambda latents: torch.full((len(latents), 1, 4, 4), 0.5), z, images)
    assert torch.equal(torch.get_rng_state(), before)
    assert deaf.mse == pytest.approx([float((images.double() - 0.5).square().mean())] * 6)
    a, b, c = (noise_robustness(torch.sigmoid, z, torch.sigmoid(z), seed=seed).mse for seed in (0, 0, 1))
    assert a == b
    assert a[-1] != c[-1]
    assert list(a) == sorted(a)


def test_noise_robustness_errors():
    z, images = latents_of(4), torch.rand(4, 3, 2, 2)
    with pytest.raises(ValueError, match=r"latents: .*got \[3, 3, 2, 2\] for 4 images"):
        noise_robustness(torch.sigmoid, z[:3], images)
    with pytest.raises(ValueError, match=r"latents: .*at least 2.*got \[1, 3, 2, 2\]"):
        noise_robustness(torch.sigmoid, z[:1], images[:1])
    with pytest.raises(TypeError, match=r"latents: .*int64"):
        noise_robustness(torch.sigmoid, z.long(), images)
    with pytest.raises(ValueError, match=r"latents: .*finite"):
        noise_robustness(torch.sigmoid, z * torch.nan, images)
    for scales in ((), (-0.1,), (math.nan,), (math.inf,)):
        with pytest.raises(ValueError, match=r"scales: .*got"):
            noise_robustness(torch.sigmoid, z, images, scales=scales)
    with pytest.raises(ValueError, match=r"decode: expected images \[4, 3, 2, 2\], got \[4, 12\]"):
        noise_robustness(lambda latents: latents.flatten(1), z, images)
    with pytest.raises(ValueError, match=r"batch_size: .*got 0"):
        noise_robustness(torch.sigmoid, z, images, batch_size=0)


def fade(weights, a, b):
    weights = torch.as_tensor(weights)[:, None, None, None, None]
    return (1 - weights) * a + weights * b


A, B = (torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))


def test_an_even_fade_is_straight():
    """Then the path length is the squared distance of the ends, whatever the number of steps."""
    for steps in (2, 7, 30):
        report = interpolation_smoothness(fade(torch.linspace(0, 1, steps + 1), A, B))
        exact = (A - B).flatten(1).double().square().sum(1).mean()
        assert report.path_length == pytest.approx(float(exact), rel=1e-5)
        assert report.largest_to_mean_step == pytest.approx(1, rel=1e-5)
        assert report.length_to_distance == pytest.approx(1, rel=1e-6)


def test_a_jump_shows_in_the_largest_step_and_a_detour_in_the_length():
    squared = float((A - B).flatten(1).double().square().sum(1).mean())
    jump = interpolation_smoothness(fade([0.0, 0, 0, 1, 1], A, B))
    assert jump.path_length == pytest.approx(4 * squared, rel=1e-6)  # one of 4 steps does all: mean d²/4, times 4²
    assert jump.largest_to_mean_step == pytest.approx(4, rel=1e-6)
    assert jump.length_to_distance == pytest.approx(1, rel=1e-6)
    there_and_back = interpolation_smoothness(fade([0.0, 0.5, 1.0, 0.5], A, B))
    assert there_and_back.largest_to_mean_step == pytest.approx(1, rel=1e-6)
    assert there_and_back.length_to_distance == pytest.approx(3, rel=1e-6)


def test_a_half_circle_in_feature_space():
    """Length to distance is π/2 of an arc, in the limit; of T chords (T/2)·2·sin(π/2T)."""
    steps = 12
    angles = torch.linspace(0, math.pi, steps + 1, dtype=torch.float64)
    paths = (angles / math.pi)[:, None, None, None, None].expand(-1, 3, 1, 1, 1)

    def features(images):
        turn = math.pi * images.flatten(1)
        return 2 * torch.cat([turn.cos(), turn.sin()], 1)

    report = interpolation_smoothness(paths, features)
    chord = 2 * 2 * math.sin(math.pi / (2 * steps))
    assert report.path_length == pytest.approx(steps**2 * chord**2, rel=1e-9)
    assert report.length_to_distance == pytest.approx(steps * chord / 4, rel=1e-9)
    assert report.largest_to_mean_step == pytest.approx(1, rel=1e-9)


def test_paths_that_do_not_move():
    still = interpolation_smoothness(A.expand(4, *A.shape))
    assert still.path_length == 0
    assert math.isnan(still.largest_to_mean_step)
    assert math.isnan(still.length_to_distance)
    moved = interpolation_smoothness(torch.cat([fade([0.0, 0.5, 1], A, B), A.expand(3, *A.shape)], 1))
    assert moved.largest_to_mean_step == pytest.approx(1, rel=1e-6)


def test_smoothness_errors():
    paths = fade([0.0, 0.5, 1], A, B)
    for bad in (paths[:2], paths[:, :0], paths[0]):
        with pytest.raises(ValueError, match=r"paths: .*T at least 2.*got"):
            interpolation_smoothness(bad)
    with pytest.raises(ValueError, match=r"paths: .*\[0, 1\]"):
        interpolation_smoothness(paths * 2)
    with pytest.raises(TypeError, match=r"paths: .*list"):
        interpolation_smoothness([A, B])
    with pytest.raises(ValueError, match=r"features: .*N = 15, got \[15, 1, 4, 4\]"):
        interpolation_smoothness(paths, lambda images: images)
    with pytest.raises(ValueError, match=r"features: .*finite"):
        interpolation_smoothness(paths, lambda images: images.flatten(1) / 0)
