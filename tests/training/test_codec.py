"""A run of an audio codec, and of a tokenizer of photographs: what they measure, draw and leave behind."""

import dataclasses
import json
import wave

import pytest
import torch
from PIL import Image

from aevae_fast.data import photos, synthesised_sounds, whole_photos
from aevae_fast.models import load_model
from aevae_fast.training import CodecSettings, VQVAESettings, evaluate, fit, train_run
from aevae_fast.training.families import FAMILIES, family_of
from aevae_fast.training.families.codec import decibel, powers_of_two
from aevae_fast.training.module import TrainingModule
from aevae_fast.training.pictures import draw_signal_to_noise, draw_stage_health, draw_stage_usage
from aevae_fast.training.runs import build_model

CODEC = CodecSettings(steps=12, batch_size=4, stages=3, codebook_size=8, latent_dim=4, channels=4, device="cpu")
TOKENIZER = VQVAESettings(
    data="photos", image_size=32, steps=6, batch_size=8, quantizer="residual", stages=2, codebook_size=16,
    codebook_dim=4, channels=8, downsampling_factor=8, schedule="cosine", device="cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def sounds():
    return synthesised_sounds(8, 8)


@pytest.fixture(scope="module")
def codec_run(sounds, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "codec"
    return out, *train_run(CODEC, sounds, out)


@pytest.fixture(scope="module")
def tokenizer_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "tokenizer"
    return out, *train_run(TOKENIZER, photos(32), out)


def pictures_of(out):
    for file in (out / "pictures").iterdir():
        with Image.open(file) as picture:
            assert min(picture.size) > 300
            assert len(set(picture.convert("L").tobytes())) > 10
        yield file.stem


def test_a_codec_leaves_pictures_and_sounds(codec_run, sounds):
    out, result, _ = codec_run
    names = ("codebook_usage", "curves", "quantizer_health", "signal_to_noise", "spectrograms", "waveforms")
    assert sorted(pictures_of(out)) == list(names)
    files = {file.name for file in (out / "sounds").iterdir()}
    assert files == {
        f"{i}_{name}.wav" for i in range(1, 9) for name in ("original", "stages_1", "stages_2", "stages_3")
    }
    with wave.open(str(out / "sounds" / "2_original.wav")) as file:
        assert (file.getframerate(), file.getnframes()) == (16000, sounds.held_out.sounds.shape[-1])
    assert list(result.health.history) == ["model.quantizer"]
    assert len(result.health.history["model.quantizer"]["perplexity"][-1]) == 3


def test_a_codec_is_measured_by_stages(codec_run, sounds):
    out, _, report = codec_run
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics == report.metrics
    assert metrics["bits_per_second"] == {"1": 375.0, "2": 750.0, "3": 1125.0}
    assert (metrics["train"]["clips"], metrics["held_out"]["clips"]) == (16, 8)
    assert set(report.held_out.snr_db) == {1, 2, 3}
    model, x = load_model(out / "model"), sounds.held_out.sounds
    assert family_of(model) is FAMILIES["codec"]
    assert evaluate(model, sounds.held_out).as_dict() == metrics["held_out"]
    for stages, level in report.held_out.snr_db.items():
        noise = (x - model.reconstruct(x, stages)).square().sum()
        assert level == pytest.approx(float(10 * torch.log10(x.square().sum() / noise)), rel=1e-4)
    counts = model.encode(x)[..., 1].flatten().bincount(minlength=8)
    assert torch.equal(report.held_out.usages[1].counts, counts)
    assert "1.125 kbit with 3 stages, 256 kbit" in FAMILIES["codec"].remark(metrics)


def trained(settings, sounds, out, steps, **options):
    """A model after `steps`, without pictures."""
    model = build_model(settings, sounds)
    named = {name: getattr(settings, name) for name in ("batch_size", "learning_rate", "schedule", "device")}
    fit(model, sounds, out, steps=steps, **named, **options)
    return model


def test_a_codec_learns_and_later_stages_add(sounds, tmp_path):
    settings = dataclasses.replace(CODEC, channels=8, latent_dim=8, codebook_size=16)
    levels = list(evaluate(trained(settings, sounds, tmp_path, 120), sounds.train).snr_db.values())
    assert levels == sorted(levels)
    assert levels[-1] > 1.0


def test_a_codec_run_in_two_parts_equals_one(sounds, tmp_path):
    constant = dataclasses.replace(CODEC, schedule="constant")
    trained(constant, sounds, tmp_path / "parts", 5)
    parts = trained(constant, sounds, tmp_path / "parts", 12, resume=True).state_dict()
    whole = trained(constant, sounds, tmp_path / "whole", 12).state_dict()
    assert all(torch.equal(parts[name], value) for name, value in whole.items())


def test_sounds_cannot_be_had_by_another_name():
    with pytest.raises(ValueError, match="data: expected sounds, which are synthesised, got 'mnist'"):
        FAMILIES["codec"].load(dataclasses.replace(CODEC, data="mnist"))


def test_a_tokenizer_draws_whole_photographs(tokenizer_run):
    out, _, report = tokenizer_run
    names = ["code_maps", "codebook", "codebook_usage", "curves", "photographs", "quantizer_health", "reconstructions"]
    assert sorted(pictures_of(out)) == names
    metrics = report.metrics
    assert (metrics["bits_per_image"], metrics["bits_per_pixel"]) == (16 * 2 * 4, 0.125)
    assert metrics["held_out"]["perplexity"] == pytest.approx(
        (metrics["held_out"]["perplexity_stage_1"] + metrics["held_out"]["perplexity_stage_2"]) / 2
    )
    assert len(report.train.usages) == 2


def test_photographs_are_put_together_again():
    images = photos(32)
    whole, border = whole_photos(images)
    assert [list(photo.shape) for photo in whole] == [[3, 427, 640]] * 2
    assert border == 128
    assert torch.equal(whole[0][:, :32, 640 - border : 640 - border + 32], images.held_out[0])
    assert torch.equal(whole[0][:, :32, :32], images.train[0])


def test_the_cosine_schedule_rises_then_falls(sounds, tmp_path, monkeypatch):
    rates = []
    step = TrainingModule.training_step

    def noting(self, *arguments):
        rates.append(self.optimizers().param_groups[0]["lr"])
        return step(self, *arguments)

    monkeypatch.setattr(TrainingModule, "training_step", noting)
    trained(dataclasses.replace(CODEC, learning_rate=1e-3), sounds, tmp_path, 100)
    assert rates[0] == pytest.approx(0.5e-3)  # two steps of rise
    assert max(rates) == rates[1]
    assert rates[50] == pytest.approx(0.5e-3)
    assert rates[1:] == sorted(rates[1:], reverse=True)
    assert rates[-1] < 1e-6


def test_an_unknown_schedule_is_named(sounds, tmp_path):
    with pytest.raises(ValueError, match="schedule: expected one of constant, cosine, got 'step'"):
        train_run(dataclasses.replace(CODEC, schedule="step"), sounds, tmp_path / "run")


def test_decibel_and_powers():
    assert decibel(100.0, 1.0) == pytest.approx(20)
    assert decibel(1.0, 0.0) == pytest.approx(100)
    with pytest.raises(ArithmeticError, match="nan"):
        decibel(1.0, float("nan"))
    assert [powers_of_two(most) for most in (1, 2, 3, 8)] == [[1], [1, 2], [1, 2, 3], [1, 2, 4, 8]]


def test_pictures_of_stages(codec_run):
    _, result, report = codec_run
    history = result.health.history["model.quantizer"]
    figure = draw_stage_health(history, "title")
    assert [axes.get_title() for axes in figure.axes] == [
        "Codes alive (%)", "Perplexity", "Dead codes", "Energy left after the stage",
    ]  # fmt: skip
    assert [float(line.get_ydata()[-1]) for line in figure.axes[1].lines] == history["perplexity"][-1]
    without = history | {"residual_energy": [[float("nan")] * 3 for _ in history["step"]]}
    assert len(draw_stage_health(without, "title").axes) == 3
    assert len(draw_stage_usage(report.train.usages, "title").axes[0].lines) == 3
    levels = draw_signal_to_noise([1.0, 2.0], [0.5, 1.0], "title").axes[0].lines[0]
    assert levels.get_ydata().tolist() == [1.0, 2.0]
