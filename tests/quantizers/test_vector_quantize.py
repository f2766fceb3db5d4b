"""The layer: what it returns, when its codebook moves, what it keeps, what it refuses."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from aevae_fast import VectorQuantize, functional, reference, update_codebooks


class Model(nn.Module):
    """An encoder before the layer, so that gradients have somewhere to go."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.encoder, self.quantizer = nn.Linear(6, 6), VectorQuantize(6, 20, **options)

    def forward(self, x: Tensor) -> Tensor:
        quantized, _, loss = self.quantizer(self.encoder(x))
        return quantized.square().mean() + loss


def train(model: Model, steps: int = 4, parts: int = 1, forward: Any = None) -> Model:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        for part in torch.randn(60, 6, generator=generator).chunk(parts):
            ((model if forward is None else forward)(part) / parts).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


def states_close(a: nn.Module, b: nn.Module) -> None:
    for name, tensor in a.state_dict().items():
        torch.testing.assert_close(tensor, b.state_dict()[name], msg=name)


def test_returns_codes_indices_and_loss_in_the_peers_order() -> None:
    layer = VectorQuantize(6, 20).eval()
    x = torch.randn(3, 5, 6)
    quantized, indices, loss = layer(x)
    assert indices.shape == (3, 5)
    assert torch.equal(indices, reference.nearest_code(x, layer.codebook))
    assert torch.equal(quantized, layer.codebook[indices])
    torch.testing.assert_close(loss, (x - quantized).square().mean())
    assert torch.equal(layer.get_codes_from_indices(indices), quantized)


@pytest.mark.parametrize("options", [{}, {"codebook_dim": 4}, {"use_cosine_sim": True}], ids=str)
@pytest.mark.parametrize("layout", ["sequence", "channel_first", "image"])
def test_layouts_agree_and_round_trip(layout: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    flags: dict[str, Any] = {"channel_first": {"channel_last": False}, "image": {"accept_image_fmap": True}}.get(
        layout, {}
    )
    layer = VectorQuantize(6, 20, **options, **flags).eval()
    plain = VectorQuantize(6, 20, **options).eval()
    plain.load_state_dict(layer.state_dict())
    rows = torch.randn(2, 4, 5, 6) if layout == "image" else torch.randn(2, 20, 6)
    x = rows if layout == "sequence" else rows.movedim(-1, 1).contiguous()
    quantized, indices, loss = layer(x)
    expected = plain(rows)
    assert quantized.is_contiguous()
    assert torch.equal(indices, expected[1])
    torch.testing.assert_close(quantized if layout == "sequence" else quantized.movedim(1, -1), expected[0])
    torch.testing.assert_close(loss, expected[2])
    codes = layer.get_codes_from_indices(indices)
    torch.testing.assert_close(codes, quantized)
    if not options.get("codebook_dim"):
        assert torch.equal(layer(codes)[1], indices)


def test_a_channel_first_map_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    original = functional.vector_quantize

    def spy(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        seen.append(functional.as_rows(x, kwargs["dim"]).data_ptr())
        return original(x, *args, **kwargs)

    monkeypatch.setattr(functional, "vector_quantize", spy)
    x = torch.randn(2, 6, 4, 4)
    VectorQuantize(6, 20, accept_image_fmap=True)(x)
    assert seen == [x.data_ptr()]


# --- when the codebook moves -----------------------------------------------------------------------------------------


def test_the_update_is_the_papers() -> None:
    model = Model(threshold_ema_dead_code=0, decay=0.9)
    before = copy.deepcopy(model)
    train(model, steps=1)
    book, old = model.quantizer._codebook, before.quantizer._codebook
    x = before.encoder(torch.randn(60, 6, generator=torch.Generator().manual_seed(0)))
    counts, sums = reference.codebook_statistics(x, reference.nearest_code(x, old.codes), 20)
    moved = reference.ema_update(old.codes, old.cluster_size[0], old.embed_avg[0], counts, sums, decay=0.9)
    for mine, expected in zip((book.codes, book.cluster_size[0], book.embed_avg[0]), moved, strict=True):
        torch.testing.assert_close(mine, expected)
    assert book.steps == 1


@pytest.mark.parametrize("options", [{}, {"use_cosine_sim": True}, {"learnable_codebook": True}], ids=str)
def test_gradient_accumulation_is_one_update(options: dict[str, Any]) -> None:
    options = {"threshold_ema_dead_code": 0, **options}
    states_close(train(Model(**options)), train(Model(**options), parts=3))


@pytest.mark.parametrize("reentrant", [False, True], ids=["non_reentrant", "reentrant"])
def test_checkpointing_changes_nothing(reentrant: bool) -> None:
    model = Model()

    def forward(x: Tensor) -> Tensor:
        return checkpoint(model, x.requires_grad_(), use_reentrant=reentrant)  # type: ignore[no-any-return]

    states_close(train(Model()), train(model, forward=forward))


@pytest.mark.parametrize(
    "options",
    [{}, {"kmeans_init": True, "kmeans_iters": 2}, {"codebook_dim": 4}, {"learnable_codebook": True}],
    ids=str,
)
def test_compiles_without_a_break(options: dict[str, Any]) -> None:
    torch._dynamo.reset()
    model, compiled = Model(**options), Model(**options)
    torch.manual_seed(5)
    train(model)
    torch.manual_seed(5)
    train(compiled, forward=torch.compile(compiled, fullgraph=True, backend="aot_eager"))
    states_close(model, compiled)
    compiled.eval()
    x = torch.randn(9, 6)
    assert torch.equal(torch.compile(compiled, fullgraph=True, backend="aot_eager")(x), model.eval()(x))


def test_no_update_in_eval_under_no_grad_or_when_frozen() -> None:
    layer, x = VectorQuantize(6, 20), torch.randn(50, 6)
    before = copy.deepcopy(layer.state_dict())
    with torch.no_grad():
        layer(x)
    layer.eval()(x)
    layer.train().freeze_codebook = True
    layer(x)
    model = Model(freeze_codebook=True)
    codes = model.quantizer.codebook.clone()
    train(model)
    assert torch.equal(model.quantizer.codebook, codes)
    for name, tensor in layer.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_without_a_gradient_the_forward_itself_moves_the_codebook() -> None:
    torch.manual_seed(0)
    layer, x = VectorQuantize(6, 20, threshold_ema_dead_code=0), torch.randn(50, 6)
    expected = copy.deepcopy(layer._codebook)
    counts, sums = functional.codebook_statistics(x, functional.nearest_code(x, layer.codebook), 20)
    functional.ema_update_(expected.embed[0], expected.cluster_size[0], expected.embed_avg[0], counts, sums)
    layer(x)
    assert torch.equal(layer.codebook, expected.codes)


@pytest.mark.parametrize("options", [{}, {"learnable_codebook": True}], ids=str)
def test_frozen_training_equals_eval_and_feeds_the_encoder(options: dict[str, Any]) -> None:
    layer = VectorQuantize(6, 20, freeze_codebook=True, codebook_dim=4, **options)
    grads, outputs = [], []
    for mode in (True, False):
        x = torch.linspace(-1, 1, 60).view(10, 6).requires_grad_()
        outputs.append(layer.train(mode)(x))
        (outputs[-1][0].sum() + outputs[-1][2]).backward()
        grads.append(x.grad)
    assert grads[0] is not None
    assert grads[0].any()
    assert torch.equal(*grads)
    for mine, theirs in zip(*outputs, strict=True):
        assert torch.equal(mine, theirs)


def test_a_skipped_optimizer_step_keeps_the_statistics_for_the_next() -> None:
    model = Model(threshold_ema_dead_code=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    x = torch.randn(30, 6)
    model(x).backward()
    assert model.quantizer._codebook.steps == 0
    model(x).backward()
    optimizer.step()
    counts = functional.codebook_statistics(
        model.encoder(x), functional.nearest_code(model.encoder(x), Model().quantizer.codebook), 20
    )[0]
    torch.testing.assert_close(model.quantizer._codebook.cluster_size[0], 0.99 + 0.02 * counts)


def test_float64_and_the_forced_reference_move_the_codebook_too() -> None:
    states_close(train(Model()), train(Model(impl="reference")))
    double = Model().double()
    states_close(train(Model()).quantizer, train(double, forward=lambda x: double(x.double())).quantizer)


def test_an_optimizer_may_step_between_forward_and_backward() -> None:
    model = Model()
    other = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    for _ in range(3):
        loss = model(torch.randn(30, 6))
        other.step()
        loss.backward()
    assert model.quantizer._codebook.steps == 2  # the second and third step found statistics waiting


def test_step_with_names_the_optimizer_that_counts() -> None:
    model = Model()
    mine = torch.optim.SGD(model.parameters(), lr=0.1)
    other = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    model.quantizer.step_with(mine)
    for _ in range(3):
        model(torch.randn(30, 6)).backward()
        other.step()
    assert model.quantizer._codebook.steps == 0
    mine.step()
    assert model.quantizer._codebook.steps == 1
    assert copy.deepcopy(model.quantizer)._codebook.optimizer is None


def test_a_learnable_codebook_on_features_without_gradient() -> None:
    layer = VectorQuantize(6, 20, learnable_codebook=True)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    layer(torch.randn(50, 6))[2].backward()
    optimizer.step()
    assert layer._codebook.steps == 1


@pytest.mark.parametrize("masked", [False, True], ids=["empty", "all_masked"])
@pytest.mark.parametrize("options", [{}, {"use_cosine_sim": True}, {"learnable_codebook": True}], ids=str)
def test_nothing_seen_nothing_moves(options: dict[str, Any], masked: bool) -> None:
    layer = VectorQuantize(6, 20, **options)
    layer(torch.randn(40, 6))
    before = copy.deepcopy(layer.state_dict())
    rows = 40 if masked else 0
    mask = torch.zeros(rows, dtype=torch.bool)
    x = torch.randn(rows, 6, requires_grad=True)
    quantized, indices, loss = layer(x, mask=mask)
    (quantized.sum() + loss).backward()
    update_codebooks()
    layer(x.detach(), mask=mask)
    assert indices.shape == (rows,)
    assert loss == 0
    for name, tensor in layer.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_reentrant_checkpointing_initialises_before_its_first_forward() -> None:
    model = Model(kmeans_init=True)
    indices = []
    model.quantizer.register_forward_hook(lambda *call: indices.append(call[2][1]))
    checkpoint(model, torch.randn(60, 6, requires_grad=True), use_reentrant=True).backward()
    assert len(indices) == 2
    assert torch.equal(*indices)


# --- initialisation, dead codes, usage -------------------------------------------------------------------------------


def test_kmeans_finds_the_clusters() -> None:
    torch.manual_seed(0)
    centres = 20 * torch.randn(16, 6)
    x = centres.repeat(30, 1) + 0.1 * torch.randn(480, 6)
    layer = VectorQuantize(6, 16, kmeans_init=True)
    assert not layer._codebook.initted
    layer(x)
    assert layer._codebook.initted
    assert torch.cdist(centres, layer.codebook).amin(1).max() < 0.2
    assert layer.usage == 1
    assert layer.perplexity > 15


@pytest.mark.parametrize("rows", [7, 20, 300])
def test_kmeans_with_few_masked_or_broken_rows(rows: int) -> None:
    torch.manual_seed(0)
    x, mask = torch.randn(rows, 6), torch.arange(rows) % 3 > 0
    x[1], x[3] = torch.nan, 1e4
    layer = VectorQuantize(6, 20, kmeans_init=True)
    layer(x, mask=mask)
    assert layer.codebook.isfinite().all()
    assert layer.codebook.abs().max() < 10


def test_kmeans_on_nothing_to_go_by_keeps_the_codes() -> None:
    layer = VectorQuantize(6, 20, kmeans_init=True)
    before = layer.codebook.clone()
    layer(torch.randn(10, 6), mask=torch.zeros(10, dtype=torch.bool))
    assert torch.equal(layer.codebook, before)


@pytest.mark.parametrize("options", [{}, {"learnable_codebook": True}, {"use_cosine_sim": True}], ids=str)
def test_dead_codes_come_back_and_survive(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    layer = VectorQuantize(6, 20, decay=0.9, **options)
    with torch.no_grad():
        layer._codebook.embed[:, 5:] = (
            100 + torch.arange(6.0) if not options.get("use_cosine_sim") else layer.codebook[0]
        )
    generator = torch.Generator().manual_seed(0)
    for _ in range(80):
        loss = layer(torch.randn(400, 6, generator=generator))[2]
        if loss.requires_grad:  # a learnable codebook waits for the step
            loss.backward()
            update_codebooks()
    with torch.no_grad():
        used = functional.nearest_code(torch.randn(2000, 6), layer.codebook, metric=layer._codebook.metric).bincount(
            minlength=20
        )
    assert (used > 0).all()
    assert layer.usage == 1
    book = layer._codebook
    if not options:
        torch.testing.assert_close(book.embed_avg[0] / book.cluster_size[0][:, None], book.codes, rtol=1e-3, atol=1e-3)


def test_a_respawned_code_is_a_row_of_the_batch_with_its_sum_and_count() -> None:
    torch.manual_seed(0)
    layer = VectorQuantize(6, 4, threshold_ema_dead_code=0.9, decay=0.5)
    with torch.no_grad():
        layer._codebook.embed[0, 3] = 1e3
    x = torch.randn(100, 6)
    layer(x)
    book = layer._codebook
    assert (x == book.codes[3]).all(1).any()
    torch.testing.assert_close(book.embed_avg[0, 3], book.codes[3] * book.cluster_size[0, 3])
    assert book.cluster_size[0, 3] >= 0.9


def test_perplexity_by_hand() -> None:
    layer = VectorQuantize(2, 4)
    layer._codebook.cluster_size[0] = torch.tensor([6.0, 2, 2, 0])
    p = torch.tensor([0.6, 0.2, 0.2])
    torch.testing.assert_close(layer.perplexity, (-(p * p.log()).sum()).exp())
    assert layer.usage == 0.75


# --- what it keeps ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cast", [lambda m: m.bfloat16(), lambda m: m.half(), lambda m: m.to(torch.bfloat16)])
def test_state_stays_float32(cast: Any) -> None:
    model = cast(Model())
    assert model.encoder.weight.dtype != torch.float32
    before = model.quantizer.codebook.clone()
    loss = model(torch.randn(40, 6).to(model.encoder.weight.dtype))
    loss.backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    for name, tensor in model.quantizer._codebook.state_dict().items():
        assert tensor.dtype == torch.float32 or name in ("initted", "steps", "scheme")
    assert not torch.equal(model.quantizer.codebook, before)


def test_autocast_gives_the_codes_of_its_low_precision_input() -> None:
    model, x = Model().eval(), torch.randn(50, 6)
    with torch.autocast("cpu", torch.bfloat16):
        encoded = model.encoder(x)
        quantized, indices, loss = model.quantizer(encoded)
    assert encoded.dtype == quantized.dtype == torch.bfloat16
    assert loss.dtype == torch.float32
    assert torch.equal(indices, reference.nearest_code(encoded.double(), model.quantizer.codebook.double()))


def test_state_dict_round_trip_deepcopy_and_peers_checkpoint() -> None:
    peer = pytest.importorskip("vector_quantize_pytorch")
    model = train(Model(kmeans_init=True))
    twin = Model(kmeans_init=True)
    twin.load_state_dict(model.state_dict())
    clone = copy.deepcopy(model)
    for other in (twin, clone):
        states_close(train(copy.deepcopy(model)), train(other))
    theirs = peer.VectorQuantize(dim=6, codebook_size=20, codebook_dim=4).eval()
    ours = VectorQuantize(6, 20, codebook_dim=4).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 30, 6)
    assert torch.equal(ours(x)[1], theirs(x)[1])
    torch.testing.assert_close(ours(x)[0], theirs(x)[0])


def test_export_of_the_eval_forward() -> None:
    for options in ({}, {"codebook_dim": 4}, {"accept_image_fmap": True}):
        layer = VectorQuantize(6, 20, **options).eval()
        x = torch.randn(2, 6, 5, 5) if options.get("accept_image_fmap") else torch.randn(2, 9, 6)
        exported = torch.export.export(layer, (x,)).module()(x)
        for mine, theirs in zip(exported, layer(x), strict=True):
            assert torch.equal(mine, theirs)


def test_learnable_cosine_codes_are_unit_vectors() -> None:
    layer = train(Model(use_cosine_sim=True, learnable_codebook=True)).quantizer
    quantized, indices, _ = layer(torch.randn(30, 6))
    torch.testing.assert_close(quantized.norm(dim=-1), torch.ones(30))
    torch.testing.assert_close(layer.get_codes_from_indices(indices), quantized)


@pytest.mark.parametrize("options", [{}, {"use_cosine_sim": True}, {"codebook_dim": 3}], ids=str)
def test_what_stands_in_masked_places_reaches_no_gradient(options: dict[str, Any]) -> None:
    layer = VectorQuantize(6, 20, **options)
    x = torch.randn(10, 6)
    x[4] = torch.nan
    x.requires_grad_()
    quantized, _, loss = layer(x, mask=torch.arange(10) != 4)
    (quantized.sum() + loss).backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in layer.parameters() if p.grad is not None)


@pytest.mark.parametrize("channel_last", [False, True])
def test_autocast_with_projections_keeps_the_inputs_dtype(channel_last: bool) -> None:
    layer = VectorQuantize(6, 20, codebook_dim=4, channel_last=channel_last)
    x = torch.randn(2, 6, 6).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x)[0].dtype == torch.bfloat16


def test_moving_to_where_it_is_keeps_waiting_statistics() -> None:
    model = Model()
    model(torch.randn(30, 6)).backward()
    model.to("cpu")
    update_codebooks()
    assert model.quantizer._codebook.steps == 1


def test_built_on_meta_and_loaded_by_assignment() -> None:
    source = Model()
    with torch.device("meta"):
        model = Model()
    model.load_state_dict(source.state_dict(), assign=True)
    states_close(train(source), train(model))


@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("damage", ["size", "unknown_key", "missing_key"])
def test_a_state_that_does_not_fit_changes_nothing(damage: str, assign: bool) -> None:
    layer = VectorQuantize(6, 20, codebook_dim=4)
    before, parameters = copy.deepcopy(layer.state_dict()), list(layer.parameters())
    state = VectorQuantize(6, 30 if damage == "size" else 20, codebook_dim=4).state_dict()
    if damage == "unknown_key":
        state["_codebook.what"] = torch.zeros(1)
    if damage == "missing_key":
        del state["_codebook.embed_avg"]
    with pytest.raises(RuntimeError, match=r"_codebook\."):
        layer.load_state_dict(state, assign=assign)
    for name, tensor in layer.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert all(now is then for now, then in zip(layer.parameters(), parameters, strict=True))  # an optimizer's, too


def test_mask() -> None:
    torch.manual_seed(0)
    mask = torch.rand(4, 25) > 0.4
    x = torch.randn(4, 25, 6)
    for options in ({}, {"codebook_dim": 3}, {"use_cosine_sim": True}):
        layer = VectorQuantize(6, 20, **options).eval()
        quantized, indices, loss = layer(x, mask=mask)
        kept = layer(x[mask])
        assert (indices[~mask] == -1).all()
        assert not quantized[~mask].any()
        torch.testing.assert_close(quantized[mask], kept[0])
        torch.testing.assert_close(loss, kept[2])
        assert torch.equal(layer.get_codes_from_indices(indices)[~mask], quantized[~mask])


BAD: list[tuple[str, Any]] = [
    ("dim must be at least 1; got 0", lambda: VectorQuantize(0, 4)),
    ("codebook_size must be at least 1; got -2", lambda: VectorQuantize(4, -2)),
    (r"decay must lie in \[0, 1\]; got 1.1", lambda: VectorQuantize(4, 4, decay=1.1)),
    ("commitment_weight must be at least 0; got -1", lambda: VectorQuantize(4, 4, commitment_weight=-1)),
    ("threshold_ema_dead_code must be at least 0; got -1", lambda: VectorQuantize(4, 4, threshold_ema_dead_code=-1)),
    (
        "learnable_codebook and ema_update are both True",
        lambda: VectorQuantize(4, 4, learnable_codebook=True, ema_update=True),
    ),
    (r"x must have shape \[..., 4\]; got \(2, 5\)", lambda: VectorQuantize(4, 4)(torch.randn(2, 5))),
    (
        r"x must have shape \[B, 4, ...\]; got \(2, 5, 4\)",
        lambda: VectorQuantize(4, 4, channel_last=False)(torch.randn(2, 5, 4)),
    ),
]


@pytest.mark.parametrize(("message", "call"), BAD, ids=[message[:30] for message, _ in BAD])
def test_bad_input_is_named(message: str, call: Any) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("x must be float16, .* got torch.int64", lambda layer: layer(torch.ones(3, 4).long())),
        ("x must be float16, .* got torch.complex64", lambda layer: layer(torch.ones(3, 4) + 0j)),
        ("x must be a torch.Tensor; got list", lambda layer: layer([1.0])),
        ("mask must be a torch.Tensor; got list", lambda layer: layer(torch.ones(3, 4), mask=[True] * 3)),
        ("mask must be torch.bool; got torch.float32", lambda layer: layer(torch.ones(3, 4), mask=torch.ones(3))),
        ("dim must be an int; got 6.0", lambda layer: VectorQuantize(6.0, 4)),  # type: ignore[arg-type]
        ("kmeans_iters must be an int", lambda layer: VectorQuantize(4, 4, kmeans_iters=1.5)),  # type: ignore[arg-type]
    ],
)
@pytest.mark.parametrize("options", [{}, {"use_cosine_sim": True}, {"codebook_dim": 2}], ids=str)
def test_wrong_types_are_named(message: str, call: Any, options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=message):
        call(VectorQuantize(4, 8, **options))


def test_indices_must_be_integers() -> None:
    with pytest.raises(TypeError, match=r"indices must be torch.int64; got torch.float32"):
        VectorQuantize(4, 4).get_codes_from_indices(torch.zeros(3))
