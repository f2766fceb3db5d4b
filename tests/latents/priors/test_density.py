"""Every prior: its density is one, and its samples follow it."""

import pytest
import torch
from scipy import stats
from torch import Tensor

from aevae_fast.latents.priors import Prior

from .cases import NEEDS_TWO, OPTIONS, some_prior

HALF = 10.0  # the grid goes from -HALF to HALF
RARE = 1e-6  # probability that a test fails though all is right, for one seed in as many


def density(prior: Prior, points: Tensor) -> Tensor:
    with torch.no_grad():
        return prior.log_prob(points).exp()


def line(cells: int) -> tuple[Tensor, float]:
    """Middles of `cells` equal cells of [-HALF, HALF], and their width."""
    width = 2 * HALF / cells
    return -HALF + width * (torch.arange(cells, dtype=torch.float64) + 0.5), width


@pytest.mark.parametrize("name", [name for name in OPTIONS if name not in NEEDS_TWO])
def test_on_a_line_the_density_is_one_and_draws_follow_it(name: str) -> None:
    prior = some_prior(name, 1)
    points, width = line(20_000)
    mass = density(prior, points[:, None]) * width
    assert float(mass.sum()) == pytest.approx(1, abs=1e-5)  # of a smooth density the middles know the integral
    drawn = prior.sample(5000, generator=torch.Generator().manual_seed(1))[:, 0]
    cumulated = torch.cat([mass.new_zeros(1), mass.cumsum(0)])
    place = ((drawn + HALF) / width).clamp(0, 20_000)
    whole = place.long().clamp(max=19_999)
    below = torch.lerp(cumulated[whole], cumulated[whole + 1], place - whole)
    assert stats.kstest(below.numpy(), "uniform").pvalue > RARE


@pytest.mark.parametrize("name", OPTIONS)
def test_in_a_plane_the_density_is_one_and_draws_follow_it(name: str) -> None:
    prior = some_prior(name, 2)
    points, width = line(400)
    mass = density(prior, torch.cartesian_prod(points, points)) * width**2
    # a kink in a spline's slope costs the width of a cell, where the density is at its 0.2 or so
    assert float(mass.sum()) == pytest.approx(1, abs=2e-3 if name == "spline" else 1e-4)

    # 20 x 20 squares of side 0.5 around the middle, and all else as one
    inner = mass.view(400, 400)[100:300, 100:300]
    cells = inner.unflatten(0, (20, 10)).unflatten(2, (20, 10)).sum((1, 3)).flatten()
    drawn = prior.sample(20_000, generator=torch.Generator().manual_seed(2))
    place = ((drawn + HALF / 2) / 0.5).floor().long()
    inside = ((place >= 0) & (place < 20)).all(1)
    found = torch.bincount((place[inside] * torch.tensor([20, 1])).sum(1), minlength=400)
    expected = 20_000 * torch.cat([cells, 1 - cells.sum(0, keepdim=True)])
    seen = torch.cat([found, (~inside).sum()[None]])
    often = expected > 5
    expected = torch.cat([expected[often], expected[~often].sum()[None].clamp(min=1e-9)])
    seen = torch.cat([seen[often], seen[~often].sum()[None]])
    if expected[-1] < 5:  # too few for the statistic: with the cell before
        expected, seen = (torch.cat([t[:-2], t[-2:].sum()[None]]) for t in (expected, seen))
    statistic = float(((seen - expected).square() / expected).sum())
    assert len(expected) > 20
    assert stats.chi2.sf(statistic, len(expected) - 1) > RARE


@pytest.mark.parametrize("name", OPTIONS)
def test_draws_follow_the_generator(name: str) -> None:
    prior = some_prior(name, 3, torch.float32)
    draws = [prior.sample(7, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert draws[0].shape == (7, 3)
    assert draws[0].dtype == torch.float32
    assert not draws[0].requires_grad
    assert prior.sample(0).shape == (0, 3)
