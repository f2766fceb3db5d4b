"""Exact resume: a run that was stopped ends with the same bits as one that was not."""

import dataclasses
import shutil
import signal

import pytest
import torch
from lightning.pytorch import Callback

from aevae_fast.data import ImageSplits, ImageTensor
from aevae_fast.training import TrainingDiverged, fit, train_run
from aevae_fast.training.checkpoint import checkpoint_file
from aevae_fast.training.module import TrainingModule
from aevae_fast.training.runs import build_model

from .conftest import SMALL, SMALL_NOISY, SMALL_VAE

OPTIONS = {"batch_size": 32, "device": "cpu", "seed": 3}  # 1617 images: 50 steps an epoch


class NoisyModel(torch.nn.Module):
    """A model whose training draws random numbers, in the step and from the global generator."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.model, name)

    def forward(self, x):
        return self.model((x + 0.05 * torch.randn_like(x)).clamp(0, 1))


def state_of(file):
    state = torch.load(file, weights_only=True)
    return {key: state[key] for key in ("state_dict", "optimizer_states", "callbacks", "global_step")}


def assert_same(a, b, path="state"):
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a:
            if key != "seconds":
                assert_same(a[key], b[key], f"{path}.{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), path
        for number, (left, right) in enumerate(zip(a, b, strict=True)):
            assert_same(left, right, f"{path}[{number}]")
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), path
    else:
        assert a == b, path


def straight(new_model, images, folder, steps):
    model = NoisyModel(new_model())
    fit(model, images, folder, steps=steps, **OPTIONS)
    return model


class StopAt(Callback):
    """Sends this process a signal at the start of a step, as a user or a scheduler would."""

    def __init__(self, step, number):
        self.step, self.number = step, number

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step - 1:
            signal.raise_signal(self.number)


def interrupted(new_model, images, folder, steps, stop_at, monkeypatch, number=signal.SIGINT):
    monkeypatch.setattr(TrainingModule, "configure_callbacks", lambda self: [StopAt(stop_at, number)])
    result = fit(NoisyModel(new_model()), images, folder, steps=steps, **OPTIONS)
    monkeypatch.undo()
    return result


@pytest.mark.parametrize(
    ("steps", "stop_at"),
    [
        pytest.param(24, 1, id="after-the-first-step"),
        pytest.param(24, 13, id="between-two-saves"),
        pytest.param(60, 50, id="at-the-end-of-an-epoch"),
        pytest.param(60, 53, id="in-the-second-epoch"),
    ],
)
def test_stopped_and_resumed_equals_straight(new_model, images, tmp_path, monkeypatch, steps, stop_at):
    whole = straight(new_model, images, tmp_path / "whole", steps)
    stopped = interrupted(new_model, images, tmp_path / "parts", steps, stop_at, monkeypatch)
    assert (stopped.step, stopped.interrupted_by) == (stop_at, signal.SIGINT)
    again = NoisyModel(new_model())
    result = fit(again, images, tmp_path / "parts", steps=steps, resume=True, **OPTIONS)
    assert (result.step, result.interrupted_by) == (steps, None)
    assert_same(again.state_dict(), whole.state_dict())
    assert_same(state_of(checkpoint_file(tmp_path / "parts")), state_of(checkpoint_file(tmp_path / "whole")))


@pytest.mark.parametrize("settings", [SMALL_VAE, SMALL_NOISY], ids=["vae", "noisy-autoencoder"])
def test_models_that_draw_and_follow_the_step_resume_exactly(images, tmp_path, monkeypatch, settings):
    def new():
        return build_model(settings, images)

    whole, again = new(), new()
    fit(whole, images, tmp_path / "whole", steps=24, **OPTIONS)
    monkeypatch.setattr(TrainingModule, "configure_callbacks", lambda self: [StopAt(7, signal.SIGINT)])
    assert fit(new(), images, tmp_path / "parts", steps=24, **OPTIONS).step == 7  # within the warm-up
    monkeypatch.undo()
    fit(again, images, tmp_path / "parts", steps=24, resume=True, **OPTIONS)
    assert_same(dict(again.state_dict()), dict(whole.state_dict()))
    assert_same(state_of(checkpoint_file(tmp_path / "parts")), state_of(checkpoint_file(tmp_path / "whole")))


def test_a_finished_run_can_be_made_longer(new_model, images, tmp_path):
    whole = straight(new_model, images, tmp_path / "whole", 40)
    straight(new_model, images, tmp_path / "parts", 20)
    longer = NoisyModel(new_model())
    result = fit(longer, images, tmp_path / "parts", steps=40, resume=True, **OPTIONS)
    assert result.step == 40
    assert_same(longer.state_dict(), whole.state_dict())


def test_history_survives(new_model, images, tmp_path, monkeypatch):
    whole = fit(NoisyModel(new_model()), images, tmp_path / "whole", steps=40, **OPTIONS).history
    before = interrupted(new_model, images, tmp_path / "parts", 40, 22, monkeypatch).history
    resumed = fit(NoisyModel(new_model()), images, tmp_path / "parts", steps=40, resume=True, **OPTIONS).history
    assert whole.train["step"] == [10.0, 20.0, 30.0, 40.0]
    assert_same(resumed.state_dict(), whole.state_dict())
    assert resumed.seconds > before.seconds > 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_gives_the_handlers_back(new_model, images, tmp_path, monkeypatch, number):
    before = [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)]
    result = interrupted(new_model, images, tmp_path, 24, 7, monkeypatch, number)
    assert (result.step, result.interrupted_by) == (7, number)
    assert torch.load(checkpoint_file(tmp_path), weights_only=True)["global_step"] == 7
    assert [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_crash_while_saving_leaves_the_last_state(new_model, images, tmp_path, monkeypatch):
    fit(new_model(), images, tmp_path, steps=10, **OPTIONS)
    before = checkpoint_file(tmp_path).read_bytes()

    def crash(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("os.replace", crash)
    with pytest.raises(OSError, match="no space left"):
        fit(new_model(), images, tmp_path, steps=20, resume=True, **OPTIONS)
    assert checkpoint_file(tmp_path).read_bytes() == before


def test_a_stop_after_the_loss_became_nan_does_not_save(new_model, images, tmp_path, monkeypatch):
    fit(new_model(), images, tmp_path, steps=40, **OPTIONS)
    before = checkpoint_file(tmp_path).read_bytes()
    monkeypatch.setattr(TrainingModule, "configure_callbacks", lambda self: [StopAt(43, signal.SIGINT)])
    broken = ImageSplits("broken", ImageTensor(images.train.images.clone()), images.held_out)
    broken.train.images[:] = torch.nan
    with pytest.raises(TrainingDiverged, match="nan at step 43"):
        fit(new_model(), broken, tmp_path, steps=200, resume=True, **OPTIONS)
    assert checkpoint_file(tmp_path).read_bytes() == before


def flipped(content):
    place = content.index(b"FB") + len(content) // 2  # well inside the tensors
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        pytest.param(lambda content: b"", "got a broken file", id="empty"),
        pytest.param(lambda content: content[: len(content) // 2], "got a broken file", id="truncated"),
        pytest.param(lambda content: content[:-1], "got a broken file", id="one-byte-short"),
        pytest.param(flipped, "got a broken file .*checksum", id="one-bit-flipped"),
        pytest.param(lambda content: b"dear diary", "got a broken file", id="text"),
    ],
)
def test_a_broken_state_is_named_and_nothing_changes(run, images, tmp_path, broken, message):
    shutil.copytree(run[0], tmp_path / "run")
    file = checkpoint_file(tmp_path / "run")
    file.write_bytes(broken(file.read_bytes()))
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=f"resume: expected the state of a run in .*last.ckpt, {message}"):
        train_run(dataclasses.replace(SMALL, steps=30), images, tmp_path / "run", resume=True)
    assert contents(tmp_path) == before


def contents(folder):
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_state_of_another_model_is_named_and_nothing_changes(new_model, images, tmp_path):
    fit(new_model(), images, tmp_path, steps=2, **OPTIONS)
    other = build_model(dataclasses.replace(SMALL, codebook_size=17), images)
    before, weights = contents(tmp_path), {name: value.clone() for name, value in other.state_dict().items()}
    message = r"expected the state of this model in .*last.ckpt, but .*_codebook.\w+ has shape \[1, 17.*\[1, 16"
    with pytest.raises(ValueError, match=message):
        fit(other, images, tmp_path, steps=4, resume=True, **OPTIONS)
    assert contents(tmp_path) == before
    assert_same(dict(other.state_dict()), weights)


def test_a_file_of_torch_that_is_no_run_is_named(new_model, images, tmp_path):
    checkpoint_file(tmp_path).parent.mkdir()
    torch.save({"state_dict": {}}, checkpoint_file(tmp_path))
    with pytest.raises(ValueError, match=r"expected the state of a run in .*last.ckpt, got another file"):
        fit(new_model(), images, tmp_path, steps=2, resume=True, **OPTIONS)


def test_a_run_does_not_go_back(new_model, images, tmp_path):
    straight(new_model, images, tmp_path, 4)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"steps: expected at least the 4 that the run in .* made, got 3"):
        fit(NoisyModel(new_model()), images, tmp_path, steps=3, resume=True, **OPTIONS)
    assert contents(tmp_path) == before


def test_resume_needs_a_state(new_model, images, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"resume: .*last.ckpt"):
        fit(new_model(), images, tmp_path, steps=2, resume=True, **OPTIONS)
