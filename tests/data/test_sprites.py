"""Sprites: the grid and the measures of dSprites, any part of it, any size."""

import math

import pytest
import torch

from aevae_fast.data import Sprites

ALL = Sprites()
EDGES = Sprites(("shape", "orientation", "x", "y"), values={"x": (0, 31), "y": (0, 31)})  # at scale 1


def test_the_grid_is_that_of_dsprites():
    assert ALL.factor_names == ("shape", "scale", "orientation", "x", "y")
    assert ALL.factor_sizes == (3, 6, 40, 32, 32)
    assert len(ALL) == 737_280
    near = ALL.index_to_factors(torch.tensor([0, 1, 32, 32 * 32, 40 * 32 * 32, 6 * 40 * 32 * 32, 737_279]))
    assert near.tolist() == [
        [0, 0, 0, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 1, 0], [0, 0, 1, 0, 0], [0, 1, 0, 0, 0], [1, 0, 0, 0, 0],
        [2, 5, 39, 31, 31],
    ]  # fmt: skip
    assert ALL.factor_values("scale").tolist() == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert ALL.factor_values("orientation")[[0, 39]].tolist() == pytest.approx([0, 2 * math.pi])


def test_indices_and_factors_are_inverse():
    some = Sprites(("y", "shape", "scale"), values={"y": (3, 8, 30), "shape": (2, 0)})
    assert some.factor_names == ("shape", "scale", "y")  # the grid's order, whatever was asked
    assert some.factor_sizes == (2, 6, 3)
    assert torch.equal(some.factors_to_index(some.factors), torch.arange(36))
    assert some.factors.dtype == torch.int64
    assert len(some.factors.unique(dim=0)) == 36


def box(image):
    """Width and height of the white pixels."""
    rows, columns = image[0].nonzero().T
    return [int(columns.max() - columns.min() + 1), int(rows.max() - rows.min() + 1)]


@pytest.mark.parametrize(
    ("shape", "size", "area"),
    [
        pytest.param(0, (20, 20), 400, id="square"),
        pytest.param(1, (26, 14), math.pi * 13 * 7, id="ellipse"),
        pytest.param(2, (20, 17), 222, id="heart"),
    ],
)
def test_measures_of_a_shape(shape, size, area):
    """White pixels count the area up to those on the outline, of which half are in: ±√outline, the outline below 80."""
    middle, _ = ALL.render(torch.tensor([[shape, 5, 0, 16, 16], [shape, 0, 0, 16, 16]]))
    assert all(abs(a - b) <= 1 for a, b in zip(box(middle), size, strict=True))
    turned = ALL.render(torch.tensor([[shape, 5, turn, 16, 16] for turn in range(40)])).sum((1, 2, 3))
    assert abs(float(turned.mean()) - area) < 4
    assert (turned - area).abs().max() < 9
    small = ALL.render(torch.tensor([[shape, 0, turn, 16, 16] for turn in range(40)])).sum((1, 2, 3))
    assert abs(float(small.mean()) - area / 4) < 4


def test_a_heart_points_down_and_turns_clockwise():
    upright, quarter = Sprites(("shape", "orientation"), held={"scale": 5}).render(torch.tensor([[2, 0], [2, 10]]))[
        :, 0
    ]
    rows = upright.sum(1)[upright.sum(1) > 0]
    assert rows[-1] <= 2 < rows[2]  # a tip below, two lobes above
    assert (upright - upright.flip(1)).abs().sum() < 40
    columns = quarter.sum(0)[quarter.sum(0) > 0]
    assert columns[0] < columns[-3]  # a quarter clockwise brings the tip from below to the left


def test_sprites_are_binary_and_stay_within_the_frame():
    images = EDGES.render(EDGES.factors)
    assert images.shape == (len(EDGES), 1, 64, 64)
    assert set(images.unique().tolist()) == {0.0, 1.0}
    rows, columns = images.amax(0)[0].nonzero().T
    assert [int(end) for end in (*rows.aminmax(), *columns.aminmax())] == [3, 60, 3, 60]


def test_x_goes_right_and_y_goes_down():
    centers = []
    for factors in ([0, 0, 0, 0, 0], [0, 0, 0, 31, 0], [0, 0, 0, 0, 31]):
        rows, columns = ALL.render(torch.tensor([factors]))[0, 0].nonzero().double().T
        centers.append((float(columns.mean()) + 0.5, float(rows.mean()) + 0.5))
    for center, expected in zip(centers, [(16, 16), (48, 16), (16, 48)], strict=True):
        assert all(abs(a - b) < 1.2 for a, b in zip(center, expected, strict=True))


def test_the_first_and_the_last_orientation_are_one():
    ends = Sprites(values={"orientation": (0, 39, 20), "x": range(0, 32, 5), "y": (3, 14, 31)})
    images = ends.render(ends.factors).view(3, 6, 3, 7, 3, 64, 64)
    assert torch.equal(images[:, :, 0], images[:, :, 1])
    assert not torch.equal(images[2, :, 0], images[2, :, 2])


def test_held_factors_and_sizes():
    held = Sprites(("shape", "x"), held={"scale": 2, "orientation": 7, "y": 30})
    assert len(held) == 96
    same = torch.tensor([[1, 2, 7, 9, 30]])
    assert torch.equal(held.render(torch.tensor([[1, 9]])), ALL.render(same))
    small = Sprites(image_size=32).render(same)
    assert small.shape == (1, 1, 32, 32)
    assert float(small.mean()) == pytest.approx(float(ALL.render(same).mean()), rel=0.15)


def test_items_are_rows_of_a_rendered_batch():
    some = Sprites(("shape", "scale"), image_size=16)
    (whole,) = some.__getitems__(list(range(18)))
    assert torch.equal(whole, torch.stack([some[index] for index in range(18)]))
    assert torch.equal(whole, some.render(some.factors))
    assert torch.equal(some[-1], whole[17])
    with pytest.raises(IndexError, match="got 18"):
        some[18]


def test_chunks_do_not_show(monkeypatch):
    some = Sprites(("shape", "x"))
    whole = some.render(some.factors)
    monkeypatch.setattr("aevae_fast.data.sprites_rendering._PIXELS", 5 * 64 * 64)
    assert torch.equal(some.render(some.factors), whole)
    assert some.render(some.factors[:0]).shape == (0, 1, 64, 64)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"factors": ("hue",)}, r"factors: .*\['hue'\]"),
        ({"factors": ()}, r"factors: .*at least one"),
        ({"factors": "shape"}, r"factors: .*'shape'"),
        ({"factors": ("x", "x")}, r"factors: expected different names"),
        ({"factors": ("x",), "values": {"y": (0, 1)}}, r"values: .*'y'"),
        ({"values": {"x": (0, 32)}}, r"values: .*below 32 for x.*\[0, 32\]"),
        ({"values": {"x": (3,)}}, r"values: .*2 or more"),
        ({"held": {"x": 1}}, r"held: .*x does"),
        ({"factors": ("x",), "held": {"shape": 3}}, r"held: .*below 3 for shape, got 3"),
        ({"image_size": 4}, r"image_size: .*got 4"),
    ],
)
def test_what_makes_no_grid(arguments, message):
    with pytest.raises(ValueError, match=message):
        Sprites(**arguments)


def test_wrong_factors_and_indices():
    some = Sprites(("shape", "x"))
    with pytest.raises(TypeError, match=r"factors: expected integers.*float32"):
        some.render(torch.zeros(1, 2))
    with pytest.raises(TypeError, match=r"factors: .*list"):
        some.render([[0, 0]])
    with pytest.raises(ValueError, match=r"factors: expected \[N, 2\] \(shape, x\), got \[1, 5\]"):
        some.render(torch.zeros(1, 5, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"factors: expected 0 to 2 for shape, got 3 to 3"):
        some.factors_to_index(torch.tensor([[3, 0]]))
    with pytest.raises(ValueError, match=r"indices: expected 0 to 95, got -1 to 96"):
        some.index_to_factors(torch.tensor([-1, 96]))
    with pytest.raises(ValueError, match=r"name: .*got 'hue'"):
        some.factor_values("hue")
