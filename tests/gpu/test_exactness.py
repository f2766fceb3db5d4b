"""Full-size searches on the device against the float64 reference: not one wrong index."""

import pytest
import torch

from aevae_fast.cli._cases import ADVERSARIAL, DTYPES, LAYOUTS, METRICS, SHAPES, Case
from aevae_fast.cli._checks import check_nearest_code, check_statistics, check_vector_quantize

from . import CUDA, NEEDS_CUDA

pytestmark = NEEDS_CUDA


def assert_right(case: Case) -> None:
    (result,) = check_nearest_code(case, CUDA, "triton")
    assert result.passed, f"{result.wrong} wrong indices: {case}"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("data", ADVERSARIAL)
def test_adversarial_sets(data: str, dtype: torch.dtype) -> None:
    assert_right(Case(data, 65536, *ADVERSARIAL[data], dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("metric", METRICS)
def test_metrics_on_duplicated_codes(metric: str, dtype: torch.dtype) -> None:
    assert_right(Case("duplicates", 65536, 64, 1024, dtype, metric))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_large_codebook(dtype: torch.dtype) -> None:
    assert_right(Case("normal", 65536, 256, 16384, dtype))


@pytest.mark.parametrize(("dim", "codes"), SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_shapes(dim: int, codes: int, dtype: torch.dtype) -> None:
    assert_right(Case("normal", 4099, dim, codes, dtype))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_step_in_every_layout(layout: str, dtype: torch.dtype) -> None:
    case = Case("normal", 16384, 64, 1024, dtype, layout=layout)
    for check in (check_vector_quantize, check_statistics):
        for result in check(case, CUDA, "triton"):
            assert result.passed, result
