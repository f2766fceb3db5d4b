"""`aevae-fast check`: right on this machine, and not blind: each kind of mistake turns it red."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from aevae_fast import functional, reference
from aevae_fast.cli import _checks
from aevae_fast.cli._cases import DATA, LAYOUTS, Case, lay_out
from aevae_fast.cli._gaussian_cases import GaussianCase
from aevae_fast.cli._gaussian_checks import check_gaussian_kl, check_reparameterize_kl
from aevae_fast.cli._mixture_checks import MixtureCase, check_gaussian_logsumexp, mixture_cases
from aevae_fast.cli._scalar_checks import (
    LevelsCase,
    SignsCase,
    check_finite_scalar_quantize,
    check_lookup_free_quantize,
    levels_cases,
    signs_cases,
)
from aevae_fast.cli._verdict import error_share, wrong_indices
from aevae_fast.cli.app import run

CPU = torch.device("cpu")
CASE = Case("normal", 69, 5, 20, torch.float32)


def test_everything_is_right_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "--quick", "--device", "cpu"]) == 0
    shown = capsys.readouterr().out
    assert "cases are right" in shown
    operations = ("nearest_code", "vector_quantize", "vector_quantize, backward", "codebook_statistics", "ema_update_")
    others = ("rotate_to, backward", "gaussian_kl", "reparameterize_kl", "gaussian_logsumexp", "residual_statistics")
    for operation in (*operations, *others):
        assert operation in shown


@pytest.mark.parametrize(
    "arguments", [["--impl", "triton"], ["--impl", "magic"], ["--device", "cuda"], ["--device", "gpu"]], ids=str
)
def test_what_cannot_run_here_is_said_in_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run(["check", "--quick", *arguments]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def shift_index(indices: Tensor) -> Tensor:
    return torch.cat([(indices[:1] + 1) % CASE.codes, indices[1:]])


def scale_last(*results: Tensor) -> tuple[Tensor, ...]:
    return *results[:-1], results[-1] * (1 + 1e-4)


def one_more(counts: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
    return counts + 1, sums


@pytest.mark.parametrize(
    ("check", "operation", "spoil"),
    [
        pytest.param(_checks.check_nearest_code, "nearest_code", shift_index, id="index"),
        pytest.param(_checks.check_vector_quantize, "vector_quantize", scale_last, id="loss"),
        pytest.param(_checks.check_statistics, "codebook_statistics", scale_last, id="sums"),
        pytest.param(_checks.check_statistics, "codebook_statistics", one_more, id="counts"),
    ],
)
def test_a_mistake_is_seen(
    check: Callable[..., Any], operation: str, spoil: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = getattr(functional, operation)

    def wrong(*args: Any, impl: str | None = None, **options: Any) -> Any:
        found = right(*args, impl=impl, **options)
        if impl == "reference":
            return found
        return spoil(*found) if isinstance(found, tuple) else spoil(found)

    assert all(result.passed for result in check(CASE, CPU, None))
    monkeypatch.setattr(functional, operation, wrong)
    assert not all(result.passed for result in check(CASE, CPU, None))


GAUSSIAN = GaussianCase(32, 6, torch.float32)


def shift_noise(z: Tensor, kl: Tensor) -> tuple[Tensor, Tensor]:
    return z.roll(1, 0), kl


def lose_a_gradient(z: Tensor, kl: Tensor) -> tuple[Tensor, Tensor]:
    return z.detach() + 0 * z, kl


@pytest.mark.parametrize("case", [GAUSSIAN, GAUSSIAN._replace(samples=2, reduction="none")], ids=str)
@pytest.mark.parametrize(
    ("check", "operation", "spoil"),
    [
        pytest.param(check_gaussian_kl, "gaussian_kl", lambda kl: kl * (1 + 1e-4), id="kl"),
        pytest.param(check_gaussian_kl, "gaussian_kl", lambda kl: kl.detach() + 2 * (kl - kl.detach()), id="gradient"),
        pytest.param(check_reparameterize_kl, "reparameterize_kl", scale_last, id="kl_beside_z"),
        pytest.param(check_reparameterize_kl, "reparameterize_kl", shift_noise, id="noise"),
        pytest.param(check_reparameterize_kl, "reparameterize_kl", lose_a_gradient, id="gradient_through_z"),
    ],
)
def test_a_mistake_with_a_gaussian_is_seen(
    check: Callable[..., Any],
    operation: str,
    spoil: Callable[..., Any],
    case: GaussianCase,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = getattr(functional, operation)

    def wrong(mean: Tensor, *args: Any, **options: Any) -> Any:
        found = right(mean, *args, **options)
        if not mean.any():  # N(0, 1), which only tells the noise
            return found
        return spoil(*found) if isinstance(found, tuple) else spoil(found)

    assert all(result.passed for result in check(case, CPU, None))
    monkeypatch.setattr(functional, operation, wrong)
    assert not all(result.passed for result in check(case, CPU, None))


def test_kernels_that_draw_other_noise_than_the_reference_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    right, results = functional.reparameterize_kl, {}

    def rolled(*args: Any, impl: str | None = None, **options: Any) -> Any:
        z, kl = right(*args, impl=impl, **options)
        return (z.roll(1, 0), kl) if impl == "triton" else (z, kl)

    for name, operation in (("right", right), ("wrong", rolled)):
        monkeypatch.setattr(functional, "reparameterize_kl", operation)
        results[name] = {r.operation: r.passed for r in check_reparameterize_kl(GAUSSIAN, CPU, "triton")}
    assert all(results["right"].values())
    assert not results["wrong"]["reparameterize_kl, noise"]


def test_a_kl_that_hides_what_is_not_finite_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = functional.gaussian_kl
    monkeypatch.setattr(functional, "gaussian_kl", lambda *args, **options: right(*args, **options).nan_to_num())
    assert not all(result.passed for result in check_gaussian_kl(GAUSSIAN._replace(finite=False), CPU, None))


def test_a_wrong_case_gives_exit_status_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(_checks, "plan", lambda quick, device: [lambda *_: [_checks.Result("an op", CASE, 0.1, 1.5)]])
    assert run(["check"]) == 1
    assert "1 of 1 cases are wrong" in capsys.readouterr().out


def test_which_indices_are_wrong() -> None:
    codebook = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 1e-9], [5.0, 5.0]])
    x = torch.tensor([[0.9, 0.0]]).repeat(6, 1)
    chosen, best = torch.tensor([1, 2, 3, 0, -1, 5]), torch.full((6,), 1)
    # The best; its double, which must lose; closer than rounding, which may win; farther; none; out of range.
    expected = [False, True, False, True, True, True]
    assert wrong_indices(x, codebook, chosen, best, "euclidean").tolist() == expected
    not_finite = wrong_indices(x[:2] * torch.nan, codebook, torch.tensor([-1, 1]), torch.full((2,), -1), "euclidean")
    assert not_finite.tolist() == [False, True]


def test_exact_ties_go_to_the_lowest_index() -> None:
    x, codebook = torch.zeros(2, 2), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    wrong = wrong_indices(x, codebook, torch.tensor([0, 1]), torch.zeros(2, dtype=torch.long), "euclidean")
    assert wrong.tolist() == [False, True]


def test_error_share() -> None:
    truth = torch.ones(3, dtype=torch.float64)
    assert error_share((truth, truth, truth), 0.0) == 0
    assert error_share((truth + 0.5, truth + 0.2, truth), 0.05) == pytest.approx(2)
    assert not error_share((truth * torch.nan, truth, truth), 0.1) <= 1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_hold_the_same_rows(layout: str) -> None:
    rows = torch.randn(24, 5)
    x, dim = lay_out(rows, layout)
    assert torch.equal(_checks.rows_of(x, dim), rows)


@pytest.mark.parametrize("data", DATA)
def test_data_keeps_its_promise(data: str) -> None:
    x, codebook, _ = Case(data, 40, 6, 16, torch.float32).draw(CPU)
    assert x.shape == (40, 6)
    assert codebook.shape == (16, 6)
    rows = reference.nearest_code(x, codebook)
    if data == "duplicates":
        assert rows.max() < 8
    assert (rows == -1).any() == (data == "not finite")


MIXTURE = MixtureCase(20, 12, 3, torch.float32)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda joint, marginals: (joint * (1 + 1e-4), marginals), id="joint"),
        pytest.param(scale_last, id="marginals"),
        pytest.param(
            lambda joint, marginals: (joint.detach() + 1.001 * (joint - joint.detach()), marginals), id="gradient"
        ),
    ],
)
def test_a_mistake_with_a_mixture_is_seen(spoil: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    right = functional.gaussian_logsumexp
    assert all(result.passed for result in check_gaussian_logsumexp(MIXTURE, CPU, None))
    monkeypatch.setattr(functional, "gaussian_logsumexp", lambda *args, **options: spoil(*right(*args, **options)))
    assert not all(result.passed for result in check_gaussian_logsumexp(MIXTURE, CPU, None))


@pytest.mark.parametrize("impl", [None, "triton"])
def test_mixtures_are_right_here(impl: Any) -> None:
    """Every quick case; of the kernels, under the interpreter, the hard data."""
    for case in mixture_cases(True):
        if impl is None or case.data != "normal":
            assert all(result.passed for result in check_gaussian_logsumexp(case, CPU, impl)), case


SIGNS = SignsCase(64, 6, torch.float32)


def spoil_losses(found: Any, **changes: Callable[[Tensor], Tensor]) -> Any:
    return found._replace(**{name: change(getattr(found, name)) for name, change in changes.items()})


@pytest.mark.parametrize(
    ("check", "case", "spoil"),
    [
        pytest.param(
            check_finite_scalar_quantize,
            LevelsCase(64, (8, 5), torch.float32),
            lambda quantized, indices: (quantized, indices.roll(1)),
            id="index of levels",
        ),
        pytest.param(
            check_finite_scalar_quantize,
            LevelsCase(64, (8, 5), torch.float32),
            lambda quantized, indices: (quantized.detach() + 1.0001 * (quantized - quantized.detach()), indices),
            id="gradient of levels",
        ),
        pytest.param(
            check_lookup_free_quantize,
            SIGNS,
            lambda *found: spoil_losses(functional.LookupFree(*found), indices=lambda t: t ^ 1),
            id="bit",
        ),
        pytest.param(
            check_lookup_free_quantize,
            SIGNS,
            lambda *found: spoil_losses(functional.LookupFree(*found), batch_entropy=lambda t: t * (1 + 1e-5)),
            id="entropy",
        ),
        pytest.param(
            check_lookup_free_quantize,
            SIGNS,
            lambda *found: spoil_losses(functional.LookupFree(*found), commitment=lambda t: t.detach() + 0 * t),
            id="gradient of the commitment",
        ),
    ],
)
def test_a_mistake_with_a_scalar_quantizer_is_seen(
    check: Callable[..., Any], case: Any, spoil: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    operation = "finite_scalar_quantize" if isinstance(case, LevelsCase) else "lookup_free_quantize"
    right = getattr(functional, operation)

    def wrong(x: Tensor, *args: Any, impl: str | None = None, **options: Any) -> Any:
        found = right(x, *args, impl=impl, **options)
        return found if impl == "reference" or x.dtype == torch.float64 else spoil(*found)

    assert all(result.passed for result in check(case, CPU, None))
    monkeypatch.setattr(functional, operation, wrong)
    assert not all(result.passed for result in check(case, CPU, None))


def test_scalar_quantizers_are_right_here_under_the_interpreter() -> None:
    pytest.importorskip("triton")
    for case in [case for case in levels_cases(True) if case.dtype == torch.float32]:
        assert all(result.passed for result in check_finite_scalar_quantize(case, CPU, "triton")), case
    for case in [case for case in signs_cases(True) if case.dtype == torch.float32]:
        assert all(result.passed for result in check_lookup_free_quantize(case, CPU, "triton")), case
