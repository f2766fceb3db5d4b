"""Each provider, once, on tiny sizes: what is timed does find the codes."""

import pytest
import torch

from aevae_fast import functional, reference
from benchmarks import (
    latent_providers,
    mixture_providers,
    open_providers,
    scalar_providers,
    search_providers,
    step_providers,
)
from benchmarks.cases import ALL, Case, LatentCase, MixtureCase, OpenCase, ScalarCase, parse

CASE = Case(300, 8, 50)
CPU = torch.device("cpu")


def excess_distance(x: torch.Tensor, codebook: torch.Tensor, indices: torch.Tensor) -> float:
    """How much farther than the nearest code the chosen ones are, at most: peers round more than ours does."""
    best = reference.nearest_code(x.double(), codebook.double())
    chosen, least = ((x.double() - codebook[found]).square().sum(-1) for found in (indices, best))
    return float((chosen - least).max())


@pytest.mark.parametrize("name", search_providers.PROVIDERS)
def test_search_providers_find_the_nearest_code(name: str) -> None:
    provider = search_providers.PROVIDERS[name]
    if why := provider.obstacle(CASE, "cpu"):
        pytest.skip(why)
    x, codebook = CASE.draw(CPU)
    found = provider.prepare(x, codebook)()
    if not provider.finds_codes:
        assert found.shape == (CASE.rows, CASE.codes)
    else:
        assert found.shape == (CASE.rows,)
        assert excess_distance(x, codebook, found.long()) <= 1e-4


def exactly(x: torch.Tensor, codebook: torch.Tensor) -> torch.Tensor:
    return (x.double()[:, None] - codebook.double()).square().sum(-1).argmin(1)


@pytest.mark.parametrize("name", open_providers.PROVIDERS)
@pytest.mark.parametrize("dim", [8, 40])
def test_providers_for_rows_that_stay_open_compare_exactly(name: str, dim: int) -> None:
    x, codebook = OpenCase(700, dim, 50).draw(CPU)
    assert torch.equal(open_providers.PROVIDERS[name].prepare(x, codebook)(), exactly(x, codebook))


@pytest.mark.parametrize("dim", [8, 40, 70])
def test_the_kernel_that_settles_compares_every_code_by_itself(dim: int) -> None:
    """As the benchmark calls it on a GPU; and of its data the sweep certifies no row."""
    from aevae_fast.kernels.search import sweep

    x, codebook = OpenCase(600, dim, 50).draw(CPU)
    assert torch.equal(open_providers._by_kernel(x, codebook)(), exactly(x, codebook))
    indices = torch.empty(1, len(x), dtype=torch.int64)
    assert int((sweep(x[None], codebook, "euclidean", indices).entry >= 0).sum()) == 0


@pytest.mark.parametrize("name", step_providers.PROVIDERS)
def test_step_providers_move_the_codebook_once_a_call(name: str) -> None:
    provider = step_providers.PROVIDERS[name]
    if why := provider.obstacle(CASE, "cpu"):
        pytest.skip(why)
    x, codebook = CASE.draw(CPU)
    step = provider.prepare(x, codebook)
    assert excess_distance(x, codebook, step()) <= 1e-4
    expected = reference_step(x, codebook)
    assert excess_distance(x, expected, step()) <= 1e-4


def reference_step(x: torch.Tensor, codebook: torch.Tensor) -> torch.Tensor:
    counts, sums = reference.codebook_statistics(x, reference.nearest_code(x, codebook), len(codebook))
    return reference.ema_update(codebook, torch.ones(len(codebook)), codebook, counts, sums)[0]


@pytest.mark.parametrize("name", latent_providers.PROVIDERS)
def test_latent_providers_take_the_same_step(name: str) -> None:
    provider = latent_providers.PROVIDERS[name]
    case = LatentCase(300, 8)
    if why := provider.obstacle(case, "cpu"):
        pytest.skip(why)
    x, upstream = case.draw(CPU)
    step = provider.prepare(x, upstream)
    exact = functional.gaussian_kl(*x.double().chunk(2, 1))
    for _ in range(2):
        assert float(step()) == pytest.approx(float(exact), rel=1e-5)
        latent_providers.refuse_wrong(step(), x, upstream)
    with pytest.raises(ArithmeticError, match="aevae_fast found a KL"):
        latent_providers.refuse_wrong(step() * 1.001, x, upstream)


@pytest.mark.parametrize("name", mixture_providers.PROVIDERS)
def test_mixture_providers_find_the_density(name: str) -> None:
    provider = mixture_providers.PROVIDERS[name]
    case = MixtureCase(30, 8, 20)
    if why := provider.obstacle(case, "cpu"):
        pytest.skip(why)
    z, mean, logvar, *upstream = case.draw(CPU)
    joint = provider.prepare(z, mean, logvar, *upstream)()
    exact, _ = reference.gaussian_logsumexp(z.double(), mean.double(), logvar.double())
    torch.testing.assert_close(joint.double(), exact, rtol=1e-5, atol=1e-5)
    mixture_providers.refuse_wrong(joint, z, mean, logvar, *upstream)
    with pytest.raises(ArithmeticError, match="aevae_fast is off by"):
        mixture_providers.refuse_wrong(joint * 1.001, z, mean, logvar, *upstream)


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in ("FSQ", "LFQ") for name in getattr(scalar_providers, kind)]
)
def test_scalar_providers_find_the_codes(kind: str, name: str) -> None:
    provider, case = getattr(scalar_providers, kind)[name], ScalarCase(300, 6)
    if why := provider.obstacle(case, "cpu"):
        pytest.skip(why)
    x, upstream = case.draw(CPU)
    indices = provider.prepare(x, upstream)()
    refuse = scalar_providers.refuse_wrong_levels if kind == "FSQ" else scalar_providers.refuse_wrong_signs
    refuse(indices.long(), x, upstream)
    with pytest.raises(ArithmeticError, match="aevae_fast found wrong codes"):
        refuse(indices.long() ^ 1, x, upstream)


def test_cases_are_read_back() -> None:
    for case in (Case(3, 4, 5, "bf16"), OpenCase(3, 4, 5), LatentCase(3, 4), MixtureCase(3, 4, 5), ScalarCase(3, 4)):
        assert parse(str(case)) == case
        assert type(parse(str(case))) is type(case)


def test_every_case_is_listed_once() -> None:
    for group in ALL:
        assert set(group) == {"cpu", "cuda", "smoke"}
        assert all(len(set(listed)) == len(listed) for listed in group.values())
