"""`LatentQuantize`: the nearest value of each entry, learned by a gradient that the peer's lacks."""

from typing import Any

import pytest
import torch

from aevae_fast.quantizers import LatentQuantize


def test_each_entry_takes_its_nearest_value_and_indices_follow() -> None:
    torch.manual_seed(0)
    layer = LatentQuantize([5, 4, 3], 3, channel_first=False)
    with torch.no_grad():
        for values in layer.values_per_latent:
            values.copy_(torch.randn(values.shape))  # moved, and in no order
    x = torch.randn(2, 40, 3)
    quantized, indices, loss = layer(x)
    digits = [(x[..., d, None] - values).abs().argmin(-1) for d, values in enumerate(layer.values_per_latent)]
    assert torch.equal(indices, digits[0] + 5 * digits[1] + 20 * digits[2])
    expected = torch.stack([values[digit] for values, digit in zip(layer.values_per_latent, digits, strict=True)], -1)
    assert torch.equal(quantized, expected)
    torch.testing.assert_close(loss, 0.2 * (x - expected).square().mean())
    assert torch.equal(layer.indices_to_codes(indices), quantized)


def test_values_learn_and_x_is_pulled() -> None:
    """The gradient of each of the two terms, by hand."""
    layer = LatentQuantize([3, 3], 2, commitment_loss_weight=0.3, quantization_loss_weight=0.7, channel_first=False)
    x = torch.tensor([[0.1, -0.4], [0.2, 0.6]], requires_grad=True)
    quantized, _, loss = layer(x)
    loss.backward()
    away = (x - quantized).detach()
    torch.testing.assert_close(x.grad, 0.3 * 2 * away / 4)
    first, second = (values.grad for values in layer.values_per_latent)
    torch.testing.assert_close(first, -0.7 * 2 / 4 * torch.tensor([0.0, away[:, 0].sum(), 0.0]))
    torch.testing.assert_close(second, -0.7 * 2 / 4 * torch.stack([away[0, 1], torch.tensor(0.0), away[1, 1]]))
    frozen = LatentQuantize([3, 3], 2, optimize_values=False)
    assert not any(p.requires_grad for p in frozen.parameters())


def test_beside_the_peer() -> None:
    """At the first values: its codes and loss; its indices where it does not cut a sum of floats off below a number."""
    peers = pytest.importorskip("vector_quantize_pytorch")
    torch.manual_seed(0)
    for options in ({"levels": [5, 6, 8], "dim": 3}, {"levels": 4, "dim": 9, "codebook_dim": 3, "num_codebooks": 3}):
        ours, theirs = LatentQuantize(**options), peers.LatentQuantize(**options)
        ours.load_state_dict(theirs.state_dict())
        x = torch.randn(2, options["dim"], 5, 6)
        found, expected = ours(x), theirs(x)
        torch.testing.assert_close(found[0], expected[0], rtol=0, atol=1e-6)
        torch.testing.assert_close(found[2], expected[2])
        assert ((found[1] - expected[1]).abs() <= 1).all()
        assert (found[1] == expected[1]).float().mean() > 0.9


def test_values_stay_float32() -> None:
    layer = LatentQuantize([5, 4], 2, channel_first=False).bfloat16()
    assert all(values.dtype == torch.float32 for values in layer.values_per_latent)
    assert layer(torch.randn(3, 2).bfloat16())[0].dtype == torch.bfloat16


@pytest.mark.parametrize(("arguments", "message"), [
    ({"levels": 5}, "codebook_dim must be at least 1 where levels is one number; got -1"),
    ({"levels": [5, 4], "codebook_dim": 3}, "codebook_dim must be the number of levels, 2; got 3"),
    ({"levels": [5, 1]}, "levels must be numbers from 2"),
    ({"levels": [5, 4], "commitment_loss_weight": -1.0}, "commitment_loss_weight must be at least 0"),
])  # fmt: skip
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LatentQuantize(**{"dim": 2, **arguments})


def test_a_checkpoint_of_other_levels_says_which() -> None:
    layer = LatentQuantize([5, 4], 2)
    with pytest.raises(RuntimeError, match=r"this is levels \[5, 4\], the checkpoint levels \[5, 5\]"):
        layer.load_state_dict(LatentQuantize([5, 5], 2).state_dict())
