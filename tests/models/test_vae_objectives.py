"""Objectives in a `VAE`, by name and by object: what they are told, training, compiling, files."""

import pytest
import torch

from aevae_fast.losses import OBJECTIVES, BetaTCVAEObjective, make_objective, total_correlation_terms
from aevae_fast.models import VAE, load_model, save_model

from .image_models import images, small

MLP = {"body": "mlp", "hidden": [20]}
OPTIONS = {
    "beta_tcvae": {"dataset_size": 64, "beta": {"name": "linear", "start": 0.0, "end": 4.0, "steps": 40}},
    "dip_vae": {"kind": "ii", "lambda_od": 1.0},
    "info_vae": {"lambda_mmd": 100.0},
    "wae": {"lambda_mmd": 50.0},
}


def made(name, by="name", **options):
    options = MLP | options
    if by == "name":
        return small(VAE, objective=name, objective_options=OPTIONS[name], **options)
    return small(VAE, objective=make_objective(name, **OPTIONS[name]), **options)


def step(model, x):
    torch.manual_seed(0)
    return model(x)


def test_every_objective_is_under_test():
    assert set(OPTIONS) == set(OBJECTIVES)


def test_beta_tcvae_is_told_the_sample_and_its_posterior():
    model, x = made("beta_tcvae").double(), images(16).double()
    model.set_step(20)
    output = step(model, x)
    mean, logvar = model.posterior(x)
    parts = total_correlation_terms(output.latent, mean, logvar, 64)
    torch.testing.assert_close(output.loss, output.reconstruction_loss + parts[0] + 2 * parts[1] + parts[2])


def test_with_all_weights_1_beta_tcvae_is_the_vae_with_a_sampled_kl():
    objective = BetaTCVAEObjective(1000, beta=1.0)
    with_terms, plain, x = small(VAE, objective=objective, **MLP), small(VAE, **MLP), images(256)
    ours, theirs = (step(model, x) for model in (with_terms, plain))
    assert torch.equal(ours.latent, theirs.latent)
    mean, logvar = plain.posterior(x)
    q, p = torch.distributions.Normal(mean, torch.exp(logvar / 2)), torch.distributions.Normal(0.0, 1.0)
    kl = (q.log_prob(ours.latent) - p.log_prob(ours.latent)).sum(1).mean()
    torch.testing.assert_close(ours.loss, ours.reconstruction_loss + kl)


@pytest.mark.parametrize("name", OPTIONS)
def test_training_decreases_the_loss(name):
    model, x = made(name), (images(64) > 0.9).float()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    model.set_step(40)
    for _ in range(60):
        optimizer.zero_grad()
        output = model(x)
        output.loss.backward()
        optimizer.step()
        losses.append(float(output.loss.detach()))
    assert sum(losses[-5:]) < 0.85 * sum(losses[:5])


@pytest.mark.parametrize("name", OPTIONS)
def test_by_name_and_by_object_compiled_and_from_a_file_are_one(name, tmp_path):
    torch._dynamo.reset()
    x = images(6)
    by_name, by_object = made(name), made(name, by="object")
    save_model(by_object, tmp_path)
    loaded = load_model(tmp_path).train()
    loss = step(by_name, x).loss
    assert torch.equal(loss, step(by_object, x).loss)
    assert torch.equal(loss, step(loaded, x).loss)
    compiled = torch.compile(by_name, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(step(compiled, x).loss, loss)
    assert step(by_name.eval(), x[:1]).loss.isfinite()


def test_latents_and_priors_that_a_formula_is_not_for_are_refused():
    with pytest.raises(ValueError, match="objective: expected one for latent 'full_covariance', got 'dip_vae'"):
        made("dip_vae", latent="full_covariance")
    for name in ("wae", "info_vae", "beta_tcvae"):
        with pytest.raises(ValueError, match="objective: expected one for prior 'gaussian'"):
            made(name, prior="gaussian")
    assert made("wae", latent="full_covariance")(images(4)).loss.isfinite()
