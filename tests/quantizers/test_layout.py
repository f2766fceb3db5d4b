"""One mask and one axis, whatever the layout."""

import re
from typing import Any

import pytest
import torch

from aevae_fast.quantizers.layout import Layout

SHAPES = {
    "vector": (True, (6,)),
    "tokens": (True, (4, 6)),
    "sequence": (True, (4, 5, 6)),
    "grid": (True, (4, 2, 3, 6)),
    "tokens_first": (False, (4, 6)),
    "sequence_first": (False, (4, 6, 5)),
    "image": (False, (4, 6, 2, 3)),
    "volume": (False, (4, 6, 2, 3, 2)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_mask_lens_and_views(name: str) -> None:
    channel_last, shape = SHAPES[name]
    layout, x = Layout(6, channel_last), torch.randn(shape)
    places = layout.places(x)
    assert layout.check(x) is None
    assert layout.to_last(x).shape == (*places, 6)
    assert torch.equal(layout.from_last(layout.to_last(x)), x)
    mask = torch.rand(places) > 0.5
    assert layout.check(x, mask) is mask
    blanked = layout.to_last(layout.blank(x, mask))
    assert not blanked[~mask].any()
    assert torch.equal(blanked[mask], layout.to_last(x)[mask])
    if len(places) > 1:
        lens = torch.tensor([0, 2, 3, places[1:].numel()])
        mask = layout.check(x, lens=lens)
        assert mask is not None
        assert mask.shape == places
        assert torch.equal(mask.flatten(1).sum(1), lens)
        assert mask.flatten(1)[:, :2].tolist() == [[False] * 2, [True] * 2, [True] * 2, [True] * 2]


def test_what_stands_in_masked_places_gets_no_gradient() -> None:
    x = torch.tensor([[1.0], [torch.nan]], requires_grad=True)
    Layout(1).blank(x, torch.tensor([True, False])).square().sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[2.0], [0.0]]


X = torch.randn(2, 5, 6)
BAD: list[tuple[type[Exception], str, Any]] = [
    (ValueError, r"x must have shape [..., 7]; got (2, 5, 6)", lambda: Layout(7).check(X)),
    (ValueError, r"x must have shape [B, 6, ...]; got (2, 5, 6)", lambda: Layout(6, False).check(X)),
    (ValueError, r"x must have shape [B, 6, ...]; got (6,)", lambda: Layout(6, False).check(X[0, 0])),
    (TypeError, "x must be a torch.Tensor; got list", lambda: Layout(6).check([1.0])),  # type: ignore[arg-type]
    (TypeError, "x must be float16", lambda: Layout(6).check(X.long())),
    (ValueError, "mask must have shape (2, 5)", lambda: Layout(6).check(X, torch.ones(2).bool())),
    (TypeError, "mask must be torch.bool", lambda: Layout(6).check(X, torch.ones(2, 5))),
    (ValueError, "mask and lens", lambda: Layout(6).check(X, torch.ones(2, 5).bool(), torch.ones(2).long())),
    (TypeError, "lens must be a torch.Tensor", lambda: Layout(6).check(X, lens=[1, 2])),  # type: ignore[arg-type]
    (TypeError, "lens must be torch.int64 or torch.int32; got torch.float32", lambda: Layout(6).check(X, lens=X[:, 0])),
    (
        ValueError,
        "each of x's batch entries, which are sequences; got (3,) for x of shape (2, 5, 6)",
        lambda: Layout(6).check(X, lens=torch.ones(3).long()),
    ),
    (ValueError, "lens must hold one number", lambda: Layout(6).check(X[0], lens=torch.ones(5).long())),
]


@pytest.mark.parametrize(("error", "message", "call"), BAD, ids=[message[:30] for _, message, _ in BAD])
def test_bad_input_is_named(error: type[Exception], message: str, call: Any) -> None:
    with pytest.raises(error, match=re.escape(message)):
        call()
