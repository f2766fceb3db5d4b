"""Training: it learns, it logs, it says what is wrong."""

import dataclasses

import pytest
import torch
from rich.console import Console

from aevae_fast.data import ImageSplits, ImageTensor
from aevae_fast.training import TrainingDiverged, evaluate, fit
from aevae_fast.training.checkpoint import checkpoint_file
from aevae_fast.training.families.vqvae import data_variance
from aevae_fast.training.runs import build_model


def test_training_lowers_the_error(new_model, images, tmp_path):
    model = new_model()
    before = evaluate(model, images.held_out).reconstruction.nmse
    result = fit(model, images, tmp_path, steps=60, batch_size=32, learning_rate=3e-3, device="cpu")
    after = evaluate(model, images.held_out).reconstruction.nmse
    assert after < 0.6 * before
    assert result.history.evaluated["nmse"][-1] == after
    assert result.history.evaluated["step"][-1] == result.step == 60
    assert any((tmp_path / "logs").glob("events.*"))


def test_evaluation_agrees_with_the_model(new_model, images):
    model = new_model().eval()
    held_out = images.held_out.images
    measured = evaluate(model, images.held_out, batch_size=50)
    assert measured.images == 180
    assert measured.reconstruction.mse == pytest.approx(float((model.reconstruct(held_out) - held_out).square().mean()))
    assert measured.usage.counts.tolist() == model.encode(held_out).flatten().bincount(minlength=16).tolist()


def test_checkpoints_need_no_pickle(new_model, images, tmp_path):
    fit(new_model(), images, tmp_path, steps=2, batch_size=32, device="cpu")
    assert torch.load(checkpoint_file(tmp_path), weights_only=True)["global_step"] == 2


@pytest.mark.parametrize("terminal", [pytest.param(True, id="bar"), pytest.param(False, id="lines")])
def test_progress_and_nothing_else_is_shown(new_model, images, tmp_path, capfd, terminal):
    console = Console(force_terminal=terminal, width=120)
    fit(new_model(), images, tmp_path, steps=20, batch_size=32, device="cpu", console=console)
    shown = capfd.readouterr()
    assert shown.err == ""
    assert ("20/20" in shown.out) if terminal else ("step 20 of 20" in shown.out)
    assert not any(word in shown.out.lower() for word in ("lightning", "warn", "gpu", "tpu"))


def test_divergence_keeps_the_last_good_state(new_model, images, tmp_path):
    fit(new_model(), images, tmp_path, steps=9, batch_size=32, device="cpu")
    before = checkpoint_file(tmp_path).read_bytes()
    broken = ImageSplits("broken", ImageTensor(images.train.images.clone()), images.held_out)
    broken.train.images[:] = torch.nan
    with pytest.raises(TrainingDiverged, match=r"nan at step 10.*smaller learning rate"):
        fit(new_model(), broken, tmp_path, steps=11, batch_size=32, device="cpu", resume=True)
    assert checkpoint_file(tmp_path).read_bytes() == before


class Ruined(torch.nn.Module):
    """A model that breaks at a step: its loss becomes NaN, or its weights do while the loss is still finite."""

    def __init__(self, model, step, what):
        super().__init__()
        self.model, self.codebook_size, self.step, self.what = model, model.codebook_size, step, what
        self.encode, self.decode = model.encode, model.decode

    def forward(self, x):
        output = self.model(x)
        self.step -= 1
        if self.step == 0 and self.what == "loss":
            output = output._replace(loss=output.loss * torch.nan)
        if self.step == 0 and self.what != "loss":
            parameter = next(getattr(self.model, self.what).parameters())
            parameter.register_hook(lambda gradient: gradient * torch.nan)
        return output


@pytest.mark.parametrize(
    ("what", "message"),
    [
        pytest.param("loss", "the loss became nan at step 3", id="loss"),
        pytest.param("encoder", "the encoder's output is not finite after step 3", id="encoder"),
        pytest.param("decoder", "the reconstruction error is nan after step 3", id="decoder"),
    ],
)
def test_divergence_between_two_looks_is_called_so(new_model, images, tmp_path, what, message):
    with pytest.raises(TrainingDiverged, match=f"{message}; a smaller learning rate often helps"):
        fit(Ruined(new_model(), 3, what), images, tmp_path, steps=9, batch_size=32, device="cpu")
    assert torch.load(checkpoint_file(tmp_path), weights_only=True)["global_step"] == 2


def test_evaluation_of_a_ruined_model_says_so(new_model, images):
    model = new_model()
    model.encoder[0].weight.data.fill_(torch.nan)
    with pytest.raises(ArithmeticError, match="encoder's output is not finite"):
        evaluate(model, images.held_out)


def test_data_variance(images):
    exact = images.train.images.double().var(unbiased=False)
    assert data_variance(images.train, at_most=len(images.train)) == pytest.approx(float(exact))
    assert data_variance(images.train, at_most=500) == pytest.approx(float(exact), rel=0.05)
    assert data_variance(ImageTensor(torch.zeros(3, 1, 4, 4))) == 1e-4


def test_the_seed_decides_the_weights(images, settings):
    a, b = build_model(settings, images), build_model(settings, images)
    c = build_model(dataclasses.replace(settings, seed=1), images)
    assert torch.equal(a.encoder[0].weight, b.encoder[0].weight)
    assert not torch.equal(a.encoder[0].weight, c.encoder[0].weight)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, r"steps: .*got 0"),
        ({"learning_rate": 0.0}, r"learning_rate: .*got 0.0"),
        ({"learning_rate": float("inf")}, r"learning_rate: .*got inf"),
        ({"batch_size": 5000}, r"batch_size: expected 1 to 1617.*got 5000"),
        ({"device": "abacus"}, r"device: expected one of auto, cpu.*'abacus'"),
        ({"precision": "8-bit"}, r"precision: .*'8-bit'"),
        ({"workers": -1}, r"workers: .*got -1"),
    ],
)
def test_wrong_arguments_are_named(new_model, images, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        fit(new_model(), images, tmp_path / "run", **({"steps": 2, "batch_size": 32} | options))
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_named(new_model, images, tmp_path):
    with pytest.raises(ValueError, match=r"device: expected one that this machine has \(auto, cpu.*'cuda'"):
        fit(new_model(), images, tmp_path, steps=2, batch_size=32, device="cuda")
