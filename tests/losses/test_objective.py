"""`Objective`: by name and options, in eval, compiled, in float64, and what it says of terms that do not fit."""

import json
from typing import Any

import pytest
import torch
from torch import Tensor

from aevae_fast.losses import (
    OBJECTIVES,
    LinearSchedule,
    Objective,
    Terms,
    make_objective,
    total_correlation_terms,
)

RISE = {"name": "linear", "start": 0.0, "end": 4.0, "steps": 10}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "beta_tcvae": ("beta_tcvae", {"dataset_size": 30}),
    "beta_tcvae_stratified": ("beta_tcvae", {"dataset_size": 30, "beta": RISE, "sampling": "stratified"}),
    "beta_tcvae_ports": ("beta_tcvae", {"dataset_size": 30, "alpha": 0, "sampling": "stratified", "compat": "ports"}),
    "dip_vae_i": ("dip_vae", {"kind": "i", "lambda_od": RISE}),
    "dip_vae_ii": ("dip_vae", {"kind": "ii", "lambda_od": 2.0, "lambda_d": 3.0}),
    "info_vae": ("info_vae", {"alpha": -0.5, "lambda_mmd": 5.0, "scales": [0.5, 2.0]}),
    "wae": ("wae", {"lambda_mmd": RISE, "kernel": "rbf", "bandwidth": 3.0}),
}


def make(case: str) -> Objective:
    name, options = CASES[case]
    return make_objective(name, **options)


def leaves(dtype: torch.dtype = torch.float32, batch: int = 5) -> list[Tensor]:
    """log-likelihood, kl, z, mean and logvar, the last three of a latent of 3."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(batch,), (batch,), (batch, 3), (batch, 3), (batch, 3)]
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


def loss(objective: Any, tensors: Any, step: int = 7) -> Tensor:
    torch.manual_seed(0)
    return objective(Terms(*tensors, torch.tensor(step)))


def test_every_objective_is_under_test() -> None:
    assert {name for name, _ in CASES.values()} == set(OBJECTIVES)


@pytest.mark.parametrize("case", CASES)
def test_options_as_json_build_it_again(case: str) -> None:
    objective = make(case)
    again = make_objective(objective.name, **json.loads(json.dumps(objective.options())))
    assert again.options() == objective.options()
    assert torch.equal(loss(again, leaves()), loss(objective, leaves()))
    assert make_objective(objective) is objective
    assert all(f"{name}=" in repr(objective) for name in objective.options())


@pytest.mark.parametrize("case", CASES)
def test_eval_is_minus_the_elbo_of_any_batch(case: str) -> None:
    """A batch of one, where training could estimate nothing."""
    objective, tensors = make(case).eval(), leaves(batch=1)
    assert torch.equal(loss(objective, tensors), (tensors[1] - tensors[0])[0])


@pytest.mark.parametrize("case", CASES)
def test_an_empty_batch_is_0_and_keeps_its_graph(case: str) -> None:
    tensors = leaves(batch=0)
    found = loss(make(case), tensors)
    assert found == 0
    assert all(gradient.shape == (0,) for gradient in torch.autograd.grad(found, tensors[:2]))


@pytest.mark.parametrize("case", CASES)
def test_gradients_by_differences(case: str) -> None:
    objective = make(case)
    assert torch.autograd.gradcheck(lambda *t: loss(objective, t), leaves(torch.float64))


@pytest.mark.parametrize("case", CASES)
def test_compiles_whole_and_once_for_all_steps(case: str) -> None:
    torch._dynamo.reset()
    objective = make(case)
    compiled = torch.compile(objective, fullgraph=True, backend="aot_eager")
    for step in (2, 7):
        with torch._dynamo.config.patch(error_on_recompile=step == 7):
            results = []
            for run in (compiled, objective):
                tensors = leaves()
                value = loss(run, tensors, step)
                results.append([value, *torch.autograd.grad(value, tensors, allow_unused=True)])
        torch.testing.assert_close(*results)


def test_beta_tcvae_weighs_the_three_terms() -> None:
    tensors = leaves()
    options: dict[str, Any] = {"dataset_size": 30, "alpha": 2.0, "beta": LinearSchedule(0.0, 10.0, 10), "gamma": 0.5}
    found = loss(make_objective("beta_tcvae", **options), tensors, step=3)
    parts = total_correlation_terms(*tensors[2:], 30)
    expected = 2 * parts[0] + 3 * parts[1] + 0.5 * parts[2] - tensors[0].mean()
    torch.testing.assert_close(found, expected)


BAD: dict[str, tuple[type[Exception], str, Any]] = {
    "unknown": (ValueError, "objective must be one of 'beta_tcvae', .*; got 'x'", lambda: make_objective("x")),
    "type": (TypeError, "objective must be a name or an Objective; got int", lambda: make_objective(3)),  # type: ignore[arg-type]
    "options_of_a_module": (
        ValueError,
        "takes no options; got alpha",
        lambda: make_objective(make("dip_vae_i"), alpha=1),
    ),
    "missing_option": (TypeError, "dataset_size", lambda: make_objective("beta_tcvae")),
    "negative": (
        ValueError,
        "beta: expected a finite number, 0 or more, got -1",
        lambda: make_objective("beta_tcvae", dataset_size=9, beta=-1),
    ),
    "negative_schedule": (
        ValueError,
        "gamma: expected a finite number, 0 or more, got -4",
        lambda: make_objective("beta_tcvae", dataset_size=9, gamma={**RISE, "end": -4.0}),
    ),
    "dataset": (ValueError, "dataset_size must be at least 2", lambda: make_objective("beta_tcvae", dataset_size=1)),
    "no_moments": (
        ValueError,
        "terms must have mean and logvar: .*; got None",
        lambda: loss(make("dip_vae_i"), [*leaves()[:3], None, None]),
    ),
    "not_flat": (
        ValueError,
        r"z must have shape \[5, D\], .*; got \(5, 3, 2\)",
        lambda: loss(make("wae"), [*leaves()[:2], torch.zeros(5, 3, 2), None, None]),
    ),
    "mean_of_another_shape": (
        ValueError,
        r"mean must have shape \[5, D\], .*; got \(5, 2\)",
        lambda: loss(make("dip_vae_i"), [*leaves()[:3], torch.zeros(5, 2), torch.zeros(5, 2)]),
    ),
    "scalar_kl": (
        ValueError,
        "kl must have log_likelihood's shape",
        lambda: loss(make("wae"), [leaves()[0], leaves()[1].mean(), *leaves()[2:]]),
    ),
    "batch_of_1": (ValueError, "at least 2", lambda: loss(make("beta_tcvae"), leaves(batch=1))),
    "wae_of_1": (ValueError, "at least 2", lambda: loss(make("wae"), leaves(batch=1))),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case: str) -> None:
    kind, message, call = BAD[case]
    with pytest.raises(kind, match=message):
        call()
