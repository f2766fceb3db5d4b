"""Small runs on real images."""

import pytest
import torch

from aevae_fast.data import digits
from aevae_fast.training import AutoencoderSettings, VAESettings, VQVAESettings, train_run
from aevae_fast.training.runs import build_model

SMALL = VQVAESettings(
    data="digits", steps=24, batch_size=32, codebook_size=16, codebook_dim=4, channels=8, device="cpu"
)
TINY = {"data": "digits", "steps": 24, "batch_size": 32, "channels": 8, "latent_dim": 3, "device": "cpu"}
SMALL_VAE = VAESettings(**TINY, beta=2.0, warmup=10)
SMALL_NOISY = AutoencoderSettings(**TINY, noise=0.05)


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """The models are so small that two threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def images():
    return digits()


@pytest.fixture
def settings():
    return SMALL


@pytest.fixture
def new_model(images):
    return lambda: build_model(SMALL, images)


@pytest.fixture(scope="session")
def run(tmp_path_factory, images):
    """The folder, the result and the report of a small VQ-VAE's run."""
    out = tmp_path_factory.mktemp("runs") / "vqvae"
    return out, *train_run(SMALL, images, out)


@pytest.fixture(scope="session")
def vae_run(tmp_path_factory, images):
    """The folder, the result and the report of a small VAE's run."""
    out = tmp_path_factory.mktemp("runs") / "vae"
    return out, *train_run(SMALL_VAE, images, out)
