"""The classifier: it learns, repeats, leaves the global generator alone, says what does not fit."""

import pytest
import torch

from aevae_fast.data import digits
from aevae_fast.metrics import sample_quality, train_classifier


@pytest.fixture(scope="module")
def data():
    return digits()


@pytest.fixture(scope="module")
def trained(data):
    return train_classifier(data.train.images, data.train.labels, steps=150)


def test_it_learns_real_digits(data, trained):
    """Of 180 digits never seen 9 in 10 are right; by chance 1 in 10 would be."""
    assert trained.accuracy(data.held_out.images, data.held_out.labels) > 0.9
    assert trained.accuracy(data.held_out.images, data.held_out.labels + 10) == 0


def test_features_are_whitened_over_the_training_images(data, trained):
    features = trained.features(data.train.images)
    assert features.shape == (1617, 64)
    assert features.dtype == torch.float32
    assert not features.requires_grad
    covariance = features.double().T.cov(correction=0)
    assert features.mean(0).abs().max() < 1e-4
    assert (covariance - torch.eye(64)).abs().max() < 0.1  # the shrinkage takes its part from small variances
    torch.testing.assert_close(
        trained.features(data.train.images[:9], batch_size=2), features[:9], rtol=1e-4, atol=1e-4
    )
    assert trained.features(data.train.images[:0]).shape == (0, 64)


def test_its_features_tell_good_samples_from_bad_ones(data, trained):
    generator = torch.Generator().manual_seed(0)
    held_out = data.held_out.images
    order = torch.randperm(1617, generator=generator)[:180]
    others, noise = data.train.images[order], torch.rand(held_out.shape, generator=generator)
    ones = data.train.images[data.train.labels == 1][:150]
    real = trained.features(held_out)
    good, bad, few = (sample_quality(real, trained.features(images)) for images in (others, noise, ones))
    assert good.frechet_distance < few.frechet_distance < bad.frechet_distance
    assert good.mmd < few.mmd < bad.mmd
    assert min(good.precision, good.recall) > 0.7
    assert bad.precision < 0.1
    assert few.precision > 0.7
    assert few.recall < 0.2


def test_the_same_seed_gives_the_same_classifier_and_moves_no_global_generator(data):
    images, labels = data.train.images[:200], data.train.labels[:200]
    before = torch.get_rng_state()
    first, again, other = (train_classifier(images, labels, steps=3, seed=seed) for seed in (0, 0, 1))
    torch.rand(5)
    assert not torch.equal(torch.get_rng_state(), before)
    torch.set_rng_state(before)
    train_classifier(images, labels, steps=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.features(images), again.features(images))
    assert not torch.equal(first.features(images), other.features(images))
    assert not any(parameter.requires_grad for parameter in first.parameters())
    assert not first.training


@pytest.mark.parametrize("shape", [(3, 20, 13), (1, 1, 1), (2, 4, 33)], ids=str)
def test_other_sizes_and_channels(shape):
    """Bright and dark images, labels that are neither consecutive nor sorted."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([7, -2]).repeat(20)
    images = torch.rand(40, *shape, generator=generator) * 0.4 + 0.6 * (labels == 7)[:, None, None, None]
    with torch.no_grad():
        classifier = train_classifier(images.double(), labels.to(torch.int32), steps=30)
    assert classifier.accuracy(images, labels) == 1
    assert classifier.features(images).shape == (40, 64)


def test_few_images_leave_finite_features():
    classifier = train_classifier(torch.rand(2, 1, 8, 8), torch.tensor([0, 1]), steps=2)
    assert classifier.features(torch.rand(5, 1, 8, 8)).isfinite().all()
    constant = train_classifier(torch.zeros(4, 1, 8, 8), torch.tensor([0, 1, 0, 1]), steps=1)
    assert constant.features(torch.zeros(5, 1, 8, 8)).isfinite().all()


def test_errors_name_what_came(trained):
    images, labels = torch.rand(6, 1, 8, 8), torch.tensor([0, 1] * 3)
    with pytest.raises(ValueError, match=r"labels: .*got None: these images have no labels"):
        train_classifier(images, None)
    with pytest.raises(ValueError, match=r"labels: expected at least 2 classes.*got \[4\]"):
        train_classifier(images, torch.full((6,), 4))
    with pytest.raises(ValueError, match=r"labels: .*\[6\], got \[5\]"):
        train_classifier(images, labels[:5])
    with pytest.raises(TypeError, match=r"labels: .*float32"):
        train_classifier(images, labels.float())
    with pytest.raises(TypeError, match=r"labels: .*list"):
        train_classifier(images, labels.tolist())
    with pytest.raises(ValueError, match=r"images: .*\[0, 1\], got \[0, 2\]"):
        train_classifier(torch.linspace(0, 2, 384).view(6, 1, 8, 8), labels)
    with pytest.raises(ValueError, match=r"images: .*\[0, 1\], got \[nan, nan\]"):
        train_classifier(images * torch.nan, labels)
    with pytest.raises(TypeError, match=r"images: .*floating point.*uint8"):
        train_classifier(images.byte(), labels)
    with pytest.raises(ValueError, match=r"images: .*got \[6, 8, 8\]"):
        train_classifier(images[:, 0], labels)
    for option in ("steps", "batch_size"):
        with pytest.raises(ValueError, match=rf"{option}: .*got 0"):
            train_classifier(images, labels, **{option: 0})
    with pytest.raises(ValueError, match=r"images: expected \[1, 8, 8\] each.*got \[1, 9, 8\]"):
        trained.features(torch.rand(2, 1, 9, 8))
    with pytest.raises(ValueError, match="at least one image"):
        trained.accuracy(images[:0], labels[:0])
