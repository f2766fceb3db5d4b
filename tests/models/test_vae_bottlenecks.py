"""A VAE with a bottleneck that is no Gaussian: it learns, samples, is saved, and knows its likelihood."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from aevae_fast.models import VAE, load_model, save_model

OTHERS: dict[str, dict[str, Any]] = {
    "beta": {"latent": "beta"},
    "beta, another beta prior": {"latent": "beta", "prior": "beta", "prior_options": {"alpha": 2.0, "beta": 0.5}},
    "dirichlet": {"latent": "dirichlet", "prior": "dirichlet", "prior_options": {"concentration": 0.5}},
    "kumaraswamy": {"latent": "kumaraswamy"},
    "flow": {"latent": "flow", "latent_options": {"flow": "radial", "length": 4}},
    "flow under a mixture": {"latent": "flow", "prior": "mixture"},
}


def images() -> Tensor:
    return (torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.5).float()


def model(**options: Any) -> VAE:
    torch.manual_seed(0)
    return VAE(1, 8, latent_dim=4, body="mlp", hidden=(32,), **options)


@pytest.mark.parametrize("case", OTHERS)
def test_it_learns_samples_and_weighs(case: str) -> None:
    """The bound falls short of log p(x) as importance sampling has it: on average over the images."""
    vae, x = model(**OTHERS[case]), images()
    optimizer, losses = torch.optim.Adam(vae.parameters(), 1e-2), []
    for _ in range(40):
        loss = vae(x).loss
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in vae.parameters())
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < sum(losses[:5]) - 5
    vae.eval()
    assert vae.sample(3).shape == (3, 1, 8, 8)
    assert vae.reconstruct(x).shape == x.shape
    generator = torch.Generator().manual_seed(0)
    bound = vae.elbo(x, 200, generator=generator)
    assert (bound - vae.log_likelihood(x, 200, generator=generator)).mean() < 0


@pytest.mark.parametrize("case", OTHERS)
def test_it_is_saved_and_comes_back(case: str, tmp_path: Path) -> None:
    vae, x = model(**OTHERS[case]).eval(), images()
    save_model(vae, tmp_path)
    again = load_model(tmp_path).eval()
    assert torch.equal(again(x).reconstruction, vae(x).reconstruction)
    drawn = [m.sample(4, generator=torch.Generator().manual_seed(0)) for m in (vae, again)]
    assert torch.equal(*drawn)


def test_a_map_of_simplices() -> None:
    vae = VAE(
        1, 8, latent="dirichlet", latent_dim=3, channels=8, residual_blocks=0, encoder=_Encoder(), decoder=_Decoder()
    )
    output = vae(images())
    assert output.latent.shape == (12, 3, 2, 2)
    torch.testing.assert_close(output.latent.sum(1), torch.ones(12, 2, 2))
    assert output.loss.isfinite()
    assert vae.sample(2).shape == (2, 1, 8, 8)


class _Encoder(torch.nn.Conv2d):
    def __init__(self) -> None:
        super().__init__(1, 3, 4, stride=4)


class _Decoder(torch.nn.ConvTranspose2d):
    def __init__(self) -> None:
        super().__init__(3, 1, 4, stride=4)
