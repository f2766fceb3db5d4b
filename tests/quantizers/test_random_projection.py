"""Labels by a random projection and random codes."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from aevae_fast.quantizers import RandomProjectionQuantizer


def by_hand(layer: RandomProjectionQuantizer, x: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines [..., H, K] in float64 and the labels [..., H]."""
    x = F.layer_norm(x.double(), x.shape[-1:]) if isinstance(layer.norm, torch.nn.LayerNorm) else x.double()
    rows = F.normalize(torch.einsum("...d,hde->...he", x, layer.rand_projs.double()), dim=-1)
    cosines = torch.einsum("...he,hke->...hk", rows, layer.vq._codebook.embed.double())
    return cosines, cosines.argmax(-1)


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("heads", [1, 3])
def test_labels_and_their_cross_entropy(heads: int, norm: bool) -> None:
    torch.manual_seed(0)
    layer = RandomProjectionQuantizer(dim=12, codebook_size=30, codebook_dim=4, num_codebooks=heads, norm=norm)
    x = 3 + torch.randn(2, 50, 12)
    labels, (cosines, expected) = layer(x), by_hand(layer, x)
    assert torch.equal(labels, expected if heads > 1 else expected[..., 0])
    targets = torch.randint(-1, 30, expected.shape)
    loss = layer(x, indices=targets if heads > 1 else targets[..., 0])
    truth = F.cross_entropy(cosines.flatten(0, -2), targets.flatten(), ignore_index=-1)
    torch.testing.assert_close(loss.double(), truth, rtol=1e-5, atol=0)
    assert layer(x[:, 0]).shape == labels[:, 0].shape


def test_one_codebook_equals_the_peers() -> None:
    peer = pytest.importorskip("vector_quantize_pytorch")
    torch.manual_seed(0)
    theirs = peer.RandomProjectionQuantizer(dim=12, codebook_size=30, codebook_dim=4)
    ours = RandomProjectionQuantizer(12, 30, 4)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 50, 12)
    assert torch.equal(ours(x), theirs(x))
    torch.testing.assert_close(ours(x, indices=theirs(x)), theirs(x, indices=theirs(x)))


def test_nothing_moves_and_nothing_is_trained() -> None:
    layer = RandomProjectionQuantizer(dim=6, codebook_size=8, codebook_dim=3, num_codebooks=2).train()
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    x = torch.randn(40, 6, requires_grad=True)
    labels = layer(x)
    assert torch.equal(layer.eval()(x), labels)
    assert not list(layer.parameters())
    layer.train()(x, indices=labels).backward()
    assert x.grad is not None
    assert x.grad.any()
    for name, tensor in layer.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_casts_and_autocast_leave_the_labels_of_the_rounded_input() -> None:
    layer = RandomProjectionQuantizer(dim=6, codebook_size=8, codebook_dim=3)
    x = torch.randn(40, 6).bfloat16()
    expected = layer(x.float())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(x), expected)
    assert torch.equal(layer.bfloat16()(x), expected)


@pytest.mark.parametrize("heads", [1, 2])
def test_masks_and_lens(heads: int) -> None:
    layer = RandomProjectionQuantizer(dim=6, codebook_size=8, codebook_dim=3, num_codebooks=heads)
    x, lens = torch.randn(3, 5, 6), torch.tensor([5, 0, 2])
    mask = torch.arange(5) < lens[:, None]
    x[~mask] = torch.nan
    labels = layer(x, lens=lens)
    assert torch.equal(labels, layer(x, mask=mask))
    assert torch.equal(labels[mask], layer(x[mask]))
    assert (labels[~mask] == -1).all()
    torch.testing.assert_close(layer(x, indices=labels.clamp(min=0), lens=lens), layer(x[mask], indices=labels[mask]))


def test_compiles_and_exports() -> None:
    torch._dynamo.reset()
    layer, x = RandomProjectionQuantizer(dim=6, codebook_size=8, codebook_dim=3, num_codebooks=2), torch.randn(4, 9, 6)
    labels = layer(x)
    assert torch.equal(torch.compile(layer, fullgraph=True, backend="aot_eager")(x), labels)
    assert torch.equal(torch.export.export(layer, (x,)).module()(x), labels)


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (ValueError, "num_codebooks must be at least 1; got 0", lambda: RandomProjectionQuantizer(6, 8, 3, 0)),
        (TypeError, "codebook_dim must be an int", lambda: RandomProjectionQuantizer(6, 8, 3.0)),  # type: ignore[arg-type]
        (ValueError, r"x must have shape \[..., 6\]", lambda: RandomProjectionQuantizer(6, 8, 3)(torch.randn(4, 5))),
        (ValueError, r"indices must have shape \(4,\)", lambda: _labelled(torch.zeros(3, dtype=torch.int64))),
    ],
)
def test_bad_input_is_named(error: type[Exception], message: str, call: Any) -> None:
    with pytest.raises(error, match=message):
        call()


def _labelled(labels: Tensor) -> Tensor:
    return RandomProjectionQuantizer(6, 8, 3)(torch.randn(4, 6), indices=labels)
