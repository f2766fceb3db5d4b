"""`FSQ` and `ResidualFSQ` beside vector-quantize-pytorch, and what is theirs alone."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from aevae_fast.functional._levels import bounded
from aevae_fast.quantizers import FSQ, ResidualFSQ

peers = pytest.importorskip("vector_quantize_pytorch")


def together(ours: Any, theirs: Any, x: Tensor, **options: Any) -> tuple[Any, Any, Tensor, Tensor]:
    """Outputs of the peer and of ours with its weights, and gradients of x and of the first weight."""
    ours.load_state_dict(theirs.state_dict())
    weight, outputs, gradients = torch.randn(theirs(x)[0].shape), [], []
    for layer in (ours, theirs):
        leaf = x.clone().requires_grad_()
        outputs.append(layer(leaf, **options))
        (outputs[-1][0] * weight).sum().backward()
        gradients.append([leaf.grad, *(p.grad for p in layer.parameters())])
    return *outputs, *gradients


@pytest.mark.parametrize("options", [
    {}, {"dim": 16}, {"dim": 16, "num_codebooks": 3}, {"dim": 16, "projection_has_bias": False},
    {"preserve_symmetry": True}, {"bound_hard_clamp": True}, {"preserve_symmetry": True, "bound_hard_clamp": True},
    {"dim": 16, "keep_num_codebooks_dim": True},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("shape", [(3, 40), (2, 5, 7)], ids=["sequence", "image"])
def test_the_peers_checkpoint_gives_the_peers_codes(shape: tuple[int, ...], options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    ours, theirs = FSQ([8, 6, 5], **options), peers.FSQ([8, 6, 5], **options)
    x = 2 * torch.randn(*shape, options.get("dim", 3))
    x = x.movedim(-1, 1).contiguous() if len(shape) == 3 else x
    found, expected, grads, wanted = together(ours, theirs, x)
    assert torch.equal(found[1], expected[1].long())
    torch.testing.assert_close(found[0], expected[0], rtol=0, atol=1e-6)
    for mine, their in zip(grads, wanted, strict=True):
        torch.testing.assert_close(mine, their, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.indices_to_codes(found[1]), theirs.indices_to_codes(expected[1]), rtol=0, atol=1e-6)
    codes = ours.implicit_codebook
    torch.testing.assert_close(codes, theirs.implicit_codebook, rtol=0, atol=1e-6)
    assert torch.equal(
        ours.codes_to_indices(codes.repeat(1, ours.num_codebooks)).reshape(len(codes), -1)[:, 0], torch.arange(240)
    )
    assert torch.equal(ours.indices_to_level_indices(found[1]), theirs.indices_to_level_indices(found[1]))


def test_channel_first_sequences_and_no_indices() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 50)
    ours, theirs = FSQ([8, 6, 5], channel_first=True), peers.FSQ([8, 6, 5], channel_first=True)
    assert torch.equal(ours(x)[1], theirs(x)[1].long())
    assert FSQ([8, 6, 5], channel_first=True, return_indices=False)(x)[1] is None


def test_noise_only_in_training() -> None:
    layer, x = FSQ([9, 9], noise_dropout=0.5), torch.randn(2, 100, 2)
    plain = FSQ([9, 9])(x)
    noisy = layer(x)
    assert 0.3 < (noisy[0] != plain[0]).float().mean() < 0.7
    assert torch.equal(noisy[1], plain[1])
    assert torch.equal(layer.eval()(x)[0], plain[0])


@pytest.mark.parametrize(("arguments", "error", "message"), [
    ({"levels": [8, 2]}, ValueError, "levels must be numbers from 3.*symmetric"),
    ({"levels": 8}, TypeError, "levels must be a sequence of ints"),
    ({"levels": [8, 5], "variant": "sine"}, ValueError, "variant must be one of 'tanh'"),
    ({"levels": [8, 5], "variant": "tanh", "preserve_symmetry": True}, ValueError, "variant='tanh', but"),
    ({"levels": [8, 5], "noise_dropout": 2.0}, ValueError, r"noise_dropout must lie in \[0, 1\]"),
    ({"levels": [8, 5], "num_codebooks": 0}, ValueError, "num_codebooks must be a number of at least 1"),
    ({"levels": [8, 5], "num_codebooks": 2, "keep_num_codebooks_dim": False}, ValueError, "keep_num_codebooks_dim"),
    ({"levels": [8, 5], "dim": 0}, ValueError, "dim must be a number of at least 1; got 0"),
    ({"levels": [8, 5], "impl": "cuda"}, ValueError, "impl must be None"),
])  # fmt: skip
def test_bad_arguments_are_named(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        FSQ(**arguments)


def test_a_checkpoint_of_another_variant_or_size_says_which() -> None:
    layer = FSQ([8, 5, 5])
    with pytest.raises(
        RuntimeError, match=r"this is variant 'tanh' with levels \[8, 5, 5\], .* 'ifsq' with levels \[8, 5\]"
    ):
        layer.load_state_dict(FSQ([8, 5], variant="ifsq").state_dict())
    wide = FSQ([8, 5, 5], dim=9)
    before = wide.project_in.weight.clone()
    with pytest.raises(RuntimeError, match=r"size mismatch for project_in.weight"):
        wide.load_state_dict(peers.FSQ([8, 5, 5], dim=10).state_dict())
    assert torch.equal(wide.project_in.weight, before)


# --- residual --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 40), (2, 30)], ids=str)
@pytest.mark.parametrize("dim", [3, 10])
def test_residual_codes_are_the_peers(dim: int, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {"levels": [5, 5, 4], "num_quantizers": 4, "dim": dim}
    ours, theirs = ResidualFSQ(**options), peers.ResidualFSQ(**options)
    found, expected, _, _ = together(ours, theirs, 2 * torch.randn(*shape, dim), return_all_codes=True)
    # A residual near a boundary of a level may round either way, and all later stages with it: a few in a thousand.
    same = (found[1] == expected[1]).all(-1)
    assert same.float().mean() > 0.98
    torch.testing.assert_close(found[0][same], expected[0][same], rtol=0, atol=1e-5)
    torch.testing.assert_close(found[2][:, same], expected[2][:, same], rtol=0, atol=1e-6)
    torch.testing.assert_close(
        ours.get_output_from_indices(expected[1].long()), theirs.get_output_from_indices(expected[1])
    )


def by_the_formula(x: Tensor, levels: list[int], stages: int, twice: bool) -> tuple[Tensor, Tensor]:
    """As vector-quantize-pytorch 1.17.8 (`twice`) and 1.21.0 have it, written anew."""
    count = torch.tensor(levels)
    half_width, place = count // 2, torch.tensor([1, *levels[:-1]]).cumprod(0)
    residual, total, indices = bounded(x, count) if twice else x, torch.zeros_like(x), []
    for stage in range(stages):
        scale = (count - 1.0) ** -stage
        digit = bounded(residual / scale, count).round()
        code = digit / half_width * scale
        residual, total = residual - code, total + code
        indices.append(((digit + half_width) * place).sum(-1).long())
    return total, torch.stack(indices, -1)


@pytest.mark.parametrize("variant", ["bounded", "tanh"])
def test_older_variants(variant: str) -> None:
    x = torch.randn(200, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    levels = [4, 5, 7, 8]
    layer = ResidualFSQ(levels=levels, num_quantizers=4, variant=variant)
    quantized, indices = layer(x)
    total, expected = by_the_formula(x.detach(), levels, 4, variant == "bounded")
    assert (indices == expected).float().mean() > 0.99
    assert (quantized - total).abs().median() < 1e-6
    (grad,) = torch.autograd.grad(quantized.sum(), x)
    first = FSQ(levels)(bounded(x, torch.tensor(levels)) if variant == "bounded" else x)[0]
    torch.testing.assert_close(grad, torch.autograd.grad(first.sum(), x)[0])


def test_symmetric_stages_are_the_peers_without_its_clamp() -> None:
    peer = peers.ResidualFSQ(levels=[4, 5, 8], num_quantizers=3, bound_hard_clamp=False).eval()
    layer = ResidualFSQ(levels=[4, 5, 8], num_quantizers=3, variant="symmetric").eval()
    layer.load_state_dict(peer.state_dict())
    x = torch.randn(2, 300, 3, generator=torch.Generator().manual_seed(0))
    expected, indices = peer(x)
    quantized, found = layer(x)
    agree = (found == indices).all(-1)
    assert agree.float().mean() > 0.999
    torch.testing.assert_close(quantized[agree], expected[agree])
    assert torch.equal(layer.get_output_from_indices(found), quantized)


def test_variants_differ_and_refuse_each_others_checkpoints() -> None:
    layers = [ResidualFSQ(levels=[4] * 4, num_quantizers=3, variant=v) for v in ("clamp", "tanh", "bounded")]
    x = torch.randn(100, 4)
    indices = [layer(x)[1] for layer in layers]
    assert all((a != b).float().mean() > 0.2 for a, b in ((indices[0], indices[1]), (indices[1], indices[2])))
    with pytest.raises(
        RuntimeError,
        match=r"this is variant 'clamp' .* the checkpoint variant 'bounded' with 3 stages of levels \[4, 4, 4, 4\]",
    ):
        layers[0].load_state_dict(layers[2].state_dict())


def test_more_stages_come_nearer_and_the_gradient_passes_once() -> None:
    """To the clamped x, whose gradient is that of the output."""
    x = torch.randn(500, 3, requires_grad=True)
    levels = [5, 5, 4]
    limit = 1 + 1 / (torch.tensor(levels) - 1)
    clamped = (x / limit).tanh() * limit
    errors = []
    for stages in (1, 2, 4, 6):
        quantized = ResidualFSQ(levels=levels, num_quantizers=stages)(x)[0]
        errors.append((quantized - clamped).abs().max().item())
        (grad,) = torch.autograd.grad(quantized.sum(), x)
        torch.testing.assert_close(grad, torch.autograd.grad(clamped.sum(), x, retain_graph=True)[0])
    assert all(later < 0.4 * earlier for earlier, later in itertools.pairwise(errors))


def test_dropped_stages() -> None:
    options: dict[str, Any] = {"levels": [5, 5, 4], "num_quantizers": 8}
    layer = ResidualFSQ(
        **options, quantize_dropout=True, quantize_dropout_cutoff_index=1, quantize_dropout_multiple_of=2
    )
    x, seen = torch.randn(2, 10, 3), set()
    for seed in range(40):
        torch.manual_seed(seed)
        quantized, indices = layer(x)
        used = int((indices[0, 0] >= 0).sum())
        assert (indices[..., :used] >= 0).all()
        assert (indices[..., used:] == -1).all()
        torch.testing.assert_close(quantized, layer.get_output_from_indices(indices[..., :used]))
        seen.add(used)
    assert seen == {2, 4, 6, 8}
    assert (layer.eval()(x)[1] >= 0).all()
    few = layer(x, active=torch.tensor(3))
    assert torch.equal(few[0], ResidualFSQ(**{**options, "num_quantizers": 3})(x)[0])


@pytest.mark.parametrize(("arguments", "message"), [
    ({"num_quantizers": 0}, "num_quantizers must be a number of at least 1; got 0"),
    ({"variant": "ifsq"}, "variant must be one of 'clamp', 'tanh', 'bounded', 'symmetric'; got 'ifsq'"),
    ({"soft_clamp_input_value": 2.0}, "soft_clamp_input_value must be None for variant 'clamp'"),
    ({"variant": "tanh", "soft_clamp_input_value": [1.0]}, "soft_clamp_input_value must be above 0, one or 3 numbers"),
    ({"quantize_dropout_cutoff_index": 4}, "quantize_dropout_cutoff_index must lie in"),
    ({"levels": [5, 5, 1]}, "levels must be numbers from 2"),
])  # fmt: skip
def test_bad_residual_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ResidualFSQ(**{"levels": [5, 5, 4], "num_quantizers": 3, **arguments})
