"""Pictures: every shape of data can be drawn."""

import numpy as np
import pytest
import torch

from aevae_fast.metrics import CodebookUsage
from aevae_fast.training.pictures import (
    code_colours,
    draw_code_curves,
    draw_code_maps,
    draw_codebook_curves,
    draw_grid,
    draw_likelihood_curves,
    draw_reconstructions,
    draw_rows,
    draw_usage,
    save_figure,
    tile,
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
    rows = -(-count // 10)
    assert [axes.get_ylabel() for axes in figure.axes] == ["original", "decoded"] * rows
    shown = [np.asarray(axes.images[0].get_array()) for axes in figure.axes]
    first, last = np.moveaxis(images.numpy(), 1, -1)[[0, 10 * (rows - 1)]]
    assert np.array_equal(shown[0].reshape(8, -1, channels)[:, :8], first)
    assert np.array_equal(shown[-2].reshape(8, -1, channels)[:, :8], last)


def test_usage_says_how_many_codes_live():
    usage = CodebookUsage(8)
    usage.update(torch.tensor([0, 1, 1, 3]))
    figure = draw_usage(usage.compute(), "Codebook")
    assert figure.axes[0].get_title() == "Codebook: 3 of 8 codes used, perplexity 3"


def test_curves_of_a_run_too_short_for_any(tmp_path):
    train = {"step": [], "loss": [], "perplexity": []}
    held_out = {"step": [1.0], "nmse": [0.5], "perplexity": [3.0]}
    save_figure(draw_codebook_curves(train, held_out), tmp_path / "curves.png")


def test_code_curves_are_in_bits(tmp_path):
    held_out = {"step": [1.0], "bits_per_image": [3.0], "independent_bits_per_image": [4.0]}
    figure = draw_code_curves({"step": [10.0, 20.0], "loss": [np.log(2), np.log(4)]}, held_out)
    training, measured, independent = figure.axes[0].lines
    assert list(training.get_ydata()) == pytest.approx([1, 2])
    assert (list(measured.get_ydata()), list(independent.get_ydata())) == ([3.0], [4.0, 4.0])
    save_figure(draw_code_curves({"step": []}, held_out), tmp_path / "curves.png")


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


def test_tiles_stand_row_by_row_with_gaps():
    images = torch.rand(5, 3, 2, 4)
    whole = tile(images, columns=3)
    assert whole.shape == (3, 2 * 2 + 1, 3 * 4 + 2)
    for number, image in enumerate(images):
        top, left = number // 3 * 3, number % 3 * 5
        assert torch.equal(whole[:, top : top + 2, left : left + 4], image)
    assert (whole[:, 2] == 1).all()
    assert (whole[:, 3:, 10:] == 1).all()  # the place that stays empty


@pytest.mark.parametrize("count", [1, 5, 30], ids=["one", "one-row", "row-not-full"])
def test_grid(count, tmp_path):
    save_figure(draw_grid(torch.rand(count, 1, 8, 8), "title"), tmp_path / "grid.png")
    assert (tmp_path / "grid.png").stat().st_size > 0


def test_rows_have_their_labels():
    figure = draw_rows([torch.rand(4, 3, 8, 8)] * 2, ["first", "second"], "title", ends=("a", "b"))
    assert [axes.get_ylabel() for axes in figure.axes] == ["first", "second"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["a", "b"]


@pytest.mark.parametrize(
    ("train", "held_out", "titles"),
    [
        pytest.param({"step": []}, {"step": [1.0], "reconstruction_loss": [40.0]}, 1, id="too-short"),
        pytest.param(
            {"step": [10.0], "reconstruction_loss": [-50.0], "kl": [3.0]},
            {"step": [10.0], "reconstruction_loss": [-48.0], "kl": [3.0], "elbo": [45.0]},
            3,
            id="density-above-1",
        ),
    ],
)
def test_likelihood_curves(train, held_out, titles, tmp_path):
    figure = draw_likelihood_curves(train, held_out)
    save_figure(figure, tmp_path / "curves.png")
    assert len(figure.axes) == titles
