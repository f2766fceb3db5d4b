"""`ResidualVQ` and `GroupedResidualVQ`: what they return and decode, their options, what they refuse."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from aevae_fast import functional, reference, update_codebooks
from aevae_fast.quantizers import GroupedResidualVQ, ResidualVQ, VectorQuantize
from aevae_fast.quantizers.beam_search import search_beams


def by_hand(layer: ResidualVQ, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Stage by stage in float64."""
    residual, total, indices, losses = x.double(), torch.zeros_like(x).double(), [], []
    for stage in layer.stages:
        codes = stage.codebook.double()
        index = torch.cdist(residual, codes.expand(*residual.shape[:-2], *codes.shape)).argmin(-1)
        total, residual = total + codes[index], residual - codes[index]
        indices.append(index)
        losses.append(residual.square().mean())
    return total, torch.stack(indices, -1), torch.stack(losses)


@pytest.mark.parametrize("sizes", [(20, 20, 20), (16, 8, 4)], ids=str)
@pytest.mark.parametrize("in_turn", [False, True], ids=["at_once", "in_turn"])
def test_returns_sum_indices_and_a_loss_a_stage(sizes: tuple[int, ...], in_turn: bool) -> None:
    torch.manual_seed(0)
    layer = ResidualVQ(6, sizes).eval()
    layer.at_once = not in_turn
    x = torch.randn(3, 15, 6)
    quantized, indices, losses, codes = layer(x, return_all_codes=True)
    total, chosen, errors = by_hand(layer, x)
    assert indices.shape == (3, 15, 3)
    assert torch.equal(indices, chosen)
    torch.testing.assert_close(quantized, total.float())
    torch.testing.assert_close(losses, errors.float())
    assert codes.shape == (3, 3, 15, 6)
    assert torch.equal(layer.get_codes_from_indices(indices), codes)
    assert torch.equal(layer.get_output_from_indices(indices), quantized)
    books = layer.codebooks
    assert [len(codes) for codes in books] == list(sizes)
    assert isinstance(books, Tensor) == (len(set(sizes)) == 1)


@pytest.mark.parametrize("options", [{}, {"codebook_dim": 4}, {"use_cosine_sim": True}, {"beam_size": 2}], ids=str)
@pytest.mark.parametrize("layout", ["channel_first", "image", "volume", "tokens"])
@pytest.mark.parametrize("grouped", [False, True], ids=["residual", "grouped"])
def test_layouts_agree_and_round_trip(layout: str, options: dict[str, Any], grouped: bool) -> None:
    """Image maps and channel-first sequences, masked and decoded."""
    torch.manual_seed(0)
    flags: dict[str, Any] = {"image": {"accept_image_fmap": True}, "volume": {"accept_3d_fmap": True}}.get(
        layout, {"channel_last": False}
    )
    if grouped:
        options = {"groups": 2, **options}

    def build(**extra: Any) -> Any:
        return (GroupedResidualVQ if grouped else ResidualVQ)(
            dim=8, codebook_size=20, num_quantizers=3, **options, **extra
        ).eval()

    layer, plain = build(**flags), build()
    plain.load_state_dict(layer.state_dict())
    inner = {"channel_first": (20,), "image": (4, 5), "volume": (2, 5, 2), "tokens": ()}[layout]
    rows, mask = torch.randn(2, *inner, 8), torch.rand(2, *inner) > 0.3
    mask.view(-1)[0] = True
    for given in (None, mask):
        quantized, indices, losses = layer(rows.movedim(-1, 1).contiguous(), mask=given)
        expected = plain(rows, mask=given)
        assert quantized.shape == rows.movedim(-1, 1).shape
        torch.testing.assert_close(quantized.movedim(1, -1), expected[0])
        assert torch.equal(indices, expected[1])
        torch.testing.assert_close(losses, expected[2])
        torch.testing.assert_close(layer.get_output_from_indices(indices), quantized)
    assert not quantized.movedim(1, -1)[~mask].any()
    assert (indices.movedim(0, -1)[~mask] == -1).all() if grouped else (indices[~mask] == -1).all()


@pytest.mark.parametrize("options", [{}, {"codebook_dim": 4}, {"use_cosine_sim": True}, {"beam_size": 2}], ids=str)
def test_a_mask_keeps_what_lens_keep_and_hides_the_rest(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    layer = ResidualVQ(6, 20, 3, **options)
    x, lens = torch.randn(3, 7, 6), torch.tensor([7, 0, 4])
    mask = torch.arange(7) < lens[:, None]
    x[~mask] = torch.nan
    x.requires_grad_()
    quantized, indices, losses = layer(x, lens=lens)
    (quantized.sum() + losses.sum()).backward()
    kept = layer(x[mask][None])
    torch.testing.assert_close(quantized[mask], kept[0][0])
    assert torch.equal(indices[mask], kept[1][0])
    torch.testing.assert_close(losses, kept[2])
    assert not quantized[~mask].any()
    assert x.grad is not None
    assert not x.grad[~mask].any()
    assert all(p.grad.isfinite().all() for p in layer.parameters() if p.grad is not None)
    update_codebooks()
    counts = torch.stack([stage._codebook.cluster_size[0].sum() for stage in layer.stages])
    torch.testing.assert_close(counts, torch.full((3,), 0.99 * 20 + 0.01 * 11))
    assert not layer(x, mask=torch.zeros_like(mask))[2].any()


# --- gradients -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_turn", [False, True], ids=["at_once", "in_turn"])
@pytest.mark.parametrize("detach", [True, False], ids=["detached", "attached"])
@pytest.mark.parametrize("options", [{}, {"learnable_codebook": True}, {"rotation_trick": True}], ids=str)
def test_gradients(options: dict[str, Any], detach: bool, in_turn: bool) -> None:
    """Through the choice once; a commitment term from each stage, or from the first; a codebook term to its own."""
    torch.manual_seed(0)
    layer = ResidualVQ(6, 20, 3, detach_residual=detach, commitment_weight=0.7, codebook_weight=0.4, **options)
    layer.at_once = not in_turn
    x = torch.randn(10, 6, requires_grad=True)
    quantized, indices, losses = layer(x)
    weight, weights = torch.randn(10, 6), torch.tensor([1.0, 2.0, 3.0])
    ((quantized * weight).sum() + (losses * weights).sum()).backward()
    expected = weight
    if options.get("rotation_trick"):
        source = x.detach().requires_grad_()
        (reference.rotate_to(source, quantized.detach()) * weight).sum().backward()
        assert source.grad is not None
        expected = source.grad
    residual = x.detach()
    for stage, layer_ in enumerate(layer.stages):
        codes, index = layer_._codebook.embed.detach()[0], indices[:, stage]
        residual = residual - codes[index]
        if detach or stage == 0:
            expected = expected + 2 * 0.7 * weights[stage] * residual / residual.numel()
        if options.get("learnable_codebook"):
            pull = torch.zeros_like(codes).index_add(0, index, -2 * 0.4 * weights[stage] * residual / residual.numel())
            torch.testing.assert_close(layer_._codebook.embed.grad[0], pull)
    torch.testing.assert_close(x.grad, expected)


@pytest.mark.parametrize("mode", ["train", "eval", "frozen", "frozen_call", "dropout"])
def test_the_encoder_is_fed_in_every_mode(mode: str) -> None:
    layer = ResidualVQ(6, 20, 3, codebook_dim=4, freeze_codebook=mode == "frozen", quantize_dropout=mode == "dropout")
    layer.train(mode != "eval")
    x = torch.randn(10, 6, requires_grad=True)
    quantized, _, losses = layer(x, freeze_codebook=mode == "frozen_call")
    (quantized.sum() + losses.sum()).backward()
    update_codebooks()
    assert x.grad is not None
    assert x.grad.any()
    moved = [bool(stage._codebook.steps) for stage in layer.stages]
    assert moved[0] == (mode in ("train", "dropout"))
    assert mode == "dropout" or len(set(moved)) == 1


# --- stages ----------------------------------------------------------------------------------------------------------


def test_stages_in_turn_train_as_all_at_once() -> None:
    def trained(at_once: bool, **options: Any) -> ResidualVQ:
        torch.manual_seed(0)
        layer = ResidualVQ(6, 20, 3, decay=0.8, threshold_ema_dead_code=0, **options)
        layer.at_once = at_once
        encoder = torch.nn.Linear(6, 6)
        optimizer = torch.optim.SGD([*encoder.parameters(), *layer.parameters()], lr=0.1)
        for _ in range(4):
            quantized, _, losses = layer(encoder(torch.randn(50, 6)))
            optimizer.zero_grad()
            (quantized.square().mean() + losses.sum()).backward()
            optimizer.step()
        return layer

    for options in ({}, {"learnable_codebook": True}, {"shared_codebook": True}, {"quantize_dropout": True}):
        mine, theirs = trained(True, **options).state_dict(), trained(False, **options).state_dict()
        for name, tensor in mine.items():
            torch.testing.assert_close(tensor, theirs[name], msg=f"{options} {name}")


@pytest.mark.parametrize("in_turn", [False, True], ids=["at_once", "in_turn"])
@pytest.mark.parametrize("by_gradient", [False, True], ids=["in_forward", "at_step"])
def test_a_shared_codebook_moves_by_what_all_stages_found(in_turn: bool, by_gradient: bool) -> None:
    torch.manual_seed(0)
    layer = ResidualVQ(6, 20, 3, shared_codebook=True, threshold_ema_dead_code=0)
    layer.at_once = not in_turn
    assert len({id(stage._codebook) for stage in layer.stages}) == 1
    book = layer.stages[0]._codebook
    codes, x = book.codes.clone(), torch.randn(50, 6, requires_grad=by_gradient)
    indices, losses = layer(x)[1:]
    if by_gradient:
        losses.sum().backward()
        update_codebooks()
    rows = x.detach()
    residuals = [rows, rows - codes[indices[:, 0]], rows - codes[indices[:, 0]] - codes[indices[:, 1]]]
    counts, sums = reference.codebook_statistics(torch.cat(residuals), indices.T.flatten(), 20)
    ones = torch.ones(20)
    expected = reference.ema_update(codes, ones, codes, counts, sums)
    for mine, theirs in zip((book.codes, book.cluster_size[0], book.embed_avg[0]), expected, strict=True):
        torch.testing.assert_close(mine, theirs)
    assert book.steps == 1


@pytest.mark.parametrize("options", [{}, {"shared_codebook": True}, {"codebook_size": (12, 20, 8)}], ids=str)
def test_dead_codes_come_back_as_residuals_of_their_stage(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    layer = ResidualVQ(6, **{"codebook_size": 20, "num_quantizers": 3, **options}, threshold_ema_dead_code=0.995)
    before = [stage.codebook.clone() for stage in layer.stages]
    x = torch.randn(2, 1, 6) + 0.01 * torch.randn(2, 40, 6)  # few codes are used
    indices = layer(x)[1]
    residual, residuals = x, []
    for stage, codes in enumerate(before):
        residuals.append(residual.flatten(0, 1))
        residual = residual - codes[indices[..., stage]]
    for stage, quantizer in enumerate(layer.stages):
        fresh = quantizer._codebook.cluster_size[0].isclose(torch.tensor(1.05 * 0.995))
        assert fresh.any()
        pool = torch.cat(residuals) if options.get("shared_codebook") else residuals[stage]
        differences = (quantizer.codebook[fresh][:, None] - pool).abs().amax(2).amin(1)
        assert differences.max() < 1e-6
        assert len(quantizer.codebook[fresh].unique(dim=0)) > 1


def test_kmeans_takes_each_stages_codes_from_its_residuals() -> None:
    torch.manual_seed(0)
    coarse, fine = 20 * torch.randn(8, 6), torch.randn(4, 6)
    x = (coarse[:, None] + fine).repeat(20, 1, 1).flatten(0, 1) + 0.01 * torch.randn(640, 6)
    for at_once in (True, False):
        layer = ResidualVQ(6, (8, 4), kmeans_init=True, quantize_dropout=True)
        layer.at_once = at_once
        layer(x)
        assert all(stage._codebook.initted for stage in layer.stages)
        assert (x - layer.eval()(x)[0]).square().mean() < 0.01
        assert layer.usage.min() == 1
        assert layer.perplexity.shape == (2,)


# --- quantize-dropout ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cutoff", "multiple"), [(0, 1), (1, 1), (0, 2), (2, 4)])
@pytest.mark.parametrize("grouped", [False, True], ids=["residual", "grouped"])
def test_dropout_draws_every_number_of_stages(cutoff: int, multiple: int, grouped: bool) -> None:
    torch.manual_seed(0)
    options = {"quantize_dropout_cutoff_index": cutoff, "quantize_dropout_multiple_of": multiple}
    layer: Any = (GroupedResidualVQ if grouped else ResidualVQ)(
        dim=6, codebook_size=8, num_quantizers=5, quantize_dropout=True, **options, **({"groups": 2} if grouped else {})
    )
    seen = set()
    for _ in range(60):
        _, indices, losses = layer(torch.randn(4, 6))
        used = (indices >= 0).flatten(0, -2)
        assert (used == used[0]).all()
        assert torch.equal((losses > 0).view(-1, 5), used[: losses.numel() // 5])
        seen.add(int(used[0].sum()))
    expected = {min(5, -(-(last + 1) // multiple) * multiple) for last in range(cutoff, 5)}
    assert seen == expected
    assert (layer.eval()(torch.randn(4, 6))[1] >= 0).all()


def test_coarse_indices_decode() -> None:
    torch.manual_seed(0)
    layer = ResidualVQ(6, 20, 4, codebook_dim=3).eval()
    x = torch.randn(2, 9, 6)
    for stages in range(1, 5):
        quantized, indices, losses = layer(x, active=torch.tensor(stages))
        assert (indices[..., stages:] == -1).all()
        assert not losses[stages:].any()
        torch.testing.assert_close(layer.get_output_from_indices(indices[..., :stages]), quantized)
        torch.testing.assert_close(layer.get_output_from_indices(indices), quantized)
        assert layer.get_codes_from_indices(indices[..., :stages]).shape == (4, 2, 9, 3)


# --- beams -----------------------------------------------------------------------------------------------------------


def test_beams_as_wide_as_all_sums_find_the_best_one() -> None:
    torch.manual_seed(0)
    books = [torch.randn(size, 3) for size in (4, 3, 4)]
    x = torch.randn(5, 7, 3)
    x[2, 3] = torch.nan
    paths = torch.tensor(list(itertools.product(*(range(len(book)) for book in books))))
    sums = sum(book[path] for book, path in zip(books, paths.T, strict=True))
    best = paths[torch.cdist(x.flatten(0, 1), sums).argmin(1)].view(5, 7, 3)
    best[2, 3] = -1
    assert torch.equal(search_beams(x, books, 48), best)


def test_one_beam_is_greedy_and_more_are_nearer() -> None:
    torch.manual_seed(0)
    layer, x = ResidualVQ(6, 20, 4).eval(), torch.randn(200, 6)
    codes = list(layer.codebooks)
    assert torch.equal(search_beams(x, codes, 1), layer(x)[1])
    errors = [(x - layer(x, beam_size=size)[0]).square().mean() for size in (1, 2, 4, 8)]
    assert errors == sorted(errors, reverse=True)
    for stages in range(1, 4):
        found = search_beams(x, codes, 4, torch.tensor(stages))
        assert torch.equal(found[:, :stages], search_beams(x, codes[:stages], 4))
        assert (found[:, stages:] == -1).all()


@pytest.mark.parametrize("options", [{}, {"learnable_codebook": True}, {"rotation_trick": True}], ids=str)
@pytest.mark.parametrize("detach", [True, False], ids=["detached", "attached"])
def test_given_the_greedy_codes_beams_train_as_the_one_operation(
    options: dict[str, Any], detach: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(beam_size: int) -> ResidualVQ:
        torch.manual_seed(0)
        layer = ResidualVQ(6, 20, 3, beam_size=beam_size, detach_residual=detach, quantize_dropout=True, **options)
        encoder = torch.nn.Linear(6, 6)
        optimizer = torch.optim.SGD([*encoder.parameters(), *layer.parameters()], lr=0.1)
        for _ in range(3):
            x, mask = torch.randn(50, 6), torch.rand(50) > 0.2
            quantized, _, losses = layer(encoder(x), mask=mask)
            optimizer.zero_grad()
            (quantized.square().mean() + losses.sum()).backward()
            optimizer.step()
        layer.register_parameter("encoder", encoder.weight)
        return layer

    expected = trained(1).state_dict()
    from aevae_fast.quantizers import residual_stages

    monkeypatch.setattr(
        residual_stages, "search_beams", lambda x, codes, width, active: search_beams(x, codes, 1, active)
    )
    for name, tensor in trained(2).state_dict().items():
        torch.testing.assert_close(tensor, expected[name], msg=name)


def test_beams_for_eval_alone() -> None:
    layer, x = ResidualVQ(6, 20, 3, beam_size=1, eval_beam_size=4), torch.randn(60, 6)
    greedy = layer(x, freeze_codebook=True)[1]
    wide = layer.eval()(x)[1]
    assert not torch.equal(greedy, wide)
    assert torch.equal(wide, layer.train()(x, beam_size=4)[1])


# --- options of the stages -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ["diveq", "ibq", "gumbel"])
def test_estimators_of_stages_pass_the_gradient_once(estimator: str) -> None:
    """The value is the sum of the codes (DiVeQ's without its noise); codes and encoder learn as the estimator says."""
    torch.manual_seed(0)
    layer = ResidualVQ(6, 20, 3, estimator=estimator, directional_reparam_variance=0.0)
    assert not layer.at_once
    x = torch.randn(40, 6, requires_grad=True)
    quantized, indices, losses, codes = layer(x, return_all_codes=True)
    torch.testing.assert_close(quantized, codes.sum(0))
    weight = torch.randn(40, 6)
    (quantized * weight).sum().backward()
    assert x.grad is not None
    taught = [stage._codebook.embed.grad for stage in layer.stages]
    if estimator == "diveq":  # x + ‖Σc - x‖·sg[direction]
        step = (quantized - x).detach()
        unit = step / step.norm(dim=-1, keepdim=True)
        along = (weight * unit).sum(-1, keepdim=True) * unit
        torch.testing.assert_close(x.grad, weight - along)
        for stage, gradient in enumerate(taught):
            assert gradient is not None
            torch.testing.assert_close(gradient[0], torch.zeros(20, 6).index_add(0, indices[:, stage], along))
    else:
        assert x.grad.any()
        assert all((gradient is not None and bool(gradient.any())) == (estimator == "ibq") for gradient in taught)
    update_codebooks()
    assert all(stage._codebook.steps == 1 for stage in layer.stages)
    assert not losses.isnan().any()


@pytest.mark.parametrize(
    "options",
    [
        {"stochastic_sample_codes": True},
        {"orthogonal_reg_weight": 0.1},
        {"codebook_diversity_loss_weight": 0.1},
        {"affine_param": True},
    ],
    ids=str,
)
def test_stages_with_options_of_their_own_train(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    layer = ResidualVQ(6, 20, 3, **options)
    assert not layer.at_once
    before = [stage._codebook.embed.clone() for stage in layer.stages]
    optimizer = torch.optim.SGD(list(layer.parameters()) or [torch.zeros(1)], lr=0.1)
    x = torch.randn(60, 6, requires_grad=True)
    for _ in range(3):
        quantized, indices, losses = layer(x)
        (quantized.sum() + losses.sum()).backward()
        optimizer.step()
    for old, stage in zip(before, layer.stages, strict=True):
        assert not torch.equal(old, stage._codebook.embed)
        assert stage._codebook.embed.isfinite().all()
    quantized, indices, _ = layer.eval()(x)
    torch.testing.assert_close(layer.get_output_from_indices(indices), quantized)


@pytest.mark.parametrize("grouped", [False, True], ids=["residual", "grouped"])
def test_cross_entropy_of_given_codes(grouped: bool) -> None:
    """Stage q's softmax(-‖r_q - c‖), r_q being what the given codes before it leave over."""
    torch.manual_seed(0)
    options = {"codebook_size": 20, "num_quantizers": 3}
    layer: Any = GroupedResidualVQ(6, 2, **options) if grouped else ResidualVQ(6, **options)
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    x = torch.randn(2, 15, 6, requires_grad=True)
    indices = torch.randint(0, 20, (2, 2, 15, 3) if grouped else (2, 15, 3))
    indices[..., 4, 1] = -1
    quantized, loss = layer(x, indices=indices)
    expected = torch.zeros(())
    parts = layer.residual_quantizers if grouped else [layer]
    for rvq, rows, chosen in zip(parts, x.chunk(len(parts), -1), indices if grouped else [indices], strict=True):
        residual = rows
        for codes, target in zip(rvq.codebooks, chosen.unbind(-1), strict=True):
            logits = -torch.cdist(residual, codes[None], compute_mode="donot_use_mm_for_euclid_dist")
            expected = expected + torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), target.flatten(), ignore_index=-1
            )
            residual = residual - codes[target.clamp(min=0)] * (target >= 0)[..., None]
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(quantized, layer.get_output_from_indices(indices))
    found = torch.autograd.grad(loss, x)[0]
    torch.testing.assert_close(found, torch.autograd.grad(expected, x)[0])
    update_codebooks()
    for name, tensor in layer.state_dict().items():
        assert torch.equal(tensor, before[name])


# --- what they refuse ------------------------------------------------------------------------------------------------

BAD: list[tuple[str, Any]] = [
    ("num_quantizers must be given", lambda: ResidualVQ(4, 8)),
    ("num_quantizers must be at least 1; got 0", lambda: ResidualVQ(4, 8, 0)),
    ("codebook_size must hold num_quantizers = 3 sizes; got 2", lambda: ResidualVQ(4, (8, 8), 3)),
    ("codebook_size must hold the size of at least one stage", lambda: ResidualVQ(4, ())),
    ("codebook_size must be the same for all stages of a shared", lambda: ResidualVQ(4, (8, 4), shared_codebook=True)),
    ("codebook_size must be at least 1; got 0", lambda: ResidualVQ(4, (8, 0))),
    ("heads has no meaning", lambda: ResidualVQ(4, 8, 2, heads=2)),
    (r"cutoff_index must lie in \[0, 2\)", lambda: ResidualVQ(4, 8, 2, quantize_dropout_cutoff_index=2)),
    ("multiple_of must be at least 1; got 0", lambda: ResidualVQ(4, 8, 2, quantize_dropout_multiple_of=0)),
    ("beam_size must be at least 1; got 0", lambda: ResidualVQ(4, 8, 2, beam_size=0)),
    ("beam_size above 1 needs Euclidean stages", lambda: ResidualVQ(4, 8, 2, beam_size=2, use_cosine_sim=True)),
    ("groups must divide dim = 5; got 2", lambda: GroupedResidualVQ(5, 2, codebook_size=8, num_quantizers=2)),
    (r"x must have shape \[..., 4\]; got \(2, 5\)", lambda: ResidualVQ(4, 8, 2)(torch.randn(2, 5))),
    (
        r"mask must have shape \(2, 3\), .*got \(3,\)",
        lambda: ResidualVQ(4, 8, 2)(torch.randn(2, 3, 4), mask=torch.ones(3).bool()),
    ),
    (
        r"mask must have shape \(2, 3\), .*got \(3, 2\)",
        lambda: GroupedResidualVQ(4, 2, codebook_size=8, num_quantizers=2, channel_last=False)(
            torch.randn(2, 4, 3), mask=torch.ones(3, 2).bool()
        ),
    ),
    ("active must have no axes", lambda: ResidualVQ(4, 8, 2)(torch.randn(2, 4), active=torch.ones(1).long())),
    (
        "active must have no axes",
        lambda: ResidualVQ(4, 8, 2, use_cosine_sim=True)(torch.randn(2, 4), active=torch.ones(1).long()),
    ),
    (
        r"indices of stage 1 must lie in \[-1, 8\); got 9 at \(0, 1\)",
        lambda: ResidualVQ(4, 8, 2).get_codes_from_indices(torch.tensor([[7, 9]])),
    ),
    (
        r"indices of stage 0 must lie in \[-1, 4\); got -2 at \(1, 0\)",
        lambda: ResidualVQ(4, (4, 8)).get_output_from_indices(torch.tensor([[3, 7], [-2, 1]])),
    ),
    (
        r"indices must have shape \[..., Q\], Q at most 2; got \(1, 3\)",
        lambda: ResidualVQ(4, 8, 2).get_codes_from_indices(torch.zeros(1, 3).long()),
    ),
    (
        r"indices must have shape \(3, 2\), one for each stage; got \(3, 1\)",
        lambda: ResidualVQ(4, 8, 2)(torch.randn(3, 4), indices=torch.zeros(3, 1).long()),
    ),
    (
        r"indices must have shape \[2, ..., Q\]; got \(1, 2\)",
        lambda: GroupedResidualVQ(4, 2, codebook_size=8, num_quantizers=2).get_codes_from_indices(
            torch.zeros(1, 2).long()
        ),
    ),
]


@pytest.mark.parametrize(("message", "call"), BAD, ids=[message[:40] for message, _ in BAD])
def test_bad_input_is_named(message: str, call: Any) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("num_quantizers must be an int; got 2.0", lambda: ResidualVQ(4, 8, 2.0)),  # type: ignore[arg-type]
        ("codebook_size must be an int or a sequence", lambda: ResidualVQ(4, "8", 2)),  # type: ignore[arg-type]
        ("beam_size must be an int or None; got 2.5", lambda: ResidualVQ(4, 8, 2, beam_size=2.5)),  # type: ignore[arg-type]
        ("groups must be an int; got '2'", lambda: GroupedResidualVQ(4, "2", codebook_size=8)),  # type: ignore[arg-type]
        ("x must be float16", lambda: ResidualVQ(4, 8, 2)(torch.ones(3, 4).long())),
        ("active must be torch.int64", lambda: ResidualVQ(4, 8, 2)(torch.ones(3, 4), active=torch.tensor(1.0))),
        ("indices must be torch.int64", lambda: ResidualVQ(4, 8, 2).get_codes_from_indices(torch.zeros(1, 2))),
    ],
)
def test_wrong_types_are_named(message: str, call: Any) -> None:
    with pytest.raises(TypeError, match=message):
        call()


@pytest.mark.parametrize(
    "other", [ResidualVQ(4, 9, 3), ResidualVQ(4, 8, 2), VectorQuantize(4, 8)], ids=["K", "Q", "VQ"]
)
def test_a_state_that_does_not_fit_changes_nothing(other: torch.nn.Module) -> None:
    layer = ResidualVQ(4, 8, 3)
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    with pytest.raises(RuntimeError, match="_codebook"):
        layer.load_state_dict(other.state_dict())
    for name, tensor in layer.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_rows_that_are_not_finite_show_and_move_nothing() -> None:
    layer = ResidualVQ(6, 20, 3, threshold_ema_dead_code=0.995)
    x = torch.randn(30, 6)
    x[4, 2] = torch.inf
    quantized, indices, losses = layer(x)
    assert (indices[4] == -1).all()
    assert quantized[4].isnan().all()
    assert not losses.isfinite().any()
    assert quantized[5:].isfinite().all()
    for stage in layer.stages:
        assert stage.codebook.isfinite().all()
        assert stage._codebook.cluster_size.isfinite().all()


def test_functional_form_gives_the_layers_result() -> None:
    layer, x = ResidualVQ(6, 20, 3).eval(), torch.randn(12, 6)
    mine, theirs = (
        layer(x),
        functional.residual_vector_quantize(x, layer.codebooks, commitment_weight=1.0, codebook_weight=0),
    )
    for a, b in zip(mine, theirs, strict=True):
        assert torch.equal(a, b)
