"""Every layout, mask and lens with every option of `VectorQuantize`: the same as the kept vectors alone."""

from typing import Any

import pytest
import torch
from torch import Tensor

from aevae_fast import VectorQuantize, functional

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "projected": {"codebook_dim": 4},
    "cosine": {"use_cosine_sim": True},
    "heads": {"heads": 2, "codebook_dim": 3},
    "heads_projected_cosine": {"heads": 3, "codebook_dim": 4, "use_cosine_sim": True},
    "separate": {"heads": 2, "codebook_dim": 3, "separate_codebook_per_head": True},
    "separate_projected": {"heads": 3, "codebook_dim": 4, "separate_codebook_per_head": True},
    "learnable": {"learnable_codebook": True},
    "rotation": {"rotation_trick": True},
    "diveq": {"estimator": "diveq"},
    "ibq": {"estimator": "ibq", "heads": 2},
    "gumbel": {"estimator": "gumbel", "use_cosine_sim": True, "codebook_dim": 4},
    "affine": {"affine_param": True},
    "diverse": {"codebook_diversity_loss_weight": 0.1},
}
LAYOUTS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "tokens": ((5, 6), {}),
    "sequence": ((3, 7, 6), {}),
    "grid": ((2, 4, 3, 6), {}),
    "tokens_first": ((5, 6), {"channel_last": False}),
    "sequence_first": ((3, 6, 7), {"channel_last": False}),
    "image": ((2, 6, 4, 3), {"accept_image_fmap": True}),
    "volume": ((2, 6, 2, 2, 3), {"accept_3d_fmap": True}),
}


def built(option: str, layout: str) -> tuple[VectorQuantize, VectorQuantize, Tensor, Tensor]:
    """The layer, the same for plain sequences, x and its vectors."""
    torch.manual_seed(0)
    shape, flags = LAYOUTS[layout]
    layer, plain = VectorQuantize(6, 20, **OPTIONS[option], **flags), VectorQuantize(6, 20, **OPTIONS[option])
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(shape)
    return layer, plain, x, x.movedim(1, -1) if flags else x


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("option", OPTIONS)
def test_a_layout_is_its_vectors(option: str, layout: str) -> None:
    layer, plain, x, rows = built(option, layout)
    quantized, indices, loss = layer.eval()(x)
    heads = (layer.heads,) if layer.heads > 1 else ()
    assert quantized.shape == x.shape
    assert quantized.is_contiguous()
    assert indices.shape == (*rows.shape[:-1], *heads)
    expected = plain.eval()(rows.reshape(-1, 6))
    assert torch.equal(indices, expected[1].view(indices.shape))
    vectors = quantized.movedim(1, -1) if not layer.channel_last else quantized
    torch.testing.assert_close(vectors.reshape(-1, 6), expected[0])
    torch.testing.assert_close(loss, expected[2])
    torch.testing.assert_close(layer.get_codes_from_indices(indices), quantized)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("option", OPTIONS)
def test_a_mask_keeps_the_vectors_that_it_keeps(option: str, layout: str) -> None:
    """Outputs, loss, gradients and what moves the codebook; lens are a mask; what stands elsewhere is not seen."""
    layer, plain, x, rows = built(option, layout)
    layer.directional_reparam_variance = plain.directional_reparam_variance = 0.0
    lens = torch.arange(len(x)) * 3 % (rows[0, ..., 0].numel() + 1)
    if rows.ndim > 2:
        mask = (torch.arange(rows[0, ..., 0].numel()) < lens[:, None]).view(rows.shape[:-1])
        arguments = {"lens": lens}
    else:
        mask = torch.arange(len(x)) % 3 > 0
        arguments = {"mask": mask}
    rows[~mask] = torch.nan
    x.requires_grad_()
    kept = rows[mask].detach().requires_grad_()
    results = []
    for run, given, options in ((layer, x, arguments), (plain, kept, {})):
        found = run(given, **options)
        (found[0].square().sum() + found[2]).backward()
        counts = run._codebook.sinks[0].grad
        run.freeze_codebook = True  # what has arrived is dropped
        results.append((*found, given.grad, counts, *(p.grad for p in run.parameters())))
    mine, theirs = results
    for place in (0, 3):
        whole = mine[place].movedim(1, -1) if not layer.channel_last else mine[place]
        assert not whole[~mask].any()
        torch.testing.assert_close(whole[mask], theirs[place])
    assert (mine[1][~mask] == -1).all()
    assert torch.equal(mine[1][mask], theirs[1])
    for found, expected in zip((mine[2], *mine[4:]), (theirs[2], *theirs[4:]), strict=True):
        torch.testing.assert_close(found, expected)
    codes = layer.get_codes_from_indices(mine[1])
    assert not (codes.movedim(1, -1) if not layer.channel_last else codes)[~mask].any()


@pytest.mark.parametrize("cosine", [False, True], ids=["euclidean", "cosine"])
@pytest.mark.parametrize("separate", [False, True], ids=["shared", "separate"])
def test_heads_are_quantizers_of_their_parts(separate: bool, cosine: bool) -> None:
    torch.manual_seed(0)
    layer = VectorQuantize(6, 20, 3, heads=2, separate_codebook_per_head=separate, use_cosine_sim=cosine).eval()
    assert layer.codebook.shape == ((2, 20, 3) if separate else (20, 3))
    x = torch.randn(2, 9, 6)
    quantized, indices, loss = layer(x)
    errors = []
    for head, part in enumerate(x.chunk(2, -1)):
        codes = layer.codebook[head] if separate else layer.codebook
        part = torch.nn.functional.normalize(part, dim=-1) if cosine else part
        index = functional.nearest_code(part, codes, metric="cosine" if cosine else "euclidean")
        assert torch.equal(indices[..., head], index)
        assert torch.equal(quantized[..., 3 * head : 3 * head + 3], codes[index])
        errors.append((part - codes[index]).square().mean())
    torch.testing.assert_close(loss, torch.stack(errors).mean())


def test_heads_of_one_layer_move_as_layers_of_their_own() -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {"decay": 0.8, "threshold_ema_dead_code": 0.9}
    layer = VectorQuantize(6, 20, 3, heads=2, separate_codebook_per_head=True, **options)
    alone = [VectorQuantize(3, 20, **options) for _ in range(2)]
    for head, other in enumerate(alone):
        for name in ("embed", "embed_avg"):
            getattr(other._codebook, name).copy_(getattr(layer._codebook, name)[head : head + 1])
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    for _ in range(4):
        x = torch.randn(2, 30, 6, requires_grad=True)
        layer(x)[2].backward()
        for part, other in zip(x.detach().chunk(2, -1), alone, strict=True):
            other(part.clone().requires_grad_())[2].backward()
        optimizer.step()
    for name in ("embed", "embed_avg", "cluster_size"):
        joined = torch.cat([getattr(other._codebook, name) for other in alone])
        torch.testing.assert_close(getattr(layer._codebook, name), joined)
    assert layer._codebook.steps == 4
    torch.testing.assert_close(layer.perplexity, torch.stack([other.perplexity for other in alone]).mean())
    torch.testing.assert_close(layer.usage, torch.stack([other.usage for other in alone]).mean())


def test_heads_without_a_gradient_move_at_once() -> None:
    for separate in (False, True):
        layer = VectorQuantize(6, 20, 3, heads=2, separate_codebook_per_head=separate, threshold_ema_dead_code=0)
        before = layer._codebook.cluster_size.clone()
        indices = layer(torch.randn(50, 6))[1]
        counts = torch.stack([index.bincount(minlength=20) for index in indices.unbind(-1)]).float()
        counts = counts if separate else counts.sum(0, keepdim=True)
        torch.testing.assert_close(layer._codebook.cluster_size, before * 0.99 + counts * 0.01)


def test_kmeans_of_heads() -> None:
    torch.manual_seed(0)
    centres = 20 * torch.randn(2, 8, 3)
    choice = torch.randint(8, (400, 2))
    x = torch.cat([centres[head, choice[:, head]] for head in range(2)], 1) + 0.1 * torch.randn(400, 6)
    layer = VectorQuantize(6, 8, 3, heads=2, separate_codebook_per_head=True, kmeans_init=True)
    layer(x)
    assert layer._codebook.initted
    assert torch.cdist(centres, layer.codebook).amin(2).max() < 0.2


def test_kmeans_waits_for_a_batch_with_something_to_go_by() -> None:
    torch.manual_seed(0)
    layer = VectorQuantize(6, 20, kmeans_init=True)
    before, x = layer.codebook.clone(), torch.randn(200, 6)
    layer(x, mask=torch.zeros(200, dtype=torch.bool))
    assert torch.equal(layer.codebook, before)
    assert not layer._codebook.initted
    layer(x)
    assert layer._codebook.initted
    assert layer(x)[2] < VectorQuantize(6, 20)(x)[2] / 2
