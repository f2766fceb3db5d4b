"""What the sweep certifies and leaves open, and that each kind of open row is settled: against float64."""

import json

import pytest
import torch

from aevae_fast.kernels import configuration, search
from aevae_fast.kernels.entries import ALL_CODES
from aevae_fast.kernels.nearest_code import nearest_code
from aevae_fast.kernels.settle import rows_of

from .cases import DTYPES, adversarial, check_indices, scores

FAMILIES = ("sm_80", "sm_90", "sm_100", "gfx942")


@pytest.fixture
def as_on(monkeypatch, device):
    """Lay the search out as for another GPU: its tiles, groups and columns; the instructions are the interpreter's."""

    def choose(arch: str) -> None:
        if device.type == "cuda":
            pytest.skip("a device has one layout")

        def chosen(dimension: int, _: str) -> configuration.SearchConfig:
            config = configuration.search_config(dimension, arch)._replace(ptx=False)
            return config._replace(again=config.again and config.again._replace(ptx=False))

        monkeypatch.setattr(search, "search_config", chosen)

    return choose


@pytest.fixture
def in_one_part(monkeypatch):
    """Few rows split the codebook; not here."""
    monkeypatch.setattr(search, "splits_of", lambda rows, tiles, *_: (1, tiles))


def swept(x: torch.Tensor, codebook: torch.Tensor) -> torch.Tensor:
    """Entries of rows [N, D]."""
    indices = torch.empty(1, len(x), dtype=torch.int64, device=x.device)
    return search.sweep(x[None], codebook, "euclidean", indices).entry.reshape(-1).cpu()


def listed(entry: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of open entries: whether the row is wide, and the list of one that is not."""
    code = ALL_CODES.value - 1 - entry
    return code % 2 == 1, code // 2


@pytest.mark.parametrize("arch", FAMILIES)
@pytest.mark.parametrize(
    ("length", "dimension", "size"),
    [(40, 8, 700), (40, 16, 700), (33, 24, 700), (50, 64, 1100), (140, 100, 600), (20, 256, 300), (9, 300, 300)],
)
def test_layout_of_each_family(arch, length, dimension, size, as_on, device):
    as_on(arch)
    torch.manual_seed(3)
    x, codebook = torch.randn(1, length, dimension), torch.randn(size, dimension)
    check_indices(nearest_code(x, codebook), x, codebook)


@pytest.mark.parametrize("metric", ["euclidean", "dot"])
@pytest.mark.parametrize("name", ["offset", "outlier code", "midway", "almost equal codes"])
def test_adversarial_sets_in_the_layout_of_sm_90(name, metric, as_on, device):
    as_on("sm_90")
    rows, codebook = adversarial(name)
    check_indices(nearest_code(rows, codebook, metric), rows, codebook, metric)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("dimension", "least"), [(8, 0.99), (16, 0.99), (32, 0.9), (64, 0.9)])
def test_most_rows_are_certified(dimension, least, dtype, device):
    torch.manual_seed(0)
    x = torch.randn(512, dimension).to(DTYPES[dtype]).to(device)
    codebook = torch.randn(1024, dimension).to(device)
    entry = swept(x, codebook)
    certified = entry >= 0
    assert certified.double().mean() >= least
    assert torch.equal(entry[certified], scores(x, codebook, "euclidean").argmin(1)[certified])


def test_a_code_as_near_as_another_leaves_its_row_open(device, in_one_part):
    torch.manual_seed(0)
    codebook = torch.randn(512, 32)
    x = (codebook[:48] + codebook[256:304]) / 2 + 1e-6 * torch.randn(48, 32)
    codebook[:48] = x + 1e-3 * (codebook[:48] - x)
    codebook[256:304] = x + 1e-3 * (codebook[256:304] - x)
    entry = swept(x.to(device), codebook.to(device))
    assert (entry < -1).all()
    check_indices(nearest_code(x[None].to(device), codebook.to(device)), x[None], codebook)


def columns_apart(distance: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows [16, 64] and a codebook in which the nearest two codes of row n are n and n + distance."""
    torch.manual_seed(1)
    codebook = 4 * torch.randn(1024, 64)
    x = codebook[:16] + 0.01 * torch.randn(16, 64)
    codebook[distance : distance + 16] = codebook[:16] + 1e-5 * torch.randn(16, 64)
    return x.to(device), codebook.to(device)


def test_two_codes_at_one_place_of_two_tiles(device, in_one_part):
    block = configuration.search_config(64, configuration.architecture(device)).block_k
    x, codebook = columns_apart(block, device)
    wide, _ = listed(swept(x, codebook))
    assert wide.all()
    check_indices(nearest_code(x[None], codebook), x[None], codebook)


def test_two_codes_of_one_group(device, in_one_part):
    x, codebook = columns_apart(16, device)  # two steps of 8 columns on
    entry = swept(x, codebook)
    wide, numbers = listed(entry)
    bits = (len(codebook) // configuration.search_config(64, configuration.architecture(device)).group).bit_length()
    assert not wide.any()
    assert (numbers >> bits == 0).all()  # one group, and no more
    check_indices(nearest_code(x[None], codebook), x[None], codebook)


@pytest.mark.parametrize("rows", [1, 3, 4, 5, 32])  # together as many as four that want all codes, or fewer
def test_rows_that_want_all_codes(rows, device, in_one_part, monkeypatch):
    monkeypatch.setattr(search, "rows_of", lambda total: rows_of(1 << 20))
    torch.manual_seed(2)
    codebook = torch.randn(1024, 64)
    codebook[::3] = codebook[0] + 1e-6 * torch.randn(342, 64)  # far more groups in reach than a list holds
    x = torch.randn(32, 64)
    x[:rows] = codebook[0] + 1e-6 * torch.randn(rows, 64)
    entry = swept(x.to(device), codebook.to(device))
    assert (listed(entry)[0][:rows]).all()
    assert (entry[rows:] >= 0).all()
    check_indices(nearest_code(x[None].to(device), codebook.to(device)), x[None], codebook)


@pytest.mark.parametrize("metric", ["euclidean", "dot"])
@pytest.mark.parametrize("name", ["normal", "outlier code", "outlier row", "duplicated codes", "rows are codes"])
def test_a_codebook_in_parts_gives_the_same(name, metric, monkeypatch, device):
    torch.manual_seed(4)
    rows, codebook = (torch.randn(1, 70, 16), torch.randn(400, 16)) if name == "normal" else adversarial(name)
    x, codebook = rows.to(device), codebook.to(device)
    parts = []
    for count in (1, 2, 3):
        monkeypatch.setattr(search, "splits_of", lambda rows, tiles, *_, count=count: split(tiles, count))
        parts.append(nearest_code(x, codebook, metric))
    for other in parts[1:]:
        assert torch.equal(other, parts[0])


def split(tiles: int, count: int) -> tuple[int, int]:
    each = -(-tiles // min(count, tiles))
    return -(-tiles // each), each


@pytest.mark.parametrize(("rows", "expected"), [(1, 4), (128, 4), (129, 2), (512, 1)])
def test_few_rows_split_the_codebook(rows, expected):
    config = configuration.search_config(64, "cpu")
    splits, each = configuration.splits_of(rows, 32, config, torch.device("cpu"))
    assert (splits, splits * each) == (expected, 32)


def test_a_measured_table_takes_the_place_of_the_built_in_one(tmp_path, monkeypatch):
    tile = configuration.Tile(64, 64, 0, 8, 4, 2)
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"sm_90": {2**31: tile._asdict()}}))
    monkeypatch.setenv(configuration.VARIABLE, str(path))
    configuration.search_config.cache_clear()
    try:
        assert configuration.search_config(128, "sm_90") == configuration.layout(128, tile, "sm_90")
        assert configuration.search_config(128, "sm_80") != configuration.layout(128, tile, "sm_80")
        path.write_text('{"sm_90": {"64": {"block": 3}}}')
        configuration.search_config.cache_clear()
        with pytest.raises(ValueError, match=configuration.VARIABLE):
            configuration.search_config(64, "sm_90")
    finally:
        configuration.search_config.cache_clear()


@pytest.mark.parametrize("data", ["normal", "clusters", "duplicated"])
def test_a_second_sweep_of_what_the_first_leaves_open(data, as_on, monkeypatch, device):
    as_on("sm_90")
    monkeypatch.setattr(search, "FEW", 0)
    torch.manual_seed(5)
    codebook = torch.randn(600, 64)
    if data == "clusters":
        codebook = codebook[:20].repeat(30, 1) + 0.02 * torch.randn(600, 64)
    if data == "duplicated":
        codebook = codebook[:20].repeat(30, 1)
    x = codebook[torch.randint(0, 600, (1, 600))] + 0.01 * torch.randn(1, 600, 64)
    config = search.search_config(64, "sm_90")
    assert config.again.parts == 3

    once = search.sweep(x, codebook, "euclidean", torch.empty(1, 600, dtype=torch.int64), config._replace(again=None))
    twice = search.sweep(x, codebook, "euclidean", torch.empty(1, 600, dtype=torch.int64), config)
    once, twice = once.entry[0], twice.entry[0]
    certified = once >= 0
    assert torch.equal(twice[certified], once[certified])
    if data == "clusters":
        assert certified.double().mean() < 0.5 < (twice >= 0).double().mean()
    check_indices(nearest_code(x, codebook), x, codebook)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("arch", "dimension", "metric"),
    [("sm_90", 33, "euclidean"), ("sm_90", 64, "dot"), ("sm_100", 64, "euclidean"), ("sm_100", 40, "cosine")],
)
def test_what_a_second_sweep_certifies(arch, dimension, metric, dtype, as_on, in_one_part, monkeypatch, device):
    as_on(arch)
    monkeypatch.setattr(search, "FEW", 0)
    torch.manual_seed(8)
    codebook = torch.randn(20, dimension).repeat(30, 1) + 0.02 * torch.randn(600, dimension)
    x = (codebook[torch.randint(0, 600, (1, 256))] + 0.01 * torch.randn(1, 256, dimension)).to(DTYPES[dtype])
    config = search.search_config(dimension, arch)
    once, twice = (
        search.sweep(x, codebook, metric, torch.empty(1, 256, dtype=torch.int64), each).entry[0]
        for each in (config._replace(again=None), config)
    )
    certified = (once < -1) & (twice >= 0)
    assert certified.double().mean() > 0.25
    assert torch.equal(twice[certified], scores(x, codebook, metric).argmin(1)[certified])


@pytest.mark.parametrize("block", [128, 256])
def test_wide_rows_of_a_second_sweep(block, as_on, in_one_part, monkeypatch, device):
    """Where its tiles are half as long, what lies in the second half of a first sweep's tile is not forgotten."""
    as_on("sm_90")
    config = search.search_config(64, "sm_90")
    assert config.block_k == 256
    config = config._replace(again=config.again._replace(block_k=block))
    monkeypatch.setattr(search, "search_config", lambda *_: config)
    monkeypatch.setattr(search, "FEW", 0)
    torch.manual_seed(6)
    codebook, x = 3 * torch.randn(1024, 64), torch.randn(1, 40, 64)
    halves = torch.arange(1024).view(4, 2, 128)[:, 1].flatten()
    for n, places in enumerate(halves[torch.randperm(512)[:60]].view(5, 12)):
        away = torch.nn.functional.normalize(torch.randn(12, 64), dim=1)
        codebook[places] = x[0, 8 * n] + (1 + 1e-7 * torch.randn(12, 1)) * away  # one of those settled together
    assert listed(swept(x[0], codebook))[0][::8].all()
    check_indices(nearest_code(x, codebook), x, codebook)


def test_few_open_rows_are_not_swept_again(as_on, monkeypatch, device):
    as_on("sm_90")
    torch.manual_seed(5)
    codebook, x = torch.randn(600, 64), torch.randn(1, 640, 64)
    for n in range(30):
        codebook[n + 300] = 2 * x[0, n] - codebook[n]
    config = search.search_config(64, "sm_90")

    def entries(config: configuration.SearchConfig) -> torch.Tensor:
        return search.sweep(x, codebook, "euclidean", torch.empty(1, 640, dtype=torch.int64), config).entry[0]

    once = entries(config._replace(again=None))
    monkeypatch.setattr(search, "FEW", int((once < -1).sum()) + 1)
    assert torch.equal(entries(config), once)
    monkeypatch.setattr(search, "FEW", int((once < -1).sum()))
    assert not torch.equal(entries(config), once)


@pytest.mark.parametrize("dimension", [1, 2, 64])
def test_rows_that_overflow_in_being_scaled(dimension, device):
    """The nine codes that scale the others lie 38 powers of ten closer together than they do."""
    torch.manual_seed(0)
    codebook = torch.linspace(120, 400, 100)[:, None].repeat(1, dimension)
    for i in range(9):
        codebook[i * 100 // 9] = 1e-38 * torch.randn(dimension)
    x = torch.linspace(125, 390, 16)[:, None].repeat(1, dimension)[None]
    check_indices(nearest_code(x.to(device), codebook.to(device)), x, codebook)


@pytest.mark.parametrize("scale", [1e17, 1e-17])
def test_codes_whose_squares_leave_float32(scale, device):
    torch.manual_seed(0)
    codebook = scale * torch.randn(100, 16)
    codebook[37] = 1e3 * scale
    x = codebook[None, 30:45] * (1 + 1e-3 * torch.randn(1, 15, 16))
    found = nearest_code(x.to(device), codebook.to(device)).cpu()[0]
    assert torch.equal(found, torch.arange(30, 45))
