"""nearest_code against float64 brute force."""

import pytest
import torch

from aevae_fast.kernels.nearest_code import nearest_code

from .cases import ADVERSARIAL, DTYPES, adversarial, check_indices, scores, view

SHAPES = [  # each is there for a path: name, B, S, D, K
    pytest.param(1, 5, 1, 1, id="one code of one number"),
    pytest.param(1, 130, 3, 2, id="D below a sector, two blocks of rows"),
    pytest.param(2, 33, 8, 100, id="D of one sector, batch boundary inside a block"),
    pytest.param(1, 40, 17, 33, id="D one past a tensor-core step, K tail"),
    pytest.param(1, 50, 64, 1024, id="several tiles"),
    pytest.param(1, 20, 100, 100, id="D padded to a power of two"),
    pytest.param(3, 7, 256, 300, id="D in whole blocks"),
    pytest.param(1, 9, 768, 100, id="D in blocks"),
    pytest.param(1, 3, 1000, 33, id="D in blocks with a tail"),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("batch", "length", "dimension", "size"), SHAPES)
def test_exact(batch, length, dimension, size, dtype, device):
    torch.manual_seed(0)
    x = torch.randn(batch, length, dimension).to(DTYPES[dtype]).to(device)
    codebook = torch.randn(size, dimension).to(device)
    indices = nearest_code(x, codebook, "euclidean")
    assert indices.shape == (batch, length)
    check_indices(indices, x, codebook)


@pytest.mark.parametrize("layout", ["rows", "channels", "slice"])
@pytest.mark.parametrize("metric", ["euclidean", "cosine", "dot"])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_metrics_and_strides(metric, layout, dtype, device):
    torch.manual_seed(1)
    x = view(torch.randn(2, 45, 24).to(DTYPES[dtype]).to(device), layout)
    codebook = torch.randn(300, 24).to(device) * torch.rand(300, 1).to(device)
    check_indices(nearest_code(x, codebook, metric), x, codebook, metric)


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "dot"])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ADVERSARIAL)
def test_adversarial(name, dtype, metric, device):
    rows, codebook = adversarial(name)
    x, codebook = rows.to(DTYPES[dtype]).to(device), codebook.to(device)
    check_indices(nearest_code(x, codebook, metric), x, codebook, metric)


@pytest.mark.parametrize("name", ["duplicated codes", "one code everywhere", "midway"])
def test_ties_go_to_the_lowest_index(name, device):
    rows, codebook = adversarial(name)
    rows = rows.round() if name == "midway" else rows
    truth = scores(rows, codebook, "euclidean")
    indices = nearest_code(rows.to(device), codebook.to(device), "euclidean").cpu()[0]
    first = torch.stack([torch.nonzero(row == row.min())[0, 0] for row in truth])
    assert torch.equal(indices, first)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_rows_that_are_not_finite(bad, device):
    torch.manual_seed(2)
    x, codebook = torch.randn(1, 40, 20).to(device), torch.randn(50, 20).to(device)
    expected = nearest_code(x, codebook, "euclidean")
    x[0, 3, 19] = bad
    x[0, 39] = bad
    indices = nearest_code(x, codebook, "euclidean")
    expected[0, 3] = expected[0, 39] = -1
    assert torch.equal(indices, expected)


@pytest.mark.parametrize("shape", [(0, 5), (3, 0)])
def test_empty(shape, device):
    assert nearest_code(torch.empty(*shape, 4, device=device), torch.randn(7, 4, device=device)).shape == shape


def test_unknown_metric(device):
    with pytest.raises(ValueError, match="metric"):
        nearest_code(torch.zeros(1, 1, 2, device=device), torch.zeros(1, 2, device=device), "manhattan")
