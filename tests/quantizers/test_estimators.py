"""Gradients through the choice, by name: against their formulas in float64."""

import importlib
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from aevae_fast import VectorQuantize, reference, update_codebooks

NAMES = ("straight_through", "rotation", "diveq", "ibq", "gumbel")


def differentiated(layer: VectorQuantize, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """quantized, indices, and the gradients of (weights·quantized).sum() to x and to the codes."""
    x = x.detach().requires_grad_()
    quantized, indices, _ = layer(x)
    quantized.backward(weights(x).to(quantized.dtype))
    assert x.grad is not None
    return quantized.detach(), indices, x.grad, layer._codebook.embed.grad


def weights(x: Tensor) -> Tensor:
    return torch.linspace(-1, 2, x.numel(), dtype=torch.float64).sin().view(x.shape)


def by_formula(name: str, x: Tensor, codes: Tensor, noise: Tensor | None, similarity: str) -> tuple[Tensor, Tensor]:
    """The same gradients, in x's dtype, by autograd through the estimator as it is written; temperature 0.7."""
    x, codes = x.detach().requires_grad_(), codes.detach().to(x.dtype).requires_grad_()
    met = F.normalize(x, dim=-1) if similarity == "dot" else x
    unit = F.normalize(codes, dim=-1) if similarity == "dot" else codes
    index = reference.nearest_code(met.detach(), unit.detach())
    code, seen = unit[index], unit if name == "ibq" else unit.detach()
    if name == "diveq":
        error = code - met
        aim = error.detach() + (0 if noise is None else noise)
        value = met + error.norm(dim=-1, keepdim=True) * F.normalize(aim, dim=-1)
    else:
        p = (reference.similarity(met, seen, similarity) / 0.7).softmax(-1)
        value = (F.one_hot(index, len(codes)) + p - p.detach()) @ seen
    value.backward(weights(x).to(x.dtype))
    assert x.grad is not None
    return x.grad, torch.zeros_like(codes) if codes.grad is None else codes.grad


@pytest.mark.parametrize("cosine", [False, True], ids=["euclidean", "cosine"])
@pytest.mark.parametrize("name", ["diveq", "ibq", "gumbel"])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_gradients_are_the_formulas(training: bool, name: str, cosine: bool) -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {"use_cosine_sim": cosine, "learnable_codebook": True, "sample_codebook_temp": 0.7}
    layer = VectorQuantize(6, 20, estimator=name, **options).train(training)
    x = torch.randn(3, 8, 6)
    torch.manual_seed(1)
    quantized, indices, to_x, to_codes = differentiated(layer, x)
    torch.manual_seed(1)
    noise = 5e-3**0.5 * torch.randn(3, 8, 6) if training else None
    given = (layer._codebook.embed[0], noise, "dot" if cosine else "euclidean")
    exact, plain = by_formula(name, x.double(), *given), by_formula(name, x, *given)
    found = (to_x, torch.zeros(20, 6) if to_codes is None else to_codes[0])
    for mine, theirs, truth in zip(found, plain, exact, strict=True):
        rounding = (theirs - truth).abs().max() + 8 * torch.finfo(torch.float32).eps * truth.abs().max()
        assert (mine - truth).abs().max() <= rounding
    if name == "diveq" and training:
        vectors = F.normalize(x, dim=-1) if cosine else x
        distance = (layer.codebook[indices] - vectors).norm(dim=-1)
        torch.testing.assert_close((quantized - vectors).norm(dim=-1), distance)
        assert 0 < (quantized - layer.codebook[indices]).norm(dim=-1).mean() < distance.mean()
    else:
        assert torch.equal(quantized, layer.codebook[indices])


def test_ibq_reaches_every_code_and_gumbel_none() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 6)
    reached = differentiated(VectorQuantize(6, 20, estimator="ibq"), x)[3]
    assert reached is not None
    assert reached.any(-1).all()
    layer = VectorQuantize(6, 20, estimator="gumbel", learnable_codebook=True)
    found = differentiated(layer, x)[3]
    assert found is None or not found.any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["rotation", "ibq", "gumbel"])
def test_values_are_the_codes_in_low_precision_too(name: str, dtype: torch.dtype) -> None:
    layer = VectorQuantize(6, 20, estimator=name)
    x = torch.randn(30, 6).to(dtype)
    quantized, indices, to_x, _ = differentiated(layer, x)
    assert torch.equal(quantized, layer.codebook[indices].to(dtype))
    assert to_x.dtype == dtype
    assert to_x.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_frozen_training_equals_eval(name: str) -> None:
    layer = VectorQuantize(6, 20, estimator=name, stochastic_sample_codes=True, freeze_codebook=True)
    x = torch.randn(30, 6)
    frozen, evaluated = differentiated(layer, x), differentiated(layer.eval(), x)
    for mine, theirs in zip(frozen[:3], evaluated[:3], strict=True):
        assert torch.equal(mine, theirs)
    assert frozen[3] is None or not frozen[3].any()


@pytest.mark.parametrize("name", ["diveq", "ibq", "gumbel"])
def test_the_codebook_moves_whatever_of_the_output_is_used(name: str) -> None:
    for use in (0, 2):
        layer = VectorQuantize(6, 20, estimator=name, ema_update=True)
        layer(torch.randn(30, 6, requires_grad=True))[use].sum().backward()
        update_codebooks()
        assert layer._codebook.steps == 1


@pytest.mark.parametrize("name", ["diveq", "ibq", "gumbel"])
def test_a_forced_reference_agrees(name: str) -> None:
    torch.manual_seed(0)
    fast = VectorQuantize(6, 20, estimator=name, learnable_codebook=True)
    plain = VectorQuantize(6, 20, estimator=name, learnable_codebook=True, impl="reference")
    plain.load_state_dict(fast.state_dict())
    results = []
    for layer in (fast, plain):
        torch.manual_seed(1)
        x = torch.linspace(-2, 2, 180).sin().view(30, 6).requires_grad_()
        found = layer(x)
        (found[0].square().sum() + found[2]).backward()
        results.append((*found, x.grad, layer._codebook.embed.grad))
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_names_and_their_aliases() -> None:
    assert VectorQuantize(6, 4).estimator == "straight_through"
    aliases = {"rotation_trick": "rotation", "straight_through": "gumbel", "directional_reparam": "diveq"}
    for flag, name in aliases.items():
        for options in ({flag: True}, {"estimator": name}, {flag: True, "estimator": name}):
            assert VectorQuantize(6, 4, **options).estimator == name
    learnable = {name: VectorQuantize(6, 4, estimator=name)._codebook.learnable for name in NAMES}
    assert learnable == {"straight_through": False, "rotation": False, "diveq": True, "ibq": True, "gumbel": False}
    assert not VectorQuantize(6, 4, estimator="ibq", ema_update=True)._codebook.learnable
    with pytest.raises(ValueError, match=r"estimator must be one of 'straight_through', .*; got 'ste'"):
        VectorQuantize(6, 4, estimator="ste")
    with pytest.raises(ValueError, match="rotation_trick=True and estimator='ibq' are different estimators"):
        VectorQuantize(6, 4, rotation_trick=True, estimator="ibq")


def test_gradient_through_the_softmax_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """No operation makes a tensor of rows times codes."""
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal largest
            found = func(*args, **(kwargs or {}))
            for tensor in found if isinstance(found, (tuple, list)) else (found,):
                largest = max(largest, tensor.numel() if isinstance(tensor, Tensor) else 0)
            return found

    monkeypatch.setattr(importlib.import_module("aevae_fast.portable.soft_codes"), "_SCORES", 1 << 12)
    layer = VectorQuantize(4, 512, estimator="ibq", stochastic_sample_codes=True, codebook_diversity_loss_weight=0.1)
    x = torch.randn(1000, 4, requires_grad=True)
    with Watch():
        quantized, indices, loss = layer(x)
        layer(x, indices=indices)[1].backward()
        (quantized.sum() + loss).backward()
    assert largest <= 1 << 15
