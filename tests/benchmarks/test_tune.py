"""The search for configurations: what it tries, and what it keeps."""

import json

import pytest
import torch

pytest.importorskip("triton")

from aevae_fast.kernels import configuration
from benchmarks import tune


@pytest.mark.parametrize("arch", ["sm_80", "sm_90", "sm_100", "gfx942"])
@pytest.mark.parametrize("dimension", tune.DIMENSIONS)
def test_the_built_in_tile_is_tried_first(dimension, arch):
    tiles = list(tune.candidates(dimension, arch))
    config = configuration.search_config(dimension, arch)
    assert configuration.layout(dimension, tiles[0], arch) == config._replace(again=None)
    assert len(set(tiles)) == len(tiles) > 5
    for tile in tiles:
        other = configuration.layout(dimension, tile, arch)
        assert other.block_k // (8 * other.group_steps) in (1, 2, 4)
        assert other.streamed or dimension <= 256


def test_the_fastest_is_kept_unless_the_gain_is_small():
    tiles = [configuration.Tile(n, 128, 0, 8, 8, 2) for n in (128, 64, 256, 32)]
    times = dict(zip(tiles, (1.0, 0.99, 0.7, None), strict=True))
    assert tune.fastest(tiles, times.get) == tiles[2]
    times[tiles[2]] = 0.985
    assert tune.fastest(tiles, times.get) == tiles[0]


def test_nothing_is_tuned_without_a_device(tmp_path, capsys):
    if torch.cuda.is_available():
        pytest.skip("a CUDA device is here")
    assert tune.main(["--out", str(tmp_path / "table.json")]) == 1
    assert "No CUDA device" in capsys.readouterr().err
    assert not (tmp_path / "table.json").exists()


def test_the_table_is_one_that_kernels_read(tmp_path, monkeypatch):
    tile = configuration.Tile(64, 128, 0, 8, 4, 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(tune, "tuned", lambda *_: {"sm_90": {64: tile, 2**31: tile._replace(block_d=64)}})
    path = tmp_path / "table.json"
    assert tune.main(["--out", str(path)]) == 0
    assert set(json.loads(path.read_text())) == {"sm_90"}
    monkeypatch.setenv(configuration.VARIABLE, str(path))
    configuration.search_config.cache_clear()
    try:
        found = {d: configuration.search_config(d, "sm_90")._replace(again=None) for d in (32, 64)}
        assert found[64] == configuration.layout(64, tile, "sm_90")
        assert found[32] == configuration.layout(32, configuration.TABLE["sm_90"][32], "sm_90")  # not tuned: built in
    finally:
        configuration.search_config.cache_clear()
