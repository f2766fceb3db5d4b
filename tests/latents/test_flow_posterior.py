"""The flow posterior: densities by change of variables, the estimate of the KL, binding, tracing."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from aevae_fast.latents import FlowLatent, make_latent
from aevae_fast.latents.densities import gaussian_log_prob
from aevae_fast.latents.flows import Flow
from aevae_fast.latents.priors import GaussianPrior, StandardPrior

FLOWS = ["planar", "radial"]


def bent(size: int, flow: str, seed: int = 0) -> tuple[FlowLatent, Flow]:
    """A float64 layer whose flows are far from the identity."""
    torch.manual_seed(seed)
    layer = FlowLatent(size, flow=flow, length=3).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(torch.randn_like(parameter))
    assert layer.flow is not None
    return layer, layer.flow


@pytest.mark.parametrize("flow", FLOWS)
def test_density_is_that_of_the_gaussian_before(flow: str) -> None:
    """log q from the inverse of z, and the determinant from autograd's Jacobian."""
    layer, maps = bent(3, flow)
    encoded = torch.randn(2, 6, dtype=torch.float64)
    z, log_q = layer.draw(encoded, 5, generator=torch.Generator().manual_seed(0))
    assert z.shape == (5, 2, 3)
    start = maps.inverse(z.flatten(0, 1))
    jacobians = torch.stack([torch.autograd.functional.jacobian(lambda t: maps(t[None])[0][0], row) for row in start])
    mean, logvar = encoded.expand(5, -1, -1).flatten(0, 1).chunk(2, 1)
    expected = gaussian_log_prob(start, mean, logvar) - torch.linalg.slogdet(jacobians)[1]
    torch.testing.assert_close(log_q.flatten(), expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("prior", [None, "gaussian"])
@pytest.mark.parametrize("flow", FLOWS)
def test_estimates_average_to_the_kl(flow: str, prior: str | None) -> None:
    """In one dimension the KL is an integral over z₀; the same in training and in eval."""
    layer, maps = bent(1, flow)
    given = None if prior is None else GaussianPrior(1, mean=0.5, logvar=-0.3).double()
    density = StandardPrior(1) if given is None else given
    mean, logvar, rows = 0.3, -0.8, 50_000
    start = torch.linspace(mean - 8, mean + 8, 20_001, dtype=torch.float64)[:, None]
    y, log_det = maps(start)
    log_start = gaussian_log_prob(start, torch.tensor(mean), torch.tensor(logvar))
    exact = torch.trapezoid(log_start.exp() * (log_start - log_det - density.log_prob(y)), start[:, 0])
    encoded = torch.tensor([[mean, logvar]], dtype=torch.float64).expand(rows, -1)
    for train in (True, False):
        z, kl = layer.train(train)(encoded, prior=given, generator=torch.Generator().manual_seed(0))
        assert (kl.mean() - exact).abs() <= 5 * kl.std() / rows**0.5
        assert bool((z == layer.mean(encoded)).all()) is not train


def test_gradient_of_the_kl_is_that_of_the_integral() -> None:
    """By the encoder's output and by the flows' parameters, over 200,000 samples."""
    layer, maps = bent(1, "planar")
    parameters = list(layer.parameters())
    mean, logvar = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.3, -0.8))
    noise = torch.linspace(-8, 8, 20_001, dtype=torch.float64)
    y, log_det = maps((mean + torch.exp(logvar / 2) * noise)[:, None])
    terms = gaussian_log_prob(noise[:, None]) - logvar / 2 - log_det - gaussian_log_prob(y)
    exact = torch.trapezoid(torch.exp(-noise.square() / 2) / math.sqrt(2 * math.pi) * terms, noise)
    expected = torch.autograd.grad(exact, (mean, logvar, *parameters), retain_graph=True)
    encoded = torch.stack([mean, logvar]).expand(200_000, -1)
    found = torch.autograd.grad(layer(encoded)[1].mean(), (mean, logvar, *parameters))
    for ours, true in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, true, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("shape", [(), (2, 3)], ids=str)
def test_layouts_dtypes_and_seeds(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer = FlowLatent(4 * math.prod(shape))
    for dtype in (torch.float32, torch.bfloat16):
        encoded = torch.randn(5, layer.encoder_width(4), *shape, dtype=dtype)
        z, kl = layer(encoded, generator=torch.Generator().manual_seed(1))
        assert (z.shape, z.dtype) == ((5, 4, *shape), dtype)
        assert (kl.shape, kl.dtype) == ((5,), torch.float32)
        assert torch.equal(layer(encoded, generator=torch.Generator().manual_seed(1))[0], z)
        assert layer(encoded[:0])[0].shape == (0, 4, *shape)


def test_far_log_variances_stay_finite_and_what_is_not_finite_stays_seen() -> None:
    layer = FlowLatent(2)
    encoded = torch.tensor([[1e4, -1e4, 1e4, -1e4], [0.0, 0.0, math.nan, 0.0], [0.0, 0.0, math.inf, 0.0]])
    kl = layer(encoded.requires_grad_())[1]
    assert kl[0].isfinite()
    assert torch.autograd.grad(kl[0], encoded)[0][0].isfinite().all()
    assert kl[1:].isnan().all()


def test_a_model_binds_it_once_for_all() -> None:
    layer = FlowLatent(flow="radial", length=2)
    with pytest.raises(ValueError, match="size must be given to a layer outside a model"):
        layer(torch.zeros(1, 4))
    layer.bind((3, 2))
    assert layer.flow is not None
    assert layer.flow.dim == 6
    layer.bind((6,))
    with pytest.raises(ValueError, match="latent must have size=5, that of the model's latent; got size=6"):
        layer.bind((5,))
    again = make_latent("flow", **layer.options())
    again.load_state_dict(layer.state_dict())
    encoded = torch.randn(2, 12)
    assert torch.equal(again.mean(encoded), layer.mean(encoded))


def test_compiles_whole() -> None:
    layer = FlowLatent(3, length=2)
    encoded = torch.randn(4, 6, requires_grad=True)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    results: list[Tensor] = []
    for call in (compiled, layer):
        torch.manual_seed(1)
        z, kl = call(encoded)
        results += [z, torch.autograd.grad(kl.sum(), encoded)[0]]
    torch.testing.assert_close(results[:2], results[2:])


ERRORS: list[tuple[type[Exception], str, Any]] = [
    (TypeError, "encoded must be a floating-point tensor; got torch", torch.zeros(2, 4, dtype=torch.int64)),
    (TypeError, "encoded must be a floating-point tensor; got list", [0.0]),
    (ValueError, r"encoded must have shape \[B, 2·D, \.\.\.\]; got \(2, 3\)", torch.zeros(2, 3)),
    (ValueError, r"encoded must hold 4 numbers a row; got shape \(2, 3\) of means", torch.zeros(2, 6)),
]


@pytest.mark.parametrize(("error", "message", "encoded"), ERRORS)
def test_errors_of_input(error: type[Exception], message: str, encoded: Any) -> None:
    with pytest.raises(error, match=message):
        FlowLatent(2)(encoded)


def test_errors_of_options() -> None:
    with pytest.raises(ValueError, match=r"flow must be one of 'planar', 'radial', .*; got 'plane'"):
        FlowLatent(2, flow="plane")
    with pytest.raises(ValueError, match="size must be at least 1; got 0"):
        FlowLatent(0)
