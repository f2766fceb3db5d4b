"""Health of the stages of a quantizer."""

import math

import pytest
import torch

from aevae_fast.metrics import residual_energies, stage_health


def test_health_of_counts():
    even, some = stage_health([torch.full((4,), 5), torch.tensor([6, 0, 2, 0, 0])])
    assert (even.codebook_size, even.usage, even.dead_codes) == (4, 1.0, 0)
    assert even.perplexity == pytest.approx(4)
    assert (some.codebook_size, some.usage, some.dead_codes) == (5, 0.4, 3)
    assert some.perplexity == pytest.approx(math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)))
    assert math.isnan(even.residual_energy)


def test_a_running_count_is_dead_below_a_share_of_the_mean():
    counts = torch.tensor([10.0, 0.29, 0.31, 29.4])  # mean 10
    (health,) = stage_health([counts], alive_from=0.03)
    assert (health.usage, health.dead_codes) == (0.75, 1)
    (health,) = stage_health([counts])
    assert health.dead_codes == 0


def test_nothing_counted():
    (health,) = stage_health([torch.zeros(3)])
    assert (health.perplexity, health.usage, health.dead_codes) == (1.0, 0.0, 3)
    assert stage_health([]) == []


def test_energies_are_what_is_left():
    generator = torch.Generator().manual_seed(0)
    x, first, second = torch.randn(3, 2, 5, 4, generator=generator).double().unbind()
    kept = torch.tensor([[True] * 5, [True, False, True, False, False]])[..., None]
    x = x.where(kept, torch.nan)
    energies = residual_energies(x, [first, first + second, x.nan_to_num()], kept)
    rows, a, b = (tensor[kept[..., 0]] for tensor in (x, first, second))
    expected = [(rows - a).square().sum() / rows.square().sum(), (rows - a - b).square().sum() / rows.square().sum(), 0]
    torch.testing.assert_close(energies, torch.tensor(expected, dtype=torch.float32))
    assert [stage.residual_energy for stage in stage_health([torch.ones(2)] * 3, energies)] == energies.tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(([torch.ones(2, 3)],), r"counts: expected \[K\].*got \[2, 3\]", id="counts"),
        pytest.param(([torch.ones(2)], torch.ones(2)), r"residual_energy: expected \[1\].*got \[2\]", id="energies"),
    ],
)
def test_what_does_not_fit_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        stage_health(*arguments)
    with pytest.raises(ValueError, match=r"partial_sums\[0\]: expected the shape of x, \(2, 3\), got \(3, 2\)"):
        residual_energies(torch.ones(2, 3), [torch.ones(3, 2)])
