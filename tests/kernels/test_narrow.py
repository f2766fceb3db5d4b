"""Wide rows narrowed down: what lies within reach is found among all tiles, and compared; against float64."""

import pytest
import torch

from aevae_fast.kernels import configuration, narrow, search
from aevae_fast.kernels.entries import ALL_CODES
from aevae_fast.kernels.nearest_code import nearest_code

from .cases import check_indices

# Tiles so small that a small codebook has many.
TILE = configuration.Tile(32, 64, 0, 8, 4, 2)
SIZE = 64 * 17 - 9


@pytest.fixture
def narrowed(monkeypatch):
    """Few rows split the codebook, and few codes are compared as they are; not here."""
    monkeypatch.setattr(search, "splits_of", lambda rows, tiles, *_: (1, tiles))
    monkeypatch.setattr(narrow, "NARROWED", SIZE)


def config_of(dimension: int, streamed: bool = False) -> configuration.SearchConfig:
    return configuration.layout(dimension, TILE._replace(block_d=32 if streamed else 0), "cpu")


def crowds(rows: int, dimension: int, each: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """x [1, rows, D] in a codebook of noise, where `each` codes are about as near as each other to a row."""
    torch.manual_seed(0)
    codebook, x = 3 * torch.randn(SIZE, dimension), torch.randn(1, rows, dimension)
    places = torch.stack([torch.randperm(SIZE)[:each] for _ in range(rows)])
    for n in range(rows):
        away = torch.randn(each, dimension)
        codebook[places[n]] = x[0, n] + (1 + 1e-5 * torch.randn(each, 1)) * away / away.norm(dim=1, keepdim=True)
    return x.to(device), codebook.to(device)


def entries(x: torch.Tensor, codebook: torch.Tensor, config: configuration.SearchConfig) -> torch.Tensor:
    indices = torch.empty(x.shape[:2], dtype=torch.int64, device=x.device)
    return search.sweep(x, codebook, "euclidean", indices, config).entry.cpu()[0]


def wide(entry: torch.Tensor) -> torch.Tensor:
    return (entry < ALL_CODES.value) & ((ALL_CODES.value - 1 - entry) % 2 == 1)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_wide_rows_get_their_code(dtype, streamed, narrowed, monkeypatch, device):
    x, codebook = crowds(90, 96, 4, device)
    x, config = x.to(dtype), config_of(96, streamed)
    after = entries(x, codebook, config)
    monkeypatch.setattr(search, "narrow", lambda *_: None)
    before = entries(x, codebook, config)
    assert wide(before).double().mean() > 0.4
    assert not wide(after).any()
    left = after < 0
    assert torch.equal(after[~wide(before)], before[~wide(before)])
    assert not left[wide(before)].any()
    check_indices(after[~left], x[:, ~left.to(device)], codebook)


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "dot"])
def test_waves_give_the_same(metric, narrowed, monkeypatch, device):
    x, codebook = crowds(90, 96, 4, device)
    config, one = config_of(96), nearest_code(x, codebook, metric, config_of(96))
    check_indices(one, x, codebook, metric)
    monkeypatch.setattr(narrow, "SHARE", 80)
    assert narrow.waves_of(x, SIZE, config) == 4
    monkeypatch.setattr(narrow, "GROUPS", 16)  # and a row's groups, and rows, take turns
    monkeypatch.setattr(narrow, "PROGRAMS", 3)
    assert torch.equal(nearest_code(x, codebook, metric, config), one)


def test_a_row_that_reaches_much_is_left_to_all_codes(narrowed, device):
    x, codebook = crowds(2, 96, 12, device)
    assert (entries(x, codebook, config_of(96)) == ALL_CODES.value).all()
    check_indices(nearest_code(x, codebook, config=config_of(96)), x, codebook)


def test_bits_that_would_take_much_memory_are_not_kept(device):
    config = configuration.search_config(128, "sm_90")
    assert narrow.waves_of(torch.empty(4, 4, 128), 1 << 14, config) > 0
    assert narrow.waves_of(torch.empty(4, 4, 128), 1 << 20, config) == 0
