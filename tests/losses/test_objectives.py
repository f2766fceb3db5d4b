"""The ELBO, the β-VAE's loss, bits per dimension and the balanced KL."""

from typing import Any

import pytest
import torch
from torch import Tensor

from aevae_fast import functional
from aevae_fast.losses import (
    BernoulliLikelihood,
    CategoricalLikelihood,
    balanced_kl,
    beta_vae_loss,
    bits_per_dim,
    elbo,
)

LL, KL = torch.tensor([-90.0, -110]), torch.tensor([20.0, 30])


def test_beta_and_capacity() -> None:
    assert torch.equal(elbo(LL, KL), torch.tensor([-110.0, -140]))
    assert beta_vae_loss(LL, KL) == -elbo(LL, KL).mean() == 125
    assert beta_vae_loss(LL, KL, beta=4) == 100 + 4 * 25
    assert beta_vae_loss(LL, KL, beta=torch.tensor(0.0)) == 100
    for capacity in (5.0, torch.tensor(45.0)):
        assert beta_vae_loss(LL, KL, beta=10, capacity=capacity) == 100 + 10 * 20
    below = KL.clone().requires_grad_()
    beta_vae_loss(LL, below, beta=3, capacity=26.0).backward()
    assert torch.equal(below.grad, torch.tensor([-1.5, -1.5]))  # the batch's mean, 25, is below: both are pushed up


def test_bits_per_dim_of_a_fair_coin_and_of_uniform_levels() -> None:
    decoded, x = torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4)
    nats = -BernoulliLikelihood().log_prob(decoded, x)
    torch.testing.assert_close(bits_per_dim(nats, 48), torch.ones(2))
    nats = -CategoricalLikelihood().log_prob(torch.zeros(2, 768, 4, 4), x)
    torch.testing.assert_close(bits_per_dim(nats, 48), torch.full((2,), 8.0))


@pytest.mark.parametrize("balance", [0.0, 0.8, 1.0])
@pytest.mark.parametrize("reduction", ["none", "latent", "batch"])
def test_balanced_kl_is_the_papers_weighted_pair(balance: float, reduction: str) -> None:
    torch.manual_seed(0)
    q = [torch.randn(5, 4, dtype=torch.float64, requires_grad=True) for _ in "ms"]
    p = [torch.randn(1, 4, dtype=torch.float64, requires_grad=True) for _ in "ms"]
    options: dict[str, Any] = {"reduction": reduction, "clamp": (-1.5, 1.5), "free_bits": 0.1}

    def still(tensors: list[Tensor]) -> list[Tensor]:
        return [tensor.detach() for tensor in tensors]

    kl = [functional.gaussian_kl(*pair[0], *pair[1], **options) for pair in ((still(q), p), (q, still(p)))]
    expected = balance * kl[0] + (1 - balance) * kl[1]
    ours = balanced_kl(*q, *p, balance=balance, **options)
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(ours, functional.gaussian_kl(*q, *p, **options), rtol=0, atol=0)
    weight = torch.linspace(1, 2, ours.numel(), dtype=torch.float64).view(ours.shape)
    grads = [torch.autograd.grad((loss * weight).sum(), [*q, *p]) for loss in (ours, expected)]
    torch.testing.assert_close(*grads)


def test_a_training_step_with_a_schedules_tensors_compiles() -> None:
    torch._dynamo.reset()

    def step(decoded: Tensor, x: Tensor, q: Tensor, beta: Tensor, capacity: Tensor) -> Tensor:
        prior = torch.zeros(4)
        kl = balanced_kl(*q.chunk(2, 1), prior, prior, reduction="latent")
        return beta_vae_loss(BernoulliLikelihood().log_prob(decoded, x), kl, beta=beta, capacity=capacity)

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    args = torch.randn(3, 1, 4, 4, requires_grad=True), torch.rand(3, 1, 4, 4), torch.randn(3, 8, requires_grad=True)
    for beta in (0.5, 2.0):
        with torch._dynamo.config.patch(error_on_recompile=beta == 2.0):
            weights = torch.tensor(beta), torch.tensor(7.0)
            losses = [run(*args, *weights) for run in (compiled, step)]
        grads = [torch.autograd.grad(loss, [args[0], args[2]]) for loss in losses]
        torch.testing.assert_close((losses[0], *grads[0]), (losses[1], *grads[1]))
    with pytest.raises(RuntimeError, match="beta must be at least 0"):
        compiled(*args, torch.tensor(-1.0), torch.tensor(0.0))


P = torch.zeros(2, 4)
BAD: list[tuple[str, Any]] = [
    ("beta must be at least 0 and finite; got -1", lambda: beta_vae_loss(LL, KL, beta=-1)),
    ("beta must be at least 0 and finite; got nan", lambda: beta_vae_loss(LL, KL, beta=torch.nan)),
    ("beta must be at least 0 and finite; got -1", lambda: beta_vae_loss(LL, KL, beta=torch.tensor(-1.0))),
    (r"beta must be a float or a 0-d tensor; got shape \(2,\)", lambda: beta_vae_loss(LL, KL, beta=KL)),
    ("capacity must be at least 0 and finite; got -0.5", lambda: beta_vae_loss(LL, KL, capacity=-0.5)),
    ("capacity must be at least 0 and finite; got -2", lambda: beta_vae_loss(LL, KL, capacity=torch.tensor(-2.0))),
    (r"kl must have log_likelihood's shape, \(2,\): .*; got \(\)", lambda: elbo(LL, KL.mean())),
    (r"log_likelihood must have shape \[B\], .*; got \(\)", lambda: beta_vae_loss(LL.mean(), KL)),
    ("dims must be at least 1, .*; got 0", lambda: bits_per_dim(LL, 0)),
    (r"balance must lie in \[0, 1\]; got 1.5", lambda: balanced_kl(P, P, P, P, balance=1.5)),
    ("logvar must have mean's shape", lambda: balanced_kl(P, P[:, 1:], P, P)),
    ("reduction must be one of", lambda: balanced_kl(P, P, P, P, reduction="sum")),
]


@pytest.mark.parametrize(("message", "call"), BAD, ids=[f"{i}_{b[0][:20]}" for i, b in enumerate(BAD)])
def test_bad_input_is_named(message: str, call: Any) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("log_likelihood must be a tensor.*got list", lambda: beta_vae_loss([1.0], KL)),
        ("kl must be a tensor.*got float", lambda: beta_vae_loss(LL, 1.0)),
        ("log_likelihood must be a tensor.*got float", lambda: elbo(1.0, KL)),
        ("beta must be a number or a 0-d tensor; got '4'", lambda: beta_vae_loss(LL, KL, beta="4")),
        (r"capacity must be a number or a 0-d tensor; got \[1\]", lambda: beta_vae_loss(LL, KL, capacity=[1])),
    ],
)
def test_what_is_no_tensor_is_named(message: str, call: Any) -> None:
    with pytest.raises(TypeError, match=message):
        call()


def test_a_number_for_beta_compiles() -> None:
    compiled = torch.compile(beta_vae_loss, fullgraph=True, backend="eager", dynamic=True)
    for beta in (1.0, 2.5, 4):
        assert compiled(LL, KL, beta=beta, capacity=1.5) == beta_vae_loss(LL, KL, beta=beta, capacity=1.5)


def test_an_empty_batch_or_latent_costs_nothing() -> None:
    assert beta_vae_loss(LL[:0], KL[:0]) == 0
    assert balanced_kl(P[:, :0], P[:, :0], P[:, :0], P[:, :0]) == 0
