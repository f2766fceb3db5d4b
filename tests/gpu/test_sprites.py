"""Sprites drawn on the GPU."""

import torch

from aevae_fast.data import Sprites
from aevae_fast.metrics.disentanglement import mutual_information_gap_posterior

from . import CUDA, NEEDS_CUDA

pytestmark = NEEDS_CUDA


def test_a_gpu_draws_what_a_cpu_draws():
    """Sines differ in the last bit: a pixel centre that lies on an outline may fall to either side."""
    grid = Sprites()
    factors = grid.index_to_factors(torch.randint(len(grid), (4096,), generator=torch.Generator().manual_seed(0)))
    drawn = grid.render(factors, device=CUDA)
    assert drawn.device.type == "cuda"
    assert torch.equal(grid.render(factors.cuda()), drawn)
    assert (drawn.cpu() != grid.render(factors)).sum() <= 4096 // 100


def test_the_posterior_mig_stays_on_its_device():
    grid = Sprites(("scale", "x"), values={"x": range(0, 32, 4)})
    mean = grid.factors.float().cuda()
    result = mutual_information_gap_posterior(mean, torch.full_like(mean, -6.0), grid.factors, samples=4000)
    assert result.score > 0.95
