"""The view that the Gaussian operations take of their tensors: in place for the usual layouts, and back to the same."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from aevae_fast import functional, reference
from aevae_fast.functional._latents import lay_out

# An encoder's output, the axis of its halves, and the shape of a prior, which is broadcast to a half.
IN_PLACE: dict[str, tuple[Any, int, tuple[int, ...]]] = {
    "rows": (lambda: torch.randn(6, 8), 1, (4,)),
    "every_other_row": (lambda: torch.randn(12, 8)[::2], 1, (6, 4)),
    "tokens": (lambda: torch.randn(6, 5, 8), 2, (4,)),
    "tokens_time_first": (lambda: torch.randn(5, 6, 8).transpose(0, 1), 2, (4,)),
    "map": (lambda: torch.randn(6, 8, 4, 5), 1, (4, 1, 1)),
    "map_and_a_prior_per_place": (lambda: torch.randn(6, 8, 4, 5), 1, (4, 5)),
    "map_and_a_full_prior": (lambda: torch.randn(6, 8, 4, 5), 1, (4, 4, 5)),
    "map_halved_by_height": (lambda: torch.randn(6, 3, 8, 5), 2, ()),
    "map_halved_by_width": (lambda: torch.randn(6, 3, 4, 8), 3, ()),
    "channels_last": (lambda: torch.randn(6, 8, 4, 5).to(memory_format=torch.channels_last), 1, (4, 1, 1)),
    "volume": (lambda: torch.randn(6, 8, 3, 4, 5), 1, (4, 1, 1, 1)),
    "volume_channels_last": (
        lambda: torch.randn(6, 8, 3, 4, 5).to(memory_format=torch.channels_last_3d),
        1,
        (4, 1, 1, 1),
    ),
}


@pytest.mark.parametrize("layout", IN_PLACE)
def test_usual_layouts_are_read_in_place(layout: str) -> None:
    make, dim, prior_shape = IN_PLACE[layout]
    tensors = (*make().chunk(2, dim), torch.randn(prior_shape))
    for view, tensor in zip(lay_out(*tensors).views, tensors, strict=True):
        assert view is not None
        assert view.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr()


@st.composite
def tensors(draw: st.DrawFn, joined: bool = False) -> tuple[Any, Any, Tensor]:
    """mean, logvar and a prior's tensor of any order of axes, with steps, halves of one output or apart. joined: that
    output and the axis of its halves in their place."""
    shape = draw(st.lists(st.sampled_from([1, 2, 3, 4]), min_size=1 + joined, max_size=5))
    torch.manual_seed(draw(st.integers(0, 2**31)))

    def strided(shape: list[int]) -> Tensor:
        order = draw(st.permutations(range(len(shape))))
        steps = [draw(st.sampled_from([1, 1, 2])) for _ in shape]
        whole = torch.randn([shape[axis] * steps[axis] for axis in order])
        back = sorted(range(len(order)), key=order.__getitem__)
        return whole.permute(back)[tuple(slice(None, None, step) for step in steps)]

    dim = draw(st.integers(int(joined), len(shape) - 1))
    if dim:
        whole = strided([size * (1 + (axis == dim)) for axis, size in enumerate(shape)])
        mean, logvar = (whole, dim) if joined else whole.chunk(2, dim)
    else:
        mean, logvar = strided(shape), strided(shape)
    axes = draw(st.integers(0, len(shape)))
    prior = strided([draw(st.sampled_from([1, size])) for size in shape[len(shape) - axes :]])
    return mean, logvar, prior


@settings(deadline=None, max_examples=60)
@given(tensors())
def test_any_layout_comes_back_and_gives_the_same_kl(given_: tuple[Tensor, Tensor, Tensor]) -> None:
    mean, logvar, prior = given_
    layout = lay_out(*given_)
    for view, tensor in zip(layout.views, given_, strict=True):
        assert view is not None
        assert view.ndim == 3
        assert torch.equal(layout.restore(view.contiguous()), tensor.expand(mean.shape))
        assert torch.equal(layout.restore(view.expand(2, *view.shape).contiguous())[1], tensor.expand(mean.shape))
    leaves = [tensor.detach().requires_grad_() for tensor in (mean, logvar, prior)]
    wide = [tensor.detach().double().requires_grad_() for tensor in (mean, logvar, prior)]
    kl = functional.gaussian_kl(*leaves, leaves[2], reduction="none")
    exact = reference.gaussian_kl(*wide, wide[2], reduction="none")
    torch.testing.assert_close(kl.double(), exact, rtol=1e-5, atol=1e-6)
    upstream = torch.randn(kl.shape)
    ours, theirs = torch.autograd.grad(kl, leaves, upstream), torch.autograd.grad(exact, wide, upstream.double())
    for mine, truth in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.double(), truth, rtol=1e-4, atol=1e-4 * float(truth.abs().max()))
