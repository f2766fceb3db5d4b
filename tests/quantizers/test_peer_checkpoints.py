"""Checkpoints of vector-quantize-pytorch load, and give its codes, outputs, losses and gradients where it is right."""

from typing import Any

import pytest
import torch

from aevae_fast.quantizers import GroupedResidualVQ, ResidualVQ, VectorQuantize

peer = pytest.importorskip("vector_quantize_pytorch")

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "vq": ("VectorQuantize", {"codebook_size": 20}),
    "vq_projected": ("VectorQuantize", {"codebook_size": 20, "codebook_dim": 4}),
    "vq_cosine": ("VectorQuantize", {"codebook_size": 20, "use_cosine_sim": True}),
    "vq_heads": ("VectorQuantize", {"codebook_size": 20, "heads": 2, "codebook_dim": 3}),
    "vq_separate_heads": (
        "VectorQuantize",
        {"codebook_size": 20, "heads": 2, "codebook_dim": 4, "separate_codebook_per_head": True},
    ),
    "residual": ("ResidualVQ", {"codebook_size": 20, "num_quantizers": 3}),
    "residual_sizes": ("ResidualVQ", {"codebook_size": (16, 8, 4)}),
    "residual_projected": ("ResidualVQ", {"codebook_size": 20, "num_quantizers": 3, "codebook_dim": 4}),
    "residual_shared": ("ResidualVQ", {"codebook_size": 20, "num_quantizers": 3, "shared_codebook": True}),
    "residual_cosine": ("ResidualVQ", {"codebook_size": 20, "num_quantizers": 3, "use_cosine_sim": True}),
    "grouped": ("GroupedResidualVQ", {"codebook_size": 20, "num_quantizers": 3, "groups": 2}),
    "grouped_projected": (
        "GroupedResidualVQ",
        {"codebook_size": 20, "num_quantizers": 3, "groups": 2, "codebook_dim": 3},
    ),
}
OURS = {"VectorQuantize": VectorQuantize, "ResidualVQ": ResidualVQ, "GroupedResidualVQ": GroupedResidualVQ}


def pair(name: str, **extra: Any) -> tuple[Any, Any]:
    """The peer's layer after some training steps, and ours with its state."""
    torch.manual_seed(0)
    kind, options = CASES[name]
    theirs = getattr(peer, kind)(dim=8, **options, rotation_trick=False, **extra)
    for _ in range(3):
        theirs(torch.randn(2, 100, 8))
    ours = OURS[kind](dim=8, **options, **extra)  # type: ignore[abstract]
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize("name", CASES)
def test_a_peers_checkpoint_gives_its_codes(name: str) -> None:
    ours, theirs = pair(name)
    x = torch.randn(2, 30, 8)
    mine, expected = ours.eval()(x), theirs.eval()(x)
    assert torch.equal(mine[1], expected[1])
    torch.testing.assert_close(mine[0], expected[0])
    if not name.startswith("vq"):
        assert torch.equal(ours.get_codes_from_indices(mine[1]), theirs.get_codes_from_indices(mine[1]))
        torch.testing.assert_close(ours.get_output_from_indices(mine[1]), theirs.get_output_from_indices(mine[1]))
    assert torch.stack([s._codebook.steps for s in ours.modules() if hasattr(s, "_codebook")]).sum() == 0


@pytest.mark.parametrize("name", CASES)
def test_our_state_has_the_peers_names(name: str) -> None:
    ours, theirs = pair(name)
    expected = theirs.state_dict()
    if name == "residual_shared":  # kept once
        expected = {key: tensor for key, tensor in expected.items() if "layers.0." in key}
    mine = {key: tensor for key, tensor in ours.state_dict().items() if not key.endswith((".steps", ".scheme"))}
    assert mine.keys() == expected.keys()
    for key, tensor in expected.items():
        assert mine[key].shape == tensor.shape


def test_a_checkpoint_of_several_codebooks_is_none_of_a_shared_one() -> None:
    several, _ = pair("residual")
    shared = ResidualVQ(8, 20, 3, shared_codebook=True)
    before = {key: tensor.clone() for key, tensor in shared.state_dict().items()}
    with pytest.raises(RuntimeError, match=r"layers\.1\._codebook"):
        shared.load_state_dict(several.state_dict())
    for key, tensor in shared.state_dict().items():
        assert torch.equal(tensor, before[key])


@pytest.mark.parametrize("name", ["residual", "residual_sizes", "residual_projected", "residual_cosine", "grouped"])
def test_losses_and_their_gradients_are_the_peers(name: str) -> None:
    """At its defaults: each stage's commitment reaches x."""
    ours, theirs = pair(name, commitment_weight=0.3)
    gradients, losses = [], []
    for layer in (ours, theirs):
        x = torch.linspace(-2, 2, 480).sin().view(2, 30, 8).requires_grad_()
        loss = layer(x, freeze_codebook=True)[2]
        (loss * torch.arange(1.0, 4.0)).sum().backward()
        gradients.append(x.grad)
        losses.append(loss)
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("name", ["residual", "residual_projected", "grouped"])
def test_the_outputs_gradient_is_the_peers_where_it_passes_once(name: str) -> None:
    """quant_grad_frac=1 there; at its default it is passed on once a stage."""
    ours, theirs = pair(name)
    for module in theirs.modules():
        if hasattr(module, "quant_grad_frac"):
            module.quant_grad_frac = 1.0
    gradients = []
    for layer in (ours, theirs):
        x = torch.linspace(-2, 2, 480).sin().view(2, 30, 8).requires_grad_()
        layer(x, freeze_codebook=True)[0].square().sum().backward()
        gradients.append(x.grad)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("use_cosine_sim", [False, True])
def test_a_codebook_for_another_metric_is_refused(use_cosine_sim: bool) -> None:
    layer = VectorQuantize(6, 20, use_cosine_sim=use_cosine_sim)
    other = VectorQuantize(6, 20, use_cosine_sim=not use_cosine_sim)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    with pytest.raises(RuntimeError, match=r"_codebook\.scheme: expected codes for the .* metric, got codes for"):
        layer.load_state_dict(other.state_dict())
    for name, value in layer.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_codebook_of_another_size_is_refused_whole_inside_any_module() -> None:
    """Where the counts fit and the codes do not, neither is taken."""
    model, other = torch.nn.Sequential(VectorQuantize(6, 20)), torch.nn.Sequential(VectorQuantize(5, 20))
    other[0]._codebook.cluster_size.fill_(7.0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(RuntimeError, match=r"size mismatch for 0\._codebook\.embed: expected \(1, 20, 6\), got"):
        model.load_state_dict(other.state_dict())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
