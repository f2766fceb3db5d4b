"""Objectives on the device: a training step never waits for the host, and β-TCVAE's terms stay in bounded memory."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from aevae_fast.losses import total_correlation_terms
from aevae_fast.models import IWAE, VAE, FactorVAE

from . import CUDA, NEEDS_CUDA

pytestmark = NEEDS_CUDA

TC = {"dataset_size": 1000, "beta": {"name": "linear", "start": 0.0, "end": 4.0, "steps": 10}}
PORTS = {"dataset_size": 1000, "sampling": "stratified", "compat": "ports"}
MODELS: dict[str, Callable[..., Any]] = {
    "beta_tcvae": lambda **options: VAE(objective="beta_tcvae", objective_options=TC, **options),
    "beta_tcvae_ports": lambda **options: VAE(objective="beta_tcvae", objective_options=PORTS, **options),
    "dip_vae": lambda **options: VAE(objective="dip_vae", **options),
    "info_vae": lambda **options: VAE(objective="info_vae", **options),
    "wae": lambda **options: VAE(objective="wae", **options),
    "iwae": lambda **options: IWAE(samples=3, **options),
    "factor_vae": lambda **options: FactorVAE(discriminator_hidden=[32], **options),
}


@pytest.mark.usefixtures("forbid_waiting")
@pytest.mark.parametrize("kind", MODELS)
def test_a_step_never_waits_for_the_device(kind: str) -> None:
    torch.manual_seed(0)
    x = torch.rand(32, 1, 16, 16, device=CUDA)
    model = MODELS[kind](image_size=16, body="mlp", hidden=[64], latent_dim=6).to(CUDA)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    for debug_mode in ("default", "error"):  # the first round compiles the kernels
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode(debug_mode)
        for step in range(2):
            model.set_step(step)
            with torch.autocast("cuda", dtype=torch.bfloat16, enabled=step == 1):
                loss = model(x).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    torch.cuda.set_sync_debug_mode("default")
    assert loss.isfinite()


@pytest.mark.parametrize("sampling", ["weighted", "stratified"])
def test_the_terms_keep_nothing_of_size_b_by_b(sampling: Any) -> None:
    batch, dim = 8192, 32
    z, mean, logvar = (torch.randn(batch, dim, device=CUDA).requires_grad_() for _ in range(3))
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    sum(total_correlation_terms(z, mean, logvar, 100_000, sampling=sampling)).backward()
    assert torch.cuda.max_memory_allocated() - before < batch * batch * 4 / 2
