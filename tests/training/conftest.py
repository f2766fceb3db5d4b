"""A small run on real images."""

import pytest

from aevae_fast.data import digits
from aevae_fast.training import VQVAESettings
from aevae_fast.training.runs import build_model

SMALL = VQVAESettings(
    data="digits", steps=24, batch_size=32, codebook_size=16, codebook_dim=4, channels=8, device="cpu"
)


@pytest.fixture(scope="session")
def images():
    return digits()


@pytest.fixture
def settings():
    return SMALL


@pytest.fixture
def new_model(images):
    return lambda: build_model(SMALL, images)
