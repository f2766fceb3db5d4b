"""What holds for every scalar quantizer: layouts, masks, round trips, precision, compilation, state."""

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .scalar_layers import LAYERS, extra_axes

pytestmark = pytest.mark.parametrize("name", LAYERS)


def build(name: str, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return LAYERS[name](**options)


def step(layer: nn.Module, x: Tensor, **options: Any) -> Tensor:
    quantized, _, *losses = layer(x, **options)
    return quantized.square().sum() + sum(loss.sum() for loss in losses)


@pytest.mark.parametrize("shape", [(2, 20), (2, 4, 5), (2, 2, 2, 5)], ids=["sequence", "image", "video"])
def test_layouts_agree_and_indices_come_back(name: str, shape: tuple[int, ...]) -> None:
    plain, first = build(name, channel_first=False).eval(), build(name, channel_first=True).eval()
    rows = torch.randn(*shape, 6)
    x = rows.movedim(-1, 1).contiguous()
    quantized, indices, *_ = first(x)
    expected = plain(rows)
    assert indices.shape == (*shape, *extra_axes(name))
    assert indices.dtype == torch.int64
    assert torch.equal(indices, expected[1])
    torch.testing.assert_close(quantized.movedim(1, -1), expected[0])
    torch.testing.assert_close(first.get_output_from_indices(indices), quantized)
    torch.testing.assert_close(plain.get_output_from_indices(indices), expected[0])


@pytest.mark.parametrize("channel_first", [False, True])
def test_indices_to_codes_to_indices_is_the_identity(name: str, channel_first: bool) -> None:
    layer = build(name, channel_first=channel_first).eval()
    if name.startswith("Residual"):
        indices = torch.randint(-1, layer.codebook_size, (2, 4, 3))
        codes = layer.get_codes_from_indices(indices)
        assert codes.shape[:3] == (3, 2, 4)
        assert not codes.movedim(0, 2)[indices == -1].any()
        assert torch.equal(layer.get_codes_from_indices(indices[..., :1])[:1], codes[:1])
        torch.testing.assert_close(layer.codebooks[1][indices.clamp(min=0)[..., 1]].shape, codes[1].shape)
        return
    indices = torch.randint(layer.codebook_size, (2, 3, 4, *extra_axes(name)))
    codes = layer.get_codes_from_indices(indices)
    assert codes.shape == (
        (2, layer.effective_codebook_dim, 3, 4) if channel_first else (2, 3, 4, layer.effective_codebook_dim)
    )
    assert torch.equal(layer.codes_to_indices(codes), indices)
    assert torch.equal(
        layer.codebook[indices.flatten()].flatten(),
        codes.movedim(1, -1).flatten() if channel_first else codes.flatten(),
    )
    assert torch.equal(layer.indices_to_codes(indices, project_out=False), codes)


def test_indices_out_of_range_are_named(name: str) -> None:
    layer = build(name)
    indices = torch.zeros(2, 5, *extra_axes(name), dtype=torch.int64)
    for value in (-2, layer.codebook_size):
        indices[1, 3] = value
        with pytest.raises(ValueError, match=rf"\[-1, {layer.codebook_size}\); got {value} at \(1, 3"):
            layer.get_output_from_indices(indices)
    with pytest.raises(TypeError, match=r"indices must be torch.int64.* got torch.float32"):
        layer.get_output_from_indices(indices.float())
    indices[1, 3] = -1
    assert not layer.get_output_from_indices(indices)[1, 3].any()


@pytest.mark.parametrize("channel_first", [False, True])
@pytest.mark.parametrize("how", ["mask", "lens"])
def test_masked_vectors_are_as_if_absent(name: str, how: str, channel_first: bool) -> None:
    layer = build(name, channel_first=channel_first)
    lens = torch.tensor([4, 7])
    mask = torch.arange(7) < lens[:, None]
    rows = torch.randn(2, 7, 6)
    rows[~mask] = torch.nan
    x = (rows.movedim(-1, 1) if channel_first else rows).clone().requires_grad_()
    torch.manual_seed(1)
    quantized, indices, *losses = layer(x, **({"mask": mask} if how == "mask" else {"lens": lens}))
    sum([quantized.square().sum(), *(loss.sum() for loss in losses)]).backward()
    short = rows[mask].clone().requires_grad_()
    plain = build(name, channel_first=False)
    torch.manual_seed(1)
    alone = plain(short[None])
    sum([alone[0].square().sum(), *(loss.sum() for loss in alone[2:])]).backward()
    last = quantized.movedim(1, -1) if channel_first else quantized
    torch.testing.assert_close(last[mask], alone[0][0])
    assert not last[~mask].any()
    assert torch.equal(indices[mask], alone[1][0])
    assert (indices[~mask] == -1).all()
    for mine, theirs in zip(losses, alone[2:], strict=True):
        torch.testing.assert_close(mine, theirs)
    grad = x.grad.movedim(1, -1) if channel_first else x.grad
    torch.testing.assert_close(grad[mask], short.grad)
    assert not grad[~mask].any()


def test_eval_equals_training_and_gradients_reach_the_encoder(name: str) -> None:
    layer, x = build(name), torch.randn(2, 9, 6, requires_grad=True)
    trained = layer(x)
    layer.eval()
    evaluated = layer(x)
    assert torch.equal(trained[0], evaluated[0])
    assert torch.equal(trained[1], evaluated[1])
    assert all(not loss.any() for loss in evaluated[2:])
    (grad,) = torch.autograd.grad(evaluated[0].sum(), x)
    assert grad.any()


@pytest.mark.parametrize("impl", ["reference", "triton"])
def test_implementations_agree(name: str, impl: Any) -> None:
    layer, other = build(name), build(name, impl=impl)
    results = []
    for module in (layer, other):
        x = torch.randn(2, 9, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
        loss = step(module, x)
        results.append((loss.detach(), module(x)[1], torch.autograd.grad(loss, x)[0]))
    assert torch.equal(results[0][1], results[1][1])
    torch.testing.assert_close(results[0][::2], results[1][::2], rtol=1e-5, atol=1e-5)


def test_precision(name: str) -> None:
    """bfloat16 throughout, and under autocast: float32 losses, x's dtype, nearly the codes of the same numbers wide."""
    layer = build(name)
    half = copy.deepcopy(layer).bfloat16()
    x = torch.randn(2, 9, 6)
    quantized, indices, *losses = half(x.bfloat16())
    assert quantized.dtype == torch.bfloat16
    assert all(loss.dtype == torch.float32 for loss in losses)
    wide = copy.deepcopy(half).float()  # the same rounded weights: entries in front of the quantizer differ by rounding
    assert (wide(x.bfloat16().float())[1] == indices).float().mean() > 0.7
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = layer(x)
    assert cast[0].dtype == torch.float32
    assert all(loss.dtype == torch.float32 for loss in cast[2:])


def test_compiles_whole_and_not_again_when_sizes_change(name: str) -> None:
    torch._dynamo.reset()
    layer = build(name)
    for training in (True, False):
        layer.train(training)
        compiled = torch.compile(step, fullgraph=True, backend="aot_eager", dynamic=True)
        for length in (8, 17):
            x, mask = torch.randn(2, length, 6, requires_grad=True), torch.rand(2, length) > 0.3
            (expected,) = torch.autograd.grad(step(layer, x, mask=mask), x)
            with torch._dynamo.config.patch(error_on_recompile=length > 8):
                (found,) = torch.autograd.grad(compiled(layer, x, mask=mask), x)
            torch.testing.assert_close(found, expected)


def test_exports_with_any_length(name: str) -> None:
    layer, x = build(name).eval(), torch.randn(2, 9, 6)
    program = torch.export.export(layer, (x,), dynamic_shapes=({1: torch.export.Dim("length")},))
    y = torch.randn(2, 14, 6)
    for mine, theirs in zip(program.module()(y), layer(y), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("reentrant", [False, True], ids=["non_reentrant", "reentrant"])
def test_checkpointing_changes_nothing(name: str, reentrant: bool) -> None:
    layer, x = build(name), torch.randn(2, 9, 6, requires_grad=True)
    (expected,) = torch.autograd.grad(step(layer, x), x)
    checkpoint(step, layer, x, use_reentrant=reentrant).backward()
    torch.testing.assert_close(x.grad, expected)


def test_functional_call(name: str) -> None:
    layer, x = build(name), torch.randn(2, 9, 6)
    state = {key: value.clone() for key, value in layer.state_dict().items()}
    found = torch.func.functional_call(layer, state, (x,))
    assert all(torch.equal(a, b) for a, b in zip(found, layer(x), strict=True))


def test_state_comes_back_without_pickle_and_copies_are_whole(name: str) -> None:
    layer, fresh, x = build(name), LAYERS[name](), torch.randn(2, 9, 6)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    built_on_meta = LAYERS[name]().to("meta")
    built_on_meta.load_state_dict(layer.state_dict(), assign=True)
    for other in (fresh, copy.deepcopy(layer), built_on_meta):
        assert all(torch.equal(a, b) for a, b in zip(other(x), layer(x), strict=True))


def test_another_scheme_is_refused_and_nothing_changes(name: str) -> None:
    layer = build(name)
    before = copy.deepcopy(layer.state_dict())
    state = {key: value.clone().float().mul(2).to(value.dtype) for key, value in before.items()}
    state["scheme"] = layer.scheme + torch.eye(len(layer.scheme), dtype=torch.int64)[1]
    with pytest.raises(RuntimeError, match=r"scheme: this is .*, the checkpoint "):
        layer.load_state_dict(state)
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())


def test_deterministic_and_repr(name: str) -> None:
    layer, x = build(name), torch.randn(2, 9, 6)
    torch.use_deterministic_algorithms(True)
    try:
        results = []
        for _ in range(2):
            leaf = x.clone().requires_grad_()
            step(layer, leaf).backward()
            results.append(leaf.grad)
        assert torch.equal(*results)
    finally:
        torch.use_deterministic_algorithms(False)
    assert "dim=6" in repr(layer)


@pytest.mark.parametrize(("x", "message"), [
    (torch.randn(2, 5, 7), r"x must have shape \[..., 6\]; got \(2, 5, 7\)"),
    (torch.randn(2, 7, 5, 5), r"x must have shape \[B, 6, ...\]; got \(2, 7, 5, 5\)"),
])  # fmt: skip
def test_bad_input_is_named(name: str, x: Tensor, message: str) -> None:
    first = {"channel_first": x.ndim == 4} if name == "LatentQuantize" else {}
    with pytest.raises(ValueError, match=message):
        build(name, **first)(x)
    with pytest.raises(ValueError, match=r"mask must have shape \(2, 5\)"):
        build(name, channel_first=False)(torch.randn(2, 5, 6), mask=torch.ones(2, 4).bool())


def test_nothing_kept_and_nothing_there(name: str) -> None:
    layer = build(name)
    for x, mask in ((torch.randn(2, 5, 6), torch.zeros(2, 5).bool()), (torch.randn(2, 0, 6), None)):
        leaf = x.requires_grad_()
        quantized, indices, *losses = layer(leaf, mask=mask)
        sum([quantized.sum(), *(loss.sum() for loss in losses)]).backward()
        assert not quantized.any()
        assert (indices == -1).all()
        assert all(not loss.any() for loss in losses)


def test_the_number_of_stages_is_checked(name: str) -> None:
    if not name.startswith("Residual"):
        pytest.skip("no stages")
    with pytest.raises(TypeError, match=r"active must be a torch.Tensor, 0-d int64, or None; got int"):
        build(name)(torch.randn(2, 6), active=2)
    with pytest.raises(ValueError, match=r"active must have no axes"):
        build(name)(torch.randn(2, 6), active=torch.ones(2).long())
