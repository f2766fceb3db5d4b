"""Pictures: every shape of data can be drawn."""

import pytest
import torch

from aevae_fast.metrics import CodebookUsage
from aevae_fast.training.pictures import (
    code_colours,
    draw_code_maps,
    draw_codebook_curves,
    draw_reconstructions,
    draw_usage,
    save_figure,
)


@pytest.mark.parametrize(
    ("count", "channels"),
    [pytest.param(1, 1, id="one"), pytest.param(10, 3, id="one-row"), pytest.param(13, 3, id="row-not-full")],
)
def test_reconstructions(count, channels, tmp_path):
    images = torch.rand(count, channels, 8, 8)
    figure = draw_reconstructions(images, images * 1.5 - 0.2, "title")
    save_figure(figure, tmp_path / "new" / "picture.png")
    assert (tmp_path / "new" / "picture.png").stat().st_size > 0
    assert sum(len(axes.images) for axes in figure.axes) == 2 * count


def test_usage_says_how_many_codes_live():
    usage = CodebookUsage(8)
    usage.update(torch.tensor([0, 1, 1, 3]))
    figure = draw_usage(usage.compute(), "Codebook")
    assert figure.axes[0].get_title() == "Codebook: 3 of 8 codes used, perplexity 3"


def test_curves_of_a_run_too_short_for_any(tmp_path):
    train = {"step": [], "loss": [], "perplexity": []}
    held_out = {"step": [1.0], "nmse": [0.5], "perplexity": [3.0]}
    save_figure(draw_codebook_curves(train, held_out), tmp_path / "curves.png")


@pytest.mark.parametrize("shape", [(512, 64), (1, 4), (5, 1), (3, 2)])
def test_colours_are_colours(shape):
    colours = code_colours(torch.randn(shape))
    assert colours.shape == (shape[0], 3)
    assert ((colours >= 0) & (colours <= 1)).all()


def test_code_maps_colour_each_position_by_its_code():
    codebook, indices = torch.randn(6, 4), torch.randint(6, (2, 3, 5))
    images = torch.rand(2, 1, 12, 20)
    figure = draw_code_maps(images, indices, images, codebook)
    shown = torch.as_tensor(figure.axes[2].images[0].get_array())
    torch.testing.assert_close(shown, code_colours(codebook)[indices[0]])
