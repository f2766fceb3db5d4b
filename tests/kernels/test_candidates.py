"""note_candidates_ against its portable form, bit for bit."""

import pytest
import torch

from aevae_fast.kernels import candidates as kernels
from aevae_fast.portable import candidates as portable

from .cases import DTYPES, view

SPREAD = 1640531527
pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # what is not finite is meant to be


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("layout", ["rows", "channels", "slice"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "heads", "size"), [((1, 9, 1), 1, 1), ((2, 50, 18), 3, 40), ((3, 20, 300), 1, 7)], ids=str
)
def test_rows_and_marks(shape, heads, size, dtype, layout, masked, device):
    torch.manual_seed(0)
    x = torch.randn(shape)
    x[:, ::5, -1], x[:, 1::7, 0] = torch.inf, torch.nan
    x = view(x.to(DTYPES[dtype]).to(device), layout)
    keep = (torch.rand(shape[:2]) > 0.3).to(device) if masked else None
    for steps, world, rank in ((0, 1, 0), (7, 1, 0), (2**40 + 3, 3, 2)):
        args = (x, keep, torch.tensor(steps, device=device), heads, world, rank, SPREAD)
        ours, expected = (torch.full((heads * size, shape[2] // heads + 1), -7.0, device=device) for _ in range(2))
        kernels.note_candidates_(ours, *args)
        portable.note_candidates_(expected, *args)
        assert torch.equal(ours, expected)


def test_ranks_share_the_rows_of_the_joined_batch(device):
    x, steps = torch.arange(1.0, 31).view(3, 10, 1).to(device), torch.tensor(5, device=device)
    parts = [torch.empty(16, 2, device=device) for _ in range(3)]
    for rank, part in enumerate(parts):
        kernels.note_candidates_(part, x[rank : rank + 1], None, steps, 1, 3, rank, SPREAD)
    whole = torch.empty(16, 2, device=device)
    kernels.note_candidates_(whole, x, None, steps, 1, 1, 0, SPREAD)
    assert torch.equal(torch.stack(parts).sum(0), whole)
    assert (whole[:, 1] == 1).all()
