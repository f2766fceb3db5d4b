"""VAEs under each prior on the device: the CPU's densities, draws by the device's generator, one graph, no waiting."""

from typing import Any

import pytest
import torch

from aevae_fast.models import VAE

from . import CUDA, NEEDS_CUDA

pytestmark = NEEDS_CUDA

OPTIONS: dict[str, dict[str, Any]] = {
    "standard": {},
    "gaussian": {},
    "mixture": {"components": 20},
    "vamp": {"components": 50},
    "planar": {},
    "radial": {},
    "coupling": {},
    "spline": {},
    "autoregressive": {},
}
PAIRS = [(name, "gaussian") for name in OPTIONS] + [(name, "full_covariance") for name in OPTIONS if name != "vamp"]


def model(name: str, latent: str = "gaussian") -> VAE:
    torch.manual_seed(0)
    return VAE(1, 16, latent_dim=8, body="mlp", latent=latent, prior=name, prior_options=OPTIONS[name])


@pytest.mark.parametrize("name", OPTIONS)
def test_densities_and_draws(name: str) -> None:
    host, device = model(name), model(name).to(CUDA)
    z = torch.randn(300, 8, generator=torch.Generator().manual_seed(1))
    expected = host.prior.log_prob(z)
    torch.testing.assert_close(device.prior.log_prob(z.to(CUDA)).cpu(), expected, rtol=1e-4, atol=1e-4)
    draws = [device.prior.sample(4, generator=torch.Generator(CUDA).manual_seed(1)) for _ in range(2)]
    assert draws[0].device.type == CUDA.type
    assert torch.equal(*draws)
    x = torch.rand(6, 1, 16, 16, device=CUDA)
    assert device.log_likelihood(x, 5, generator=torch.Generator(CUDA).manual_seed(1)).isfinite().all()
    assert device.traverse(x[:1], [0], steps=3).device.type == CUDA.type


@pytest.mark.parametrize(("name", "latent"), PAIRS)
def test_a_training_step_never_waits_for_the_device(name: str, latent: str) -> None:
    vae, x = model(name, latent).to(CUDA), torch.rand(32, 1, 16, 16, device=CUDA)
    optimizer = torch.optim.Adam(vae.parameters(), lr=1e-2, foreach=True)
    losses = []
    for step in range(30):
        mode = "error" if step == 5 else "default"  # the first steps compile kernels
        torch.cuda.set_sync_debug_mode(mode)
        try:
            optimizer.zero_grad()
            loss = vae(x).loss
            loss.backward()
            optimizer.step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        losses.append(loss.detach())
    assert torch.stack(losses[-3:]).mean() < torch.stack(losses[:3]).mean()


@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "autoregressive"])
def test_a_training_step_is_one_graph(name: str) -> None:
    torch._dynamo.reset()
    vae, x = model(name).to(CUDA), torch.rand(32, 1, 16, 16, device=CUDA)
    compiled = torch.compile(vae, fullgraph=True)
    before = float(compiled(x).loss.detach())
    compiled(x).loss.backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in vae.parameters())
    assert before == pytest.approx(float(vae(x).loss.detach()), rel=0.05)
