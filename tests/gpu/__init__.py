"""What only a GPU can show. Skipped, saying so, where there is none."""

import pytest
import torch

NEEDS_CUDA = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; PyTorch finds none"),
]
CUDA = torch.device("cuda")
