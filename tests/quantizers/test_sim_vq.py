"""Codes that a learned map makes of frozen ones: one stage, and stages."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from aevae_fast import functional
from aevae_fast.quantizers import ResidualSimVQ, SimVQ


def trained(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """Outputs, then the gradients of x and of the maps."""
    x = x.detach().requires_grad_()
    layer.zero_grad()
    outputs = layer(x)
    (outputs[0].square().sum() + outputs[2].sum()).backward()
    assert x.grad is not None
    gradients = [p.grad for p in layer.parameters() if p.grad is not None]
    assert gradients
    return [*outputs, x.grad, *gradients]


@pytest.mark.parametrize(
    "options",
    [{}, {"rotation_trick": False}, {"channel_first": True}, {"frozen_codebook_dim": 9, "commitment_weight": 0.3}],
    ids=str,
)
def test_equals_the_peer(options: dict[str, Any]) -> None:
    """Codes, loss and its gradients; the rotation's gradient in float32's rounding."""
    peer = pytest.importorskip("vector_quantize_pytorch")
    torch.manual_seed(0)
    theirs, ours = peer.SimVQ(dim=6, codebook_size=20, **options), SimVQ(6, 20, **options)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 6, 4, 5) if options.get("channel_first") else torch.randn(2, 30, 6)
    for mine, expected in zip(trained(ours, x), trained(theirs, x), strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-5)
    indices = ours(x)[1]
    assert torch.equal(ours.indices_to_codes(indices), ours(x)[0])
    torch.testing.assert_close(ours.indices_to_codes(indices), theirs.indices_to_codes(indices))


def test_one_vector_moves_all_codes() -> None:
    layer = SimVQ(6, 20)
    before = layer.codebook.detach()
    trained(layer, torch.randn(1, 6))
    torch.optim.SGD(layer.parameters(), lr=0.1).step()
    assert (layer.codebook != before).any(1).all()
    assert not layer.frozen_codebook.requires_grad


def test_the_map_and_the_frozen_codes_may_be_given() -> None:
    transform = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 6))
    layer = SimVQ(6, 20, transform, init_fn=torch.sign, frozen_codebook_dim=5)
    assert layer.frozen_codebook.abs().eq(1).all()
    x = torch.randn(3, 6)
    assert torch.equal(layer(x)[0], transform(layer.frozen_codebook)[layer(x)[1]])
    trained(layer, x)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in transform.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_frozen_codes_stay_float32(dtype: torch.dtype) -> None:
    layer = SimVQ(6, 20).to(dtype)
    assert layer.frozen_codebook.dtype == torch.float32
    x = torch.randn(5, 6).to(dtype)
    quantized, indices, loss = layer(x)
    assert quantized.dtype == dtype
    assert loss.dtype == layer.codebook.dtype == torch.float32
    with torch.autocast("cpu", dtype):
        assert torch.equal(layer(x)[1], indices)


def test_autocast_leaves_the_codes_alone() -> None:
    layer = SimVQ(6, 20)
    codes = layer.codebook
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer.codebook, codes)


@pytest.mark.parametrize("channel_first", [False, True])
def test_masked_places_are_empty_and_unseen(channel_first: bool) -> None:
    layer = SimVQ(6, 20, channel_first=channel_first)
    x, lens = torch.randn(3, 6, 6), torch.tensor([6, 0, 2])
    mask = torch.arange(6) < lens[:, None]
    rows = x.movedim(1, -1) if channel_first else x
    rows[~mask] = torch.nan
    x.requires_grad_()
    quantized, indices, loss = layer(x, lens=lens)
    (quantized.sum() + loss).backward()
    kept = layer(rows[mask].T[None] if channel_first else rows[mask])
    torch.testing.assert_close(loss, kept[2])
    assert (indices[~mask] == -1).all()
    assert torch.equal(indices[mask], kept[1].flatten())
    assert torch.equal(layer.indices_to_codes(indices), quantized)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in (x, *layer.parameters()))


# --- stages ----------------------------------------------------------------------------------------------------------


def test_a_peers_stages_load_and_give_its_codes() -> None:
    peer = pytest.importorskip("vector_quantize_pytorch")
    torch.manual_seed(0)
    theirs = peer.ResidualSimVQ(dim=6, codebook_size=20, num_quantizers=3)
    ours = ResidualSimVQ(6, 20, 3)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 30, 6)
    mine, expected = ours(x, return_all_codes=True), theirs(x, return_all_codes=True)
    assert torch.equal(mine[1], expected[1])
    for ours_, theirs_ in zip(mine, expected, strict=True):
        torch.testing.assert_close(ours_, theirs_, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.get_output_from_indices(mine[1]), mine[0])


@pytest.mark.parametrize("channel_first", [False, True])
def test_stages_are_layers_one_after_the_other(channel_first: bool) -> None:
    """Values, losses, gradients of the maps; x gets each commitment and, once, the gradient of the sum."""
    torch.manual_seed(0)
    layer = ResidualSimVQ(6, (20, 8), channel_first=channel_first, rotation_trick=False, commitment_weight=0.7)
    x = torch.randn(2, 6, 4, 3) if channel_first else torch.randn(2, 9, 6)
    mine = trained(layer, x)
    layer.zero_grad()
    x = x.clone().requires_grad_()
    residual, total, indices, losses = x, 0.0, [], []
    for stage in layer.stages:
        quantized, index, loss = stage(residual)
        residual, total = residual - quantized.detach(), total + quantized.detach()
        indices.append(index)
        losses.append(loss)
    quantized = total + (x - x.detach())
    (quantized.square().sum() + sum(losses)).backward()
    gradients = [p.grad for p in layer.parameters()]
    expected = [quantized, torch.stack(indices, -1), torch.stack(losses), x.grad, *gradients]
    for found, truth in zip(mine, expected, strict=True):
        torch.testing.assert_close(found, truth)
    torch.testing.assert_close(layer.get_output_from_indices(mine[1]), mine[0].detach())


def test_stages_that_are_dropped_have_no_index_and_no_loss() -> None:
    layer = ResidualSimVQ(6, 20, 4, quantize_dropout=True, quantize_dropout_cutoff_index=1)
    x, seen = torch.randn(30, 6), set()
    for _ in range(40):
        _, indices, losses = layer(x)
        used = int((indices[0] >= 0).sum())
        seen.add(used)
        assert (indices[:, used:] == -1).all()
        assert not losses[used:].any()
        assert (losses[:used] > 0).all()
    assert seen == {2, 3, 4}
    assert (layer.eval()(x)[1] >= 0).all()
    assert torch.equal(layer(x, active=torch.tensor(2))[1][:, :2], layer(x)[1][:, :2])


def test_stages_run_as_one_operation() -> None:
    layer = ResidualSimVQ(6, 20, 2)
    x = torch.randn(9, 6)
    expected = functional.residual_vector_quantize(x, layer.codebooks, commitment_weight=0.25, estimator="rotation")
    for mine, theirs in zip(layer(x), expected, strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (ValueError, "codebook_size must be at least 1; got 0", lambda: SimVQ(6, 0)),
        (TypeError, "dim must be an int; got 1.5", lambda: SimVQ(1.5, 3)),  # type: ignore[arg-type]
        (ValueError, "commitment_weight must be at least 0", lambda: SimVQ(6, 3, commitment_weight=-1)),
        (ValueError, "impl must be None", lambda: SimVQ(6, 3, impl="cuda")),  # type: ignore[arg-type]
        (ValueError, r"x must have shape \[..., 6\]; got \(2, 5\)", lambda: SimVQ(6, 3)(torch.randn(2, 5))),
        (ValueError, r"indices must lie in \[-1, 2\]; got 3", lambda: SimVQ(6, 3).indices_to_codes(torch.tensor([3]))),
        (TypeError, "unexpected keyword argument 'sample'", lambda: SimVQ(6, 3, sample=1)),  # type: ignore[call-arg]
        (ValueError, "codebook_transform is one", lambda: ResidualSimVQ(6, 3, 2, codebook_transform=nn.Identity())),
        (ValueError, "num_quantizers must be given", lambda: ResidualSimVQ(6, 3)),
    ],
)
def test_bad_input_is_named(error: type[Exception], message: str, call: Any) -> None:
    with pytest.raises(error, match=message):
        call()
