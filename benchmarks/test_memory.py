"""Peak memory of one call beyond its inputs. Neither search nor mixture nor lookup-free codes may hold
anything that grows with N·K."""

import sys
from collections.abc import Callable
from typing import Any

import pytest

from . import cases
from .mixture_providers import PROVIDERS as MIXTURE
from .scalar_providers import LFQ
from .search_providers import missing

_ALLOWED = 64 << 20  # bytes: a search's [N, K] matrix alone would be 4 GiB, a mixture's [N, K, D] tensor too

Peak = Callable[[str, str, cases.AnyCase], int]
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="reads the high-water mark from Linux's /proc")


def _cases(kind: dict[str, list[Any]], config: pytest.Config) -> list[Any]:
    return kind["smoke" if config.getoption("--smoke") else config.getoption("--bench-device")]


@needs_proc
@pytest.mark.parametrize("provider", ["aevae_fast", "cdist + argmin"])
def test_search(peak: Peak, pytestconfig: pytest.Config, provider: str) -> None:
    for case in _cases(cases.SEARCH_MEMORY, pytestconfig):
        used = peak("search", provider, case)
        if provider == "aevae_fast":
            assert used < _ALLOWED


@needs_proc
@pytest.mark.parametrize("provider", ["aevae_fast", "vector-quantize-pytorch"])
def test_training_step(peak: Peak, pytestconfig: pytest.Config, provider: str) -> None:
    if provider != "aevae_fast" and (why := missing("vector_quantize_pytorch")):
        pytest.skip(why)
    for case in _cases(cases.STEP_MEMORY, pytestconfig):
        peak("step", provider, case)


@needs_proc
@pytest.mark.parametrize("provider", ["aevae_fast", "eager"])
def test_latent(peak: Peak, pytestconfig: pytest.Config, provider: str) -> None:
    for case in _cases(cases.LATENT_MEMORY, pytestconfig):
        peak("latent", provider, case)


@needs_proc
@pytest.mark.parametrize("provider", ["aevae_fast", "eager"])
def test_mixture(peak: Peak, pytestconfig: pytest.Config, provider: str) -> None:
    """Eager holds several [N, K, D] tensors: measured where they fit."""
    for case in _cases(cases.MIXTURE_MEMORY, pytestconfig):
        if MIXTURE[provider].obstacle(case, pytestconfig.getoption("--bench-device")):
            continue
        used = peak("mixture", provider, case)
        if provider == "aevae_fast":
            assert used < _ALLOWED


@needs_proc
@pytest.mark.parametrize("provider", ["aevae_fast", "vector-quantize-pytorch"])
def test_residual_step(peak: Peak, pytestconfig: pytest.Config, provider: str) -> None:
    if provider != "aevae_fast" and (why := missing("vector_quantize_pytorch")):
        pytest.skip(why)
    for case in _cases(cases.RESIDUAL, pytestconfig):
        peak("residual step", provider, case)


@needs_proc
@pytest.mark.parametrize("provider", ["aevae_fast", "vector-quantize-pytorch"])
@pytest.mark.parametrize("kind", ["fsq", "lfq"])
def test_scalar_quantizers(peak: Peak, pytestconfig: pytest.Config, kind: str, provider: str) -> None:
    """The peer's lookup-free codes hold several [N, 2^bits] tensors: measured where they fit."""
    if provider != "aevae_fast" and (why := missing("vector_quantize_pytorch")):
        pytest.skip(why)
    for case in _cases(cases.FSQ_MEMORY if kind == "fsq" else cases.LFQ_MEMORY, pytestconfig):
        if kind == "lfq" and LFQ[provider].obstacle(case, pytestconfig.getoption("--bench-device")):
            continue
        used = peak(kind, provider, case)
        if kind == "lfq" and provider == "aevae_fast":
            assert used < _ALLOWED
