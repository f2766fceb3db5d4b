"""What a call of `VectorQuantize` may ask for, and terms of its loss."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from aevae_fast import VectorQuantize, functional, reference, update_codebooks
from aevae_fast.quantizers.regularizers import LossBreakdown, orthogonality


def pair(**options: Any) -> tuple[VectorQuantize, Any]:
    """Ours and the peer's layer, with the same state."""
    peer = pytest.importorskip("vector_quantize_pytorch")
    torch.manual_seed(0)
    theirs = peer.VectorQuantize(dim=6, codebook_size=20, rotation_trick=False, **options)
    ours = VectorQuantize(6, 20, threshold_ema_dead_code=0, **options)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


# --- several codes for each vector -----------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (2, 9, 6)),
        ({}, (9, 6)),
        ({"use_cosine_sim": True, "codebook_dim": 4}, (2, 9, 6)),
        ({"channel_last": False}, (2, 6, 9)),
        ({"accept_image_fmap": True}, (2, 6, 3, 4)),
    ],
    ids=["sequence", "tokens", "cosine_projected", "channel_first", "image"],
)
def test_topk_is_the_peers(options: dict[str, Any], shape: tuple[int, ...], training: bool) -> None:
    ours, theirs = pair(commitment_weight=0.3, **options)
    x = torch.randn(shape)
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    mine, expected = ours.train(training)(x, topk=4), theirs.train(training)(x, topk=4)
    assert torch.equal(mine[1], expected[1])
    assert mine[0].shape == expected[0].shape
    torch.testing.assert_close(mine[0], expected[0])
    torch.testing.assert_close(mine[2], expected[2])
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, before[name])
    if options != {"use_cosine_sim": True, "codebook_dim": 4}:
        torch.testing.assert_close(ours.get_codes_from_indices(mine[1]), mine[0])
    assert torch.equal(mine[1][..., 0], ours(x)[1])


@pytest.mark.parametrize("channel_last", [False, True])
def test_topk_gradients_and_masks(channel_last: bool) -> None:
    torch.manual_seed(0)
    layer = VectorQuantize(6, 20, channel_last=channel_last, learnable_codebook=True, codebook_dim=6)
    rows, mask = torch.randn(2, 5, 6), torch.rand(2, 5) > 0.4
    rows[~mask] = torch.nan
    x = (rows if channel_last else rows.mT).clone().requires_grad_()
    quantized, indices, losses = layer(x, mask=mask, topk=3)
    assert losses.shape == indices.shape == (2, 5, 3)
    assert not losses[~mask].any()
    assert (indices[~mask] == -1).all()
    (quantized.sum() + losses.sum()).backward()
    assert x.grad is not None
    to_rows = x.grad if channel_last else x.grad.mT
    codes = layer.codebook.detach()[indices[mask]]
    assert not to_rows[~mask].any()
    # straight through to each of k copies, and 2(x - c)/D of each commitment
    torch.testing.assert_close(to_rows[mask], 3 + 2 / 6 * (rows[mask][:, None] - codes).sum(1))
    pulled = torch.zeros(20, 6).index_add(
        0, indices[mask].flatten(), 2 / 6 * (codes - rows[mask][:, None]).flatten(0, 1)
    )
    assert layer._codebook.embed.grad is not None
    torch.testing.assert_close(layer._codebook.embed.grad[0], pulled)


# --- codes that are drawn --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"use_cosine_sim": True}, {"heads": 2, "codebook_dim": 3}], ids=str)
def test_drawn_codes_follow_the_softmax_and_move_the_codebook(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    layer = VectorQuantize(6, 5, stochastic_sample_codes=True, threshold_ema_dead_code=0, **options)
    book = layer._codebook
    x = torch.randn(6)
    part = F.normalize(x, dim=-1) if options.get("use_cosine_sim") else x.view(-1, layer.codebook_dim)[0]
    metric = "dot" if options.get("use_cosine_sim") else "euclidean"
    p = (reference.similarity(part, layer.codebook, metric) / 0.2).softmax(-1).double()
    n = 4000
    many = x.expand(n, 6).clone().requires_grad_()
    quantized, indices, loss = layer(many, sample_codebook_temp=0.2)
    first = indices[:, 0] if layer.heads > 1 else indices
    seen = first.bincount(minlength=5)
    assert ((seen - n * p).abs() < 5 * (n * p).sqrt() + 1).all()
    assert torch.equal(layer.get_codes_from_indices(indices), quantized)
    loss.backward()
    update_codebooks()
    everything = indices.flatten().bincount(minlength=5).float()
    torch.testing.assert_close(book.cluster_size[0], 0.99 + 0.01 * everything)


def test_nothing_is_drawn_in_eval_or_when_frozen_and_draws_follow_the_generator() -> None:
    torch.manual_seed(0)
    layer, x = VectorQuantize(6, 20, stochastic_sample_codes=True, sample_codebook_temp=5.0), torch.randn(50, 6)
    nearest = functional.nearest_code(x, layer.codebook)
    assert torch.equal(layer(x, freeze_codebook=True)[1], nearest)
    layer.train()
    layer.freeze_codebook = False
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(layer(x, topk=1)[1][:, 0])
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], nearest)
    assert torch.equal(layer(x, sample_codebook_temp=1e-6)[1], nearest)
    assert torch.equal(layer.eval()(x)[1], functional.nearest_code(x, layer.codebook))


# --- cross-entropy of given codes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_cosine_sim": True},
        {"heads": 2, "codebook_dim": 3},
        {"heads": 2, "codebook_dim": 4, "separate_codebook_per_head": True},
    ],
    ids=str,
)
def test_cross_entropy_is_the_peers(options: dict[str, Any]) -> None:
    ours, theirs = (layer.eval() for layer in pair(**options))
    x, heads = torch.randn(2, 9, 6), (options["heads"],) if "heads" in options else ()
    targets = torch.randint(-1, 20, (2, 9, *heads))
    gradients, losses = [], []
    for layer in (ours, theirs):
        y = x.clone().requires_grad_()
        loss = layer(y, indices=targets)[1]
        loss.backward()
        gradients.append(y.grad)
        losses.append(loss)
    assert torch.equal(ours(x)[0], ours(x, indices=targets)[0])
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("separate", [False, True])
def test_cross_entropy_of_what_a_mask_keeps(separate: bool) -> None:
    torch.manual_seed(0)
    layer = VectorQuantize(6, 20, 3, heads=2, separate_codebook_per_head=separate, channel_last=False).eval()
    plain = VectorQuantize(6, 20, 3, heads=2, separate_codebook_per_head=separate).eval()
    plain.load_state_dict(layer.state_dict())
    x, targets, mask = torch.randn(2, 6, 9), torch.randint(-1, 20, (2, 9, 2)), torch.rand(2, 9) > 0.5
    x.mT[~mask] = torch.nan
    x.requires_grad_()
    loss = layer(x, mask=mask, indices=targets)[1]
    torch.testing.assert_close(loss, plain(x.mT[mask], indices=targets[mask])[1])
    loss.backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


# --- the loss, term by term ------------------------------------------------------------------------------------------


def test_breakdown_holds_the_terms_without_their_weights() -> None:
    torch.manual_seed(0)
    layer = VectorQuantize(
        6,
        20,
        commitment_weight=0.3,
        codebook_weight=0.6,
        orthogonal_reg_weight=2.0,
        codebook_diversity_loss_weight=0.5,
    )
    x = torch.randn(50, 6)
    quantized, _, loss, terms = layer(x, return_loss_breakdown=True)
    assert isinstance(terms, LossBreakdown)
    assert terms._fields == ("commitment", "codebook_diversity", "orthogonal_reg", "inplace_optimize")
    torch.testing.assert_close(terms.commitment, (quantized - x).square().mean())
    torch.testing.assert_close(loss, 0.9 * terms.commitment + 2 * terms.orthogonal_reg + 0.5 * terms.codebook_diversity)
    assert terms.inplace_optimize == 0
    terms = layer.eval()(x, return_loss_breakdown=True)[3]
    assert terms.orthogonal_reg == terms.codebook_diversity == 0
    assert VectorQuantize(6, 20, commitment_weight=0)(x, return_loss_breakdown=True)[3].commitment == 0


def test_orthogonality_is_the_papers_and_the_peers() -> None:
    codes = torch.randn(2, 30, 6)
    exact = F.normalize(codes.double(), dim=-1)
    expected = ((exact @ exact.mT).square().sum((1, 2)) / 30**2 - 1 / 30).mean()
    torch.testing.assert_close(orthogonality(codes).double(), expected, rtol=1e-5, atol=0)
    assert orthogonality(torch.eye(6)[None]).abs() < 1e-7
    ours, theirs = pair(orthogonal_reg_weight=10.0, ema_update=False)
    ours.freeze_codebook = False
    x = torch.randn(4, 30, 6)
    assert ours._codebook.learnable
    mine = ours(x, return_loss_breakdown=True)[3].orthogonal_reg
    torch.testing.assert_close(mine, theirs(x, return_loss_breakdown=True)[3].orthogonal_reg)


def test_orthogonality_of_codes_in_use_and_of_a_draw() -> None:
    torch.manual_seed(0)
    layer = VectorQuantize(6, 40, orthogonal_reg_weight=1.0, orthogonal_reg_active_codes_only=True)
    _, indices, loss, terms = layer(torch.randn(15, 6), return_loss_breakdown=True)
    used = indices.unique()
    torch.testing.assert_close(terms.orthogonal_reg, orthogonality(layer.codebook[used][None]))
    loss.backward()
    assert layer._codebook.embed.grad is not None
    assert torch.equal(layer._codebook.embed.grad[0].any(1).nonzero()[:, 0], used)
    codes = layer.codebook.detach().clone().requires_grad_()
    seen = torch.zeros(40, dtype=torch.bool)
    for _ in range(60):
        (grad,) = torch.autograd.grad(orthogonality(codes[None], max_codes=5), codes)
        assert grad.any(1).sum() == 5
        seen |= grad.any(1)
    assert seen.all()
    few = torch.arange(40)[None] < 3
    torch.testing.assert_close(orthogonality(codes[None], few, max_codes=5), orthogonality(codes[None, :3]))


def test_diversity_is_the_entropy_of_the_batchs_use() -> None:
    torch.manual_seed(0)
    layer = VectorQuantize(6, 20, codebook_diversity_loss_weight=1.0, codebook_diversity_temperature=3.0)
    x = torch.randn(4, 25, 6)
    p = (3 * reference.similarity(x.double(), layer.codebook.double(), "euclidean")).softmax(-1).mean((0, 1))
    found = layer(x, return_loss_breakdown=True)[3].codebook_diversity
    torch.testing.assert_close(found.double(), (p * p.log()).sum(), rtol=1e-5, atol=0)
    ours, theirs = pair(codebook_diversity_loss_weight=1.0, codebook_diversity_temperature=3.0)
    x = x[:, 0]  # the peer takes the mean over batch entries for each place alone
    mine, expected = (layer(x, return_loss_breakdown=True)[3].codebook_diversity for layer in (ours, theirs))
    torch.testing.assert_close(mine, expected, rtol=1e-4, atol=0)


def test_diversity_spreads_the_codes_that_are_used() -> None:
    def codes_in_use(weight: float) -> int:
        torch.manual_seed(0)
        layer = VectorQuantize(2, 16, learnable_codebook=True, codebook_diversity_loss_weight=weight)
        layer.regularizers = layer.regularizers._replace(codebook_diversity_temperature=2.0)
        layer._codebook.dead_code_threshold = 0.0
        with torch.no_grad():
            layer._codebook.embed.mul_(0.1).add_(3.0)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
        for _ in range(60):
            optimizer.zero_grad()
            layer(torch.randn(200, 2))[2].backward()
            optimizer.step()
        return int(layer.eval()(torch.randn(2000, 2))[1].unique().numel())

    assert codes_in_use(1.0) > codes_in_use(0.0)


def test_extreme_temperatures_have_finite_gradients() -> None:
    layer = VectorQuantize(6, 20, codebook_diversity_loss_weight=1.0, codebook_diversity_temperature=1e4)
    x = torch.randn(50, 6, requires_grad=True)
    layer(x)[2].backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


# --- how the codebook moves ------------------------------------------------------------------------------------------


def test_weights_of_an_update_are_the_peers() -> None:
    for make in (lambda: torch.rand(20), lambda: torch.rand(1, 20), lambda: lambda sums, counts: counts / 20):
        ours, theirs = pair(decay=0.8)
        x, weight = torch.randn(4, 30, 6), make()
        ours(x.clone().requires_grad_(), ema_update_weight=weight)[2].backward()
        update_codebooks()
        theirs(x, ema_update_weight=weight)
        for name in ("cluster_size", "embed_avg", "embed"):
            torch.testing.assert_close(getattr(ours._codebook, name), getattr(theirs._codebook, name))


def test_a_code_without_weight_stays_and_weights_are_of_one_update() -> None:
    torch.manual_seed(0)
    layer = VectorQuantize(6, 20, decay=0.5, threshold_ema_dead_code=0)
    before, weight = layer._codebook.cluster_size.clone(), torch.ones(20)
    weight[3:] = 0
    x = torch.randn(200, 6)
    counts = layer(x, ema_update_weight=weight)[1].bincount(minlength=20)
    expected = torch.where(weight > 0, before[0].lerp(counts.float(), 0.5), before[0])
    torch.testing.assert_close(layer._codebook.cluster_size[0], expected)
    layer(x[:0], ema_update_weight=weight)
    torch.testing.assert_close(layer._codebook.cluster_size[0], expected)
    layer(x)
    assert (layer._codebook.cluster_size[0] != expected).all()


@pytest.mark.parametrize("options", [{}, {"learnable_codebook": True}], ids=str)
def test_freezing_for_one_call(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    layer, x = VectorQuantize(6, 20, **options), torch.randn(30, 6)
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    y = x.clone().requires_grad_()
    quantized, _, loss = layer(y, freeze_codebook=True)
    (quantized.sum() + loss).backward()
    update_codebooks()
    assert y.grad is not None
    for name, tensor in layer.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert not options or layer._codebook.embed.grad is None
    layer.freeze_codebook = True
    layer(x.clone().requires_grad_(), freeze_codebook=False)[2].backward()
    update_codebooks()
    assert layer._codebook.steps == 1


def test_freezing_drops_what_has_arrived() -> None:
    layer = VectorQuantize(6, 20)
    layer(torch.randn(30, 6, requires_grad=True))[2].backward()
    layer.freeze_codebook = True
    update_codebooks()
    assert layer._codebook.steps == 0


X = torch.randn(5, 6)


def _call(layer: VectorQuantize | None = None, x: Tensor = X, **arguments: Any) -> Any:
    return (layer or VectorQuantize(6, 20))(x, **arguments)


HEADS = {"heads": 2, "codebook_dim": 3}
BAD: list[tuple[type[Exception], str, Any]] = [
    (ValueError, r"topk must lie in \[1, 20\], .* got 21", lambda: _call(topk=21)),
    (TypeError, "topk must be an int; got 1.5", lambda: _call(topk=1.5)),
    (
        ValueError,
        "topk needs one head and no indices; got heads=2",
        lambda: _call(VectorQuantize(6, 4, **HEADS), topk=2),
    ),
    (ValueError, "topk needs one head and no indices", lambda: _call(topk=2, indices=torch.zeros(5).long())),
    (TypeError, "indices must be torch.int64; got torch.float32", lambda: _call(indices=torch.zeros(5))),
    (ValueError, r"indices must have shape \(5,\); got \(4,\)", lambda: _call(indices=torch.zeros(4).long())),
    (
        ValueError,
        r"indices must have shape \(5, 2\)",
        lambda: _call(VectorQuantize(6, 4, **HEADS), indices=torch.zeros(5).long()),
    ),
    (ValueError, r"indices must lie in \[-1, 19\]; got 20", lambda: _call(indices=torch.full((5,), 20))),
    (ValueError, "sample_codebook_temp must be above 0; got 0", lambda: _call(sample_codebook_temp=0)),
    (ValueError, "mask and lens", lambda: _call(x=X[None], mask=torch.ones(1, 5).bool(), lens=torch.ones(1).long())),
    (ValueError, r"ema_update_weight must have shape \(20,\)", lambda: _call(ema_update_weight=torch.ones(3))),
    (TypeError, "ema_update_weight must be a torch.Tensor or a function", lambda: _call(ema_update_weight=[1.0])),
    (TypeError, "unexpected keyword argument 'accum_ema_update'", lambda: _call(accum_ema_update=True)),
    (TypeError, "unexpected keyword argument 'sync_update_v'", lambda: VectorQuantize(6, 4, sync_update_v=0.1)),  # type: ignore[call-arg]
    (ValueError, "heads must be at least 1; got 0", lambda: VectorQuantize(6, 4, heads=0)),
    (TypeError, "heads must be an int; got True", lambda: VectorQuantize(6, 4, heads=True)),
    (
        ValueError,
        "orthogonal_reg_max_codes must be at least 1",
        lambda: VectorQuantize(6, 4, orthogonal_reg_max_codes=0),
    ),
    (
        ValueError,
        "orthogonal_reg_weight needs a codebook that moves by gradient",
        lambda: VectorQuantize(6, 4, orthogonal_reg_weight=1.0, ema_update=True),
    ),
    (
        ValueError,
        "codebook_diversity_temperature must be above 0; got 0",
        lambda: VectorQuantize(6, 4, codebook_diversity_temperature=0),
    ),
    (
        ValueError,
        "affine_param and use_cosine_sim",
        lambda: VectorQuantize(6, 4, affine_param=True, use_cosine_sim=True),
    ),
    (ValueError, r"affine_param_batch_decay must lie in", lambda: VectorQuantize(6, 4, affine_param_batch_decay=2)),
    (
        ValueError,
        r"indices must lie in \[-1, 19\]; got 20",
        lambda: VectorQuantize(6, 20).get_codes_from_indices(torch.tensor([0, 20])),
    ),
    (TypeError, "indices must be a torch.Tensor; got list", lambda: VectorQuantize(6, 4).get_codes_from_indices([0])),  # type: ignore[arg-type]
    (
        ValueError,
        r"indices must have shape \[..., 2\]",
        lambda: VectorQuantize(6, 20, **HEADS).get_codes_from_indices(torch.zeros(4, 3).long()),
    ),
]


def test_a_target_out_of_range_starts_no_initialisation() -> None:
    layer = VectorQuantize(6, 4, kmeans_init=True)
    before = copy.deepcopy(layer.state_dict())
    with pytest.raises(ValueError, match=r"indices must lie in \[-1, 3\]; got 4"):
        layer(X, indices=torch.full((5,), 4))
    assert all(torch.equal(tensor, before[name]) for name, tensor in layer.state_dict().items())
    padded = torch.tensor([0, 1, 2, 3, 99])
    assert layer(X, padded < 99, indices=padded)[1].isfinite()


@pytest.mark.parametrize(("error", "message", "call"), BAD, ids=[message[:40] for _, message, _ in BAD])
def test_bad_input_is_named(error: type[Exception], message: str, call: Any) -> None:
    with pytest.raises(error, match=message):
        call()


def test_a_copy_leaves_the_weights_of_an_update_behind(tmp_path: Path) -> None:
    """They may be a function, which cannot be saved, and belong to statistics that stay behind."""
    layer = VectorQuantize(6, 20)
    layer(torch.randn(30, 6, requires_grad=True), ema_update_weight=lambda sums, counts: counts)[2].backward()
    torch.save(layer, tmp_path / "layer.pt")
    for other in (copy.deepcopy(layer), torch.load(tmp_path / "layer.pt", weights_only=False)):
        assert other._codebook.row_weight is None
        other(X)
