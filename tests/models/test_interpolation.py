"""Ways between latents: ends, spacing, norms, the places where an angle is hard to tell."""

import math

import pytest
import torch

from aevae_fast.models import interpolate_latents


@pytest.mark.parametrize("mode", ["linear", "slerp"])
@pytest.mark.parametrize("shape", [(5, 7), (5, 3, 2, 2), (0, 7)], ids=["flat", "map", "empty"])
def test_the_ends_are_the_two(mode, shape):
    torch.manual_seed(0)
    a, b = torch.randn(shape), 3 * torch.randn(shape)
    way = interpolate_latents(a, b, 4, mode)
    assert way.shape == (4, *shape)
    torch.testing.assert_close(way[0], a)
    torch.testing.assert_close(way[-1], b)


def test_linear_is_evenly_spaced():
    a, b = torch.randn(5, 7), torch.randn(5, 7)
    way = interpolate_latents(a, b, 6)
    torch.testing.assert_close(way.diff(dim=0), ((b - a) / 5).expand(5, 5, 7), rtol=1e-5, atol=1e-6)


def test_slerp_keeps_a_common_norm_and_turns_evenly():
    torch.manual_seed(0)
    a, b = (4 * torch.nn.functional.normalize(torch.randn(20, 3, 5).double().flatten(1)) for _ in range(2))
    way = interpolate_latents(a.view(20, 3, 5), b.view(20, 3, 5), 9, "slerp").flatten(2)
    torch.testing.assert_close(way.norm(dim=2), torch.full((9, 20), 4.0).double())
    turned = torch.acos((way[1:] * way[:-1]).sum(2) / 16)
    whole = torch.acos((a * b).sum(1) / 16)
    torch.testing.assert_close(turned, (whole / 8).expand(8, 20))


def test_slerp_is_shoemakes_formula_where_that_is_defined():
    torch.manual_seed(0)
    a, b = (torch.nn.functional.normalize(torch.randn(20, 4).double()) for _ in range(2))
    angle = torch.acos((a * b).sum(1, keepdim=True))
    for t, found in zip(torch.linspace(0, 1, 5).double(), interpolate_latents(a, b, 5, "slerp"), strict=True):
        expected = (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)
        torch.testing.assert_close(found, expected)


def test_slerp_changes_unequal_norms_evenly():
    a, b = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 6.0]])
    way = interpolate_latents(a, b, 3, "slerp")
    torch.testing.assert_close(way[1], torch.full((1, 2), 4 / math.sqrt(2)))


@pytest.mark.parametrize(
    ("b", "norms"),
    [
        pytest.param([3.0, 4.0, 0.0], [5, 5, 5], id="the-same"),
        pytest.param([3.0, 4.0 + 1e-6, 0.0], [5, 5, 5], id="almost-the-same"),
        pytest.param([6.0, 8.0, 0.0], [5, 7.5, 10], id="parallel"),
        pytest.param([-3.0, -4.0, 0.0], [5, 5, 5], id="opposite"),
        pytest.param([-3.0, -4.0 + 1e-7, 0.0], [5, 5, 5], id="almost-opposite"),
        pytest.param([0.0, 0.0, 0.0], [5, 2.5, 0], id="origin"),
    ],
)
def test_slerp_where_the_angle_is_hard_to_tell(b, norms):
    a, b = torch.tensor([[3.0, 4.0, 0.0]]), torch.tensor([b])
    for start, end, expected in ((a, b, norms), (b, a, norms[::-1])):
        way = interpolate_latents(start, end, 3, "slerp")
        torch.testing.assert_close(way.norm(dim=2).flatten(), torch.tensor(expected).float())
        torch.testing.assert_close(torch.stack([way[0], way[-1]]), torch.stack([start, end]), rtol=1e-5, atol=2e-6)


def test_both_at_the_origin_stay_there():
    zero = torch.zeros(2, 3)
    assert torch.equal(interpolate_latents(zero, zero, 3, "slerp"), torch.zeros(3, 2, 3))


def test_half_precision_is_computed_in_float32():
    assert interpolate_latents(torch.ones(1, 2).half(), torch.zeros(1, 2).half(), 3).dtype == torch.float32
