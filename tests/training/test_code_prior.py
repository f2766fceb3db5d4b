"""Training a prior over the codes of a VQ-VAE: what is measured, the folder, going on."""

import dataclasses
import json
import math

import pytest
import torch

from aevae_fast.models import VAE, VQVAE, CodePrior, load_model, save_model
from aevae_fast.training import CodePriorSettings, evaluate, load_settings, train_run
from aevae_fast.training.families import FAMILIES, code_fingerprint, family_of
from aevae_fast.training.families.code_prior import CodeMaps
from aevae_fast.training.runs import build_model

FAMILY = FAMILIES["code-prior"]
SMALL = CodePriorSettings(data="digits", steps=120, batch_size=64, channels=16, layers=1, heads=2, device="cpu")


@pytest.fixture(scope="module")
def vqvae(images):
    """A VQ-VAE with a codebook drawn from what its encoder makes of the images: as good as any to read codes from."""
    torch.manual_seed(0)
    options = {"channels": 8, "codebook_size": 16, "codebook_dim": 4, "quantizer_options": {"kmeans_init": True}}
    model = VQVAE(1, 8, **options)
    model(images.train.images[:500])
    return model.eval()


@pytest.fixture(scope="module")
def settings(vqvae, tmp_path_factory):
    folder = tmp_path_factory.mktemp("vqvae")
    save_model(vqvae, folder)
    return dataclasses.replace(SMALL, vqvae=str(folder), fingerprint=code_fingerprint(folder), learning_rate=5e-3)


@pytest.fixture(scope="module")
def prior_run(settings, images, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "prior"
    return out, *train_run(settings, images, out)


def test_the_codes_are_those_of_the_images(settings, images, vqvae):
    codes = FAMILY.data(settings, images)
    assert torch.equal(codes.train.codes, vqvae.encode(images.train.images))
    assert torch.equal(codes.held_out.codes, vqvae.encode(images.held_out.images))
    prior = build_model(settings, codes)
    assert (prior.codebook_size, prior.grid) == (16, (2, 2))
    centred = vqvae.codebook - vqvae.codebook.mean(0)
    alike = torch.nn.functional.cosine_similarity(prior.embedding.weight[:16], centred, dim=-1)
    torch.testing.assert_close(alike, torch.ones(16))


def test_what_is_measured_is_the_definition():
    torch.manual_seed(0)
    prior, codes = CodePrior(5, (2, 3), channels=8, embedding_dim=4, heads=2), torch.randint(5, (7, 2, 3))
    measured = evaluate(prior, CodeMaps(codes), batch_size=3)
    nats = -float(prior.log_prob(codes).double().mean())
    share = torch.bincount(codes.flatten(), minlength=5).double() / codes.numel()
    independent = -6 * float(sum(p * math.log2(p) for p in share if p))
    assert measured.as_dict() == {
        "images": 7,
        "nats_per_image": pytest.approx(nats),
        "bits_per_image": pytest.approx(nats / math.log(2)),
        "bits_per_code": pytest.approx(nats / math.log(2) / 6),
        "independent_bits_per_image": pytest.approx(independent),
    }


def test_a_run_learns_and_says_what_it_learned(prior_run, settings, images):
    out, result, report = prior_run
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics == report.metrics
    held_out = metrics["held_out"]
    assert held_out["bits_per_image"] < held_out["independent_bits_per_image"] < 4 * 4
    assert metrics["fixed_length_bits_per_image"] == 4 * 4
    assert result.history.evaluated["bits_per_image"][-1] == pytest.approx(held_out["bits_per_image"])
    assert sorted(file.name for file in (out / "pictures").iterdir()) == ["curves.png", "samples.png"]
    assert load_settings(out) == settings
    prior = load_model(out / "model")
    assert isinstance(prior, CodePrior)
    assert evaluate(prior, FAMILY.data(settings, images).held_out) == report.held_out
    said = FAMILY.remark(metrics)
    assert said is not None
    assert "16 at a fixed length" in said


def test_each_model_finds_its_family(prior_run, vqvae):
    assert family_of(load_model(prior_run[0] / "model")).settings is CodePriorSettings
    assert family_of(vqvae).settings.family == "vqvae"


def test_a_run_in_two_parts_equals_one(settings, images, tmp_path):
    settings = dataclasses.replace(settings, steps=12)
    longer = dataclasses.replace(settings, steps=24)
    train_run(settings, images, tmp_path / "parts")
    train_run(longer, images, tmp_path / "parts", resume=True)
    train_run(longer, images, tmp_path / "whole")
    parts, whole = (load_model(tmp_path / name / "model").state_dict() for name in ("parts", "whole"))
    assert all(torch.equal(parts[name], value) for name, value in whole.items())


def test_weights_that_are_nan_are_not_measured():
    prior = CodePrior(5, 2, channels=8, embedding_dim=4, heads=2)
    prior.bias.data.fill_(math.nan)
    with pytest.raises(ArithmeticError, match=r"-log p\(codes\) is nan"):
        evaluate(prior, CodeMaps(torch.zeros(3, 2, 2, dtype=torch.int64)))


def test_another_vqvae_than_the_priors_is_refused(settings, images, tmp_path):
    other = dataclasses.replace(settings, fingerprint="0123456789abcdef")
    with pytest.raises(ValueError, match="is not the one that this prior's training began with"):
        train_run(other, images, tmp_path / "run")
    save_model(VAE(1, 8, channels=4, latent_dim=2), tmp_path / "vae")
    other = dataclasses.replace(settings, vqvae=str(tmp_path / "vae"))
    with pytest.raises(ValueError, match=r"vqvae: expected a VQ-VAE in .*, got a VAE"):
        train_run(other, images, tmp_path / "run")
    with pytest.raises(FileNotFoundError, match="expected a saved model"):
        train_run(dataclasses.replace(settings, vqvae=str(tmp_path / "nowhere")), images, tmp_path / "run")
    assert not (tmp_path / "run").exists()
