"""What several tests on the device need."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture
def forbid_waiting() -> Iterator[None]:
    """However the test ends, the device may be waited for again."""
    yield
    torch.cuda.set_sync_debug_mode("default")
