"""The kernels' noise, drawn by the reference: published integers, a standard normal, independent wherever used."""

import pytest
import torch
from torch import Tensor

from aevae_fast.reference import philox
from tests import noise

_COUNT = 1 << 20


def draw(seed: int, samples: int = 1, count: int = _COUNT) -> Tensor:
    return philox.standard_normal(torch.tensor([seed]), samples, count, torch.float64)


def test_against_published_vectors() -> None:
    """Known answers of Random123 (kat_vectors, philox4x32 10)."""
    ones, pi = 0xFFFFFFFF, [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344]
    answers = {
        (0, (0,) * 4): "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
        (-1, (ones,) * 4): "408f276d 41c83b0e a20bc7c6 6d5451fd",
        (0x299F31D0A4093822, tuple(pi)): "d16cfe09 94fdcceb 5001e420 24126ea1",
    }
    for (key, counter), answer in answers.items():
        words = philox.philox(torch.tensor(key), torch.tensor(counter))
        assert " ".join(f"{word:08x}" for word in words.tolist()) == answer


@pytest.mark.parametrize("seed", [11, -(2**63)])
def test_is_standard_normal(seed: int) -> None:
    drawn = draw(seed)
    noise.accept(noise.of_one(drawn))
    assert torch.equal(drawn[:, :1001], draw(seed, count=1001))


def test_numbers_of_one_draw_are_independent() -> None:
    """Lanes of one counter, of which two are a pair by one radius; neighbours, rows of 32 to 4096, samples."""
    first, second, third = draw(7, samples=3, count=_COUNT // 8)
    lanes = first.view(-1, 4).unbind(1)
    found = {}
    for a in range(4):
        for b in range(a):
            found |= noise.named(f"lanes {b} and {a}", noise.of_two(lanes[b], lanes[a]))
    for apart in (1, 2, 3, 4, 5, 7, 8, 32, 100, 1024, 4096):
        found |= noise.named(f"{apart} apart", noise.of_neighbours(first[:-apart], first[apart:]))
    for name, pair in {"first two": (first, second), "outer two": (first, third), "last two": (second, third)}.items():
        found |= noise.named(f"{name} samples", noise.of_two(*pair))
    noise.accept(found)


def test_seeds_however_close_give_independent_noise() -> None:
    count = _COUNT // 8
    first = draw(5, count=count)[0]
    found = {}
    for other in (6, 5 + (1 << 32), 5 - (1 << 63), ~5):
        found |= noise.named(f"seeds 5 and {other}", noise.of_two(first, draw(other, count=count)[0]))
    noise.accept(found)


@pytest.fixture(scope="module")
def two() -> tuple[Tensor, Tensor]:
    first, second = draw(1, samples=2, count=_COUNT // 4)
    return first, second


def test_noise_that_is_not_normal_is_found_out(two: tuple[Tensor, Tensor]) -> None:
    x = two[0]
    uniforms = torch.rand(12, len(x), generator=torch.Generator().manual_seed(0))
    for wrong in (1.01 * x, x + 0.01, torch.where(x.abs() < 3.5, x, x / 2), uniforms.sum(0) - 6):
        with pytest.raises(AssertionError, match="p = "):
            noise.accept(noise.of_one(wrong))


def test_noise_that_is_not_independent_is_found_out(two: tuple[Tensor, Tensor]) -> None:
    x, y = two
    twice, trailing = x.repeat_interleave(2), (x[1:] + 0.01 * x[:-1]) / 1.0001**0.5
    as_large_as_the_last = x.sign() * torch.cat([x[:1], x[:-1]]).abs()  # wholly dependent, and not correlated
    as_large_as_the_last[::2] = x[::2]
    for wrong in (twice, trailing, as_large_as_the_last):
        with pytest.raises(AssertionError, match="correlation"):
            noise.accept(noise.of_neighbours(wrong[:-1], wrong[1:]))
    signed = y.abs() * (5 * x).cos().sign()  # uncorrelated with x, and so are the squares
    noise.accept(noise.of_neighbours(x, signed))
    with pytest.raises(AssertionError, match="joint bins"):
        noise.accept(noise.of_two(x, signed))
