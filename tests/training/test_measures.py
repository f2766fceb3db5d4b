"""What the models of a comparison are measured with."""

import math

import pytest
import torch

from aevae_fast.data import ImageSplits, ImageTensor
from aevae_fast.training.compare.measures import _fitted, _uniform, total_correlation
from aevae_fast.training.compare.yardstick import SETS, check_data, make_yardstick


@pytest.fixture(scope="module")
def yardstick(images):
    return make_yardstick(images, seed=0, device=torch.device("cpu"))


def test_total_correlation_of_two_that_depend_on_each_other():
    x, noise = torch.randn(2, 20000, generator=torch.Generator().manual_seed(0))
    pair = torch.stack([x, 0.8 * x + 0.6 * noise], 1)  # correlation 0.8
    assert total_correlation(pair) == pytest.approx(-0.5 * math.log(1 - 0.8**2), rel=0.02)
    assert total_correlation(torch.stack([x, noise], 1)) == pytest.approx(0, abs=1e-3)
    assert total_correlation(torch.stack([100 * x, torch.ones_like(x)], 1)) == 0  # what never varies tells nothing


def test_draws_from_elsewhere_follow_the_latents():
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(500, 3, generator=generator) @ torch.tensor([[2.0, 1, 0], [0, 1, 0], [0, 0, 0.1]]) + 5
    fitted = _fitted(latents, 20000, generator)
    torch.testing.assert_close(fitted.T.cov(), latents.T.cov(), rtol=0.1, atol=0.05)
    torch.testing.assert_close(fitted.mean(0), latents.mean(0), rtol=0.02, atol=0.02)
    uniform = _uniform(latents, 20000, generator)
    torch.testing.assert_close(uniform.amin(0), latents.amin(0), rtol=0.01, atol=0.01)
    torch.testing.assert_close(uniform.amax(0), latents.amax(0), rtol=0.01, atol=0.01)
    torch.testing.assert_close(uniform.mean(0), (latents.amin(0) + latents.amax(0)) / 2, rtol=0.05, atol=0.05)


def test_scrambled_images_have_the_right_pixels_in_the_wrong_images(yardstick):
    scrambled = torch.cat(yardstick.no_likeness())
    assert scrambled.shape == yardstick.others.shape
    assert torch.equal(scrambled.sort(0).values, yardstick.others.sort(0).values)
    real_rows = {tuple(image.flatten().tolist()) for image in yardstick.others}
    assert not any(tuple(image.flatten().tolist()) in real_rows for image in scrambled)


def test_real_images_score_as_real_and_scrambled_ones_do_not(yardstick):
    real, scrambled = yardstick.quality(yardstick.real()), yardstick.quality(yardstick.no_likeness())
    assert len(real["precision"]) == SETS
    assert min(real["precision"]) > 0.7
    assert max(scrambled["precision"]) < 0.2
    assert max(real["frechet_distance"]) < min(scrambled["frechet_distance"])
    assert max(real["frechet_distance"]) < min(real["scrambled_distance"])
    assert scrambled["scrambled_distance"] == [pytest.approx(0, abs=1e-6)] * SETS
    assert yardstick.accuracy > 0.9


def test_the_sets_are_of_one_size_and_share_no_image(yardstick, images):
    sizes = {len(one) for one in [*yardstick.real(), *yardstick.no_likeness(), yardstick.held_out]}
    assert sizes == {180}
    assert torch.equal(yardstick.held_out, images.held_out.images)
    rows = {tuple(image.flatten().tolist()) for image in images.train.images}
    used = [tuple(image.flatten().tolist()) for image in yardstick.others]
    assert set(used) <= rows
    assert len(set(used)) > 0.99 * len(used)  # the data set itself holds a few twins


def test_data_that_will_not_do_is_named(images):
    plain = ImageSplits("folder", ImageTensor(images.train.images), ImageTensor(images.held_out.images))
    with pytest.raises(ValueError, match=r"expected images with labels.*folder has none"):
        check_data(plain)
    few = ImageTensor(images.held_out.images[:20], images.held_out.labels[:20])
    with pytest.raises(ValueError, match=r"at least 48 held-out and 384 training images.*got 20 and 1617"):
        check_data(ImageSplits("few", images.train, few))
