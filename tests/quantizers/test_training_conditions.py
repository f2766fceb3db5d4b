"""The whole family under every condition of training on one process."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from aevae_fast import update_codebooks

from .family import CASES, FOR_TRAINING, MOVING, OF_THE_BATCH, RANDOM, Model, batches, states_close, states_equal, train
from .sync_free import NoWaiting


def without(*names: str) -> list[str]:
    return [name for name in CASES if name not in names]


@pytest.fixture(autouse=True)
def _fresh_compiler() -> None:
    torch._dynamo.reset()


@pytest.mark.parametrize("name", without(*RANDOM, *OF_THE_BATCH))
def test_gradient_accumulation_is_one_step(name: str) -> None:
    options = {"threshold_ema_dead_code": 0} if name in MOVING else {}
    states_close(train(Model(name, **options)), train(Model(name, **options), parts=3))


@pytest.mark.parametrize("options", [{"use_cosine_sim": True}, {"affine_param": True}], ids=str)
def test_stages_that_only_the_first_ones_loss_reaches_move_with_the_step(options: dict[str, Any]) -> None:
    options = {"detach_residual": False, "threshold_ema_dead_code": 0, **options}
    states_close(train(Model("residual", **options)), train(Model("residual", **options), parts=3))


@pytest.mark.parametrize("through", ["output", "loss"])
@pytest.mark.parametrize("name", MOVING)
def test_either_output_brings_the_statistics_home(name: str, through: str) -> None:
    layer = CASES[name]()
    outputs = layer(torch.randn(30, 6, requires_grad=True))
    outputs[0 if through == "output" else 2].sum().backward()
    update_codebooks()
    steps = [buffer for key, buffer in layer.named_buffers() if key.endswith("steps")]
    assert steps[0] == 1
    assert name == "residual_dropout" or all(count == 1 for count in steps)


@pytest.mark.parametrize("reentrant", [False, True], ids=["non_reentrant", "reentrant"])
@pytest.mark.parametrize("name", CASES)
def test_checkpointing_changes_nothing(name: str, reentrant: bool) -> None:
    model = Model(name)

    def forward(x: Tensor) -> Tensor:
        return checkpoint(model, x.requires_grad_(), use_reentrant=reentrant)  # type: ignore[no-any-return]

    states_equal(train(Model(name)), train(model, forward=forward))


@pytest.mark.parametrize("reentrant", [False, True], ids=["non_reentrant", "reentrant"])
@pytest.mark.parametrize("options", [{}, {"quantize_dropout": True}], ids=["all", "dropout"])
@pytest.mark.parametrize("name", ["vq", "vq_diveq", "vq_sampled", "residual", "residual_cosine", "grouped"])
def test_checkpointing_initialises_as_without(name: str, options: dict[str, Any], reentrant: bool) -> None:
    options = {"kmeans_init": True, **({} if name.startswith("vq") else options)}
    model = Model(name, **options)

    def forward(x: Tensor) -> Tensor:
        return checkpoint(model, x.requires_grad_(), use_reentrant=reentrant)  # type: ignore[no-any-return]

    states_equal(train(Model(name, **options)), train(model, forward=forward))


# --- precision -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_autocast_quantizes_its_low_precision_input(name: str, dtype: torch.dtype) -> None:
    """The codes are those of the rounded encoding; codebook, statistics and loss stay float32."""
    model = Model(name).eval()
    x = batches(1)[0]
    with torch.autocast("cpu", dtype):
        encoded = model.encoder(x)
        quantized, indices, *rest = model.quantizer(encoded)
    assert encoded.dtype == quantized.dtype == dtype
    assert all(loss.dtype == torch.float32 for loss in rest)
    if not any(isinstance(m, torch.nn.Linear) for m in model.quantizer.modules()):  # whose products would be rounded
        assert torch.equal(indices, model.quantizer(encoded.float())[1])
    with torch.autocast("cpu", dtype):
        model.train()
        train(model, steps=2)
    for key, tensor in model.state_dict().items():
        assert tensor.isfinite().all()
        assert tensor.dtype == torch.float32 or not tensor.is_floating_point(), key


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_a_cast_model_keeps_its_codebooks_in_float32(name: str, dtype: torch.dtype) -> None:
    model = Model(name).to(dtype)
    before = copy.deepcopy(model.state_dict())
    train(model, forward=lambda x: model(x.to(dtype)), lr=0.5)
    for key, tensor in model.state_dict().items():
        if "_codebook" in key:
            assert tensor.dtype == before[key].dtype == torch.float32 or not tensor.is_floating_point(), key
            assert tensor.isfinite().all()
    if name in MOVING:
        after = model.state_dict()
        assert any(not torch.equal(old, after[key]) for key, old in before.items() if key.endswith("embed"))


@pytest.mark.parametrize("name", ["vq", "residual", "residual_learnable"])
def test_a_scaled_loss_moves_the_codebook_as_an_unscaled_one(name: str) -> None:
    model, plain = Model(name), Model(name)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for batch in batches(4):
        optimizer.zero_grad()
        scaler.scale(model(batch)).backward()
        scaler.step(optimizer)
        scaler.update()
    states_close(train(plain), model)


# --- compilers and graphs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*MOVING, "sim_vq", "residual_sim_vq"])  # test_scalar_layers.py: the others
def test_compiles_without_a_break_or_a_recompilation(name: str) -> None:
    """In training and in eval; a batch of another size is the same program."""
    model, compiled = Model(name), Model(name)
    forward = torch.compile(compiled, fullgraph=True, backend="aot_eager", dynamic=True)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in (model, compiled)]
    for mode in (True, False):
        model.train(mode)
        compiled.train(mode)
        for step, rows in enumerate((60, 60, 44, 37)):
            batch = batches(1, rows)[0]
            losses = []
            with torch._dynamo.config.patch(error_on_recompile=step > 0):
                for run, optimizer in zip((model, forward), optimizers, strict=True):
                    torch.manual_seed(step)
                    losses.append(run(batch))
                    if mode:
                        losses[-1].backward()
                        optimizer.step()
                        optimizer.zero_grad()
            torch.testing.assert_close(*losses)
    states_close(model, compiled)


@pytest.mark.parametrize("name", CASES)
def test_compiles_where_nothing_needs_a_gradient(name: str) -> None:
    layer = CASES[name]().eval()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager", dynamic=True)
    with torch.no_grad():
        for rows in (20, 33):
            x = torch.randn(2, rows, 6)
            torch.testing.assert_close(tuple(compiled(x)), tuple(layer(x)))


def test_compiles_with_initialisation() -> None:
    model, compiled = (Model("residual", kmeans_init=True, kmeans_iters=2, codebook_size=5) for _ in range(2))
    forward = torch.compile(compiled, fullgraph=True, backend="aot_eager")
    states_close(train(model), train(compiled, forward=forward))


@pytest.mark.parametrize("name", CASES)
def test_exports_the_eval_forward_for_any_number_of_rows(name: str) -> None:
    layer = CASES[name]().eval()
    rows = torch.export.Dim("rows", min=2)
    exported = torch.export.export(layer, (torch.randn(2, 9, 6),), dynamic_shapes={"x": {1: rows}}).module()
    for x in (torch.randn(2, 9, 6), torch.randn(2, 14, 6)):
        for mine, theirs in zip(exported(x), layer(x), strict=True):
            assert torch.equal(mine, theirs)


@pytest.mark.parametrize("masked", [False, True], ids=["all_rows", "masked"])
@pytest.mark.parametrize("name", CASES)
def test_a_training_step_does_not_wait_for_the_device(name: str, masked: bool) -> None:
    model = Model(name)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    options = {"mask": torch.arange(60) % 3 > 0} if masked else {}
    before = copy.deepcopy(model)
    with NoWaiting():
        for batch in batches(2):
            model(batch, **options).backward()
            optimizer.step()
            optimizer.zero_grad()
    if name in MOVING:
        with pytest.raises(AssertionError):
            states_equal(before.quantizer, model.quantizer)


def test_waiting_is_noticed() -> None:
    with NoWaiting():
        for wait in (lambda t: t.sum().item(), torch.nonzero, lambda t: t[t > 0], lambda t: bool(t.any())):
            with pytest.raises(AssertionError, match="waits for the device"):
                wait(torch.ones(3))


@pytest.mark.parametrize("name", CASES)
def test_deterministic_algorithms_repeat_bit_for_bit(name: str) -> None:
    torch.use_deterministic_algorithms(True)
    try:
        states_equal(train(Model(name)), train(Model(name)))
    finally:
        torch.use_deterministic_algorithms(False)


# --- what is kept ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_a_copy_and_a_saved_state_train_on_as_the_original(name: str, tmp_path: Path) -> None:
    """Through `torch.save` without pickled objects, through safetensors, and by deepcopy."""
    safetensors = pytest.importorskip("safetensors.torch")
    model = train(Model(name))
    torch.save(model.state_dict(), tmp_path / "state.pt")
    saved, safe, clone = Model(name), Model(name), copy.deepcopy(model)
    saved.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    safetensors.save_file(model.state_dict(), tmp_path / "state.safetensors")
    safe.load_state_dict(safetensors.load_file(tmp_path / "state.safetensors"))
    expected = train(model)
    for other in (saved, safe, clone):
        states_equal(expected, train(other))


@pytest.mark.parametrize("name", CASES)
def test_functional_call_uses_the_tensors_it_is_given(name: str) -> None:
    model, other = Model(name).eval(), train(Model(name)).eval()
    x = batches(1)[0]
    before = copy.deepcopy(model.state_dict())
    state = {key: tensor.clone() for key, tensor in other.state_dict().items()}
    assert torch.equal(torch.func.functional_call(model, state, (x,)), other(x))
    weights = {key: state[key] for key, _ in model.encoder.named_parameters(prefix="encoder")}

    def loss(weights: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(model, {**state, **weights}, (x,))  # type: ignore[no-any-return]

    found = torch.func.grad(loss)(weights)
    other(x).backward()
    for key, gradient in found.items():
        torch.testing.assert_close(gradient, other.get_parameter(key).grad)
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[key])


@pytest.mark.parametrize("name", without(*FOR_TRAINING))
def test_eval_and_frozen_training_agree(name: str) -> None:
    options: dict[str, Any] = {"freeze_codebook": True} if name in MOVING else {}
    model, gradients, outputs = Model(name, **options), [], []
    for mode in (True, False):
        model.train(mode).zero_grad()
        outputs.append(model(batches(1)[0]))
        outputs[-1].backward()
        update_codebooks()
        gradients.append(model.encoder.weight.grad)
    assert torch.equal(*outputs)
    assert torch.equal(*gradients)
    states_equal(model, Model(name, **options))


# --- masks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_masks_and_lens_keep_the_same_and_hide_the_rest(name: str) -> None:
    layer = CASES[name]().eval()
    x, lens = torch.randn(3, 7, 6), torch.tensor([7, 0, 4])
    mask = torch.arange(7) < lens[:, None]
    x[~mask] = torch.nan
    x.requires_grad_()
    quantized, indices, *rest = layer(x, mask=mask)
    by_lens = layer(x, lens=lens)
    kept = layer(x[mask][None])
    for mine, theirs in zip((quantized, indices, *rest), by_lens, strict=True):
        assert torch.equal(mine, theirs)
    assert not quantized[~mask].any()
    torch.testing.assert_close(quantized[mask], kept[0][0])
    grouped = name == "grouped"
    assert torch.equal(indices[:, mask] if grouped else indices[mask], kept[1][:, 0] if grouped else kept[1][0])
    hidden = indices[:, ~mask] if grouped else indices[~mask]
    assert (hidden == -1).all()
    for mine, theirs in zip(rest, kept[2:], strict=True):
        torch.testing.assert_close(mine, theirs)
    (quantized.sum() + sum(loss.sum() for loss in rest)).backward()
    assert x.grad is not None
    assert not x.grad[~mask].any()
    assert x.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in layer.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", CASES)
def test_nothing_seen_nothing_moves(name: str) -> None:
    layer = CASES[name]()
    before = copy.deepcopy(layer)
    for rows, mask in ((0, torch.zeros(0, dtype=torch.bool)), (12, torch.zeros(12, dtype=torch.bool))):
        for needs_gradient in (True, False):
            x = torch.randn(rows, 6, requires_grad=needs_gradient)
            quantized, _, *rest = layer(x, mask=mask)
            loss = quantized.sum() + sum(loss.sum() for loss in rest)
            assert loss == 0
            if loss.requires_grad:
                loss.backward()
            update_codebooks()
    states_equal(layer, before)
