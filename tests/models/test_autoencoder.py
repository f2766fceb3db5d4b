"""`Autoencoder`: the noise, and the running estimates of where the latents lie."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from aevae_fast.models import Autoencoder, NotTrainedError
from aevae_fast.models.latent_statistics import LatentStatistics

from ..processes import on_processes
from .image_models import images, same_state, small, state, trained


def noisy(noise, scale=1.0, offset=0.0):
    """A model whose latents are its 64 pixels, times `scale` and plus `offset`."""
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 64))
    with torch.no_grad():
        encoder[1].weight.copy_(scale * torch.eye(64))
        encoder[1].bias.fill_(offset)
    return small(Autoencoder, noise=noise, encoder=encoder, decoder=nn.Unflatten(1, (1, 8, 8)))


@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize("noise", [0.05, 0.5])
def test_the_noises_variance_is_noise_times_the_squared_radius_from_the_first_batch_on(noise, scale):
    model, x = noisy(noise, scale, offset=7.0), images(1000)
    torch.manual_seed(2)
    latent = model.encoder(x).detach().double()
    radius_squared = (latent - latent.mean(0)).square().sum(1).mean()
    drawn = model(x).latent.detach().double() - latent
    # 64,000 draws: the variance's relative standard error is √(2/64000) = 0.6 %, the mean's 1/√64000 σ; five of each
    assert drawn.var() / (noise * radius_squared) == pytest.approx(1, abs=5 * (2 / drawn.numel()) ** 0.5)
    assert abs(drawn.mean()) < 5 * drawn.std() / drawn.numel() ** 0.5
    # each element and image has a draw of its own
    assert torch.corrcoef(drawn.T).fill_diagonal_(0).abs().max() < 6 / 1000**0.5
    assert torch.corrcoef(drawn[:64]).fill_diagonal_(0).abs().max() < 6 / 8


def test_the_noise_follows_the_latents_as_they_grow():
    model, x = noisy(0.1), images(500)
    model(x)
    with torch.no_grad():
        model.encoder[1].weight.mul_(10)
    latent = model.encoder(x).detach()
    for _ in range(600):  # of the first radius, a share of 0.99⁶⁰⁰ is left
        model.statistics.update(latent)
    expected = 0.1 * (latent - latent.mean(0)).square().sum(1).mean()
    assert (model(x).latent.detach() - latent).var() / expected == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_in_eval_there_is_no_noise_and_nothing_is_learned(noise):
    model = trained(Autoencoder, noise=noise).eval()
    before, x = state(model), images(seed=5)
    assert torch.equal(model(x).latent, model.encoder(x))
    assert torch.equal(model(x).loss, model(x).loss)
    assert same_state(model, before)


def test_without_noise_training_decodes_the_latent_itself():
    model, x = small(Autoencoder), images()
    assert torch.equal(model(x).latent, model.encoder(x))


def test_in_the_gradient_the_noise_grows_with_the_latents():
    model, x = noisy(0.5), images(8).requires_grad_()
    output, weight = model(x).latent, torch.randn(8, 64)
    (weight * output).sum().backward()
    center = model.statistics.center  # of this one batch; the latents are x itself
    along = (x.grad * (x.detach().flatten(1) - center).view_as(x)).sum()  # by how much a larger scale changes the sum
    torch.testing.assert_close(along, (weight * (output.detach() - center)).sum(), rtol=1e-4, atol=1e-4)


def test_sampling_stays_in_the_remembered_range_and_fills_it():
    model = trained(Autoencoder)
    low, high = model.statistics.low, model.statistics.high
    latent = model.encoder(images(16))
    torch.testing.assert_close(low, latent.amin(0))
    torch.testing.assert_close(high, latent.amax(0))
    drawn = []
    model.decoder.register_forward_pre_hook(lambda module, inputs: drawn.append(inputs[0]))
    model.sample(2000)
    assert (drawn[0] >= low).all()
    assert (drawn[0] <= high).all()
    share = (drawn[0] - low) / (high - low)
    torch.testing.assert_close(share.mean(0), torch.full((3,), 0.5), rtol=0, atol=5 * (1 / 12 / 2000) ** 0.5)
    torch.testing.assert_close(share.var(0), torch.full((3,), 1 / 12), rtol=0.15, atol=0)


def test_there_is_nothing_to_sample_from_before_training():
    model = small(Autoencoder).eval()
    model(images())
    with pytest.raises(NotTrainedError, match="range of the training latents is not known"):
        model.sample(2)
    with pytest.raises(NotTrainedError, match="range of the training latents is not known"):
        model.traverse(images(), low=-1)
    assert model.traverse(images(), [0], low=-1, high=1).shape[:2] == (1, 8)


def batches(offset=0.0, scale=1.0):
    generator = torch.Generator().manual_seed(4)
    return [
        offset + scale * (shift + torch.randn(size, 3, 2, generator=generator))
        for shift, size in ((0, 5), (2, 1), (-1, 9), (4, 7))
    ]


@pytest.mark.parametrize(("offset", "scale"), [(0, 1), (1000, 0.01)], ids=["plain", "far-from-0"])
def test_statistics_are_those_of_the_weighted_batches(offset, scale):
    statistics, seen = LatentStatistics((3, 2), decay=0.8), []
    for batch in batches(offset, scale):
        statistics.update(batch)
        seen.append(batch.double().flatten(1))
        weights = torch.tensor([0.8 ** (len(seen) - 1 - i) for i in range(len(seen))]).double()
        weights /= weights.sum()
        center = sum(w * rows.mean(0) for w, rows in zip(weights, seen, strict=True))
        radius = sum(w * (rows - center).square().sum(1).mean() for w, rows in zip(weights, seen, strict=True))
        ulp = torch.finfo(torch.float32).eps * (offset + 4 * scale)
        torch.testing.assert_close(statistics.center.double().flatten(), center, rtol=0, atol=8 * ulp)
        spread = radius.sqrt()
        error = abs(statistics.radius_squared.double().sqrt() - spread)
        assert error < 8 * ulp * 6**0.5 + 1e-6 * spread


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_forward_that_checkpointing_repeats_counts_once_and_has_the_same_noise(reentrant):
    images, models = torch.rand(8, 1, 28, 28), []
    for checkpointed in (False, True):
        torch.manual_seed(0)
        model = Autoencoder(noise=0.5, body="mlp", hidden=(16,), latent_dim=3)
        for _ in range(3):
            torch.manual_seed(1)
            x = images.clone().requires_grad_()
            run = partial(checkpoint, model, use_reentrant=reentrant) if checkpointed else model
            run(x)[2].backward()  # the loss: reentrant checkpointing returns a bare tuple
        models.append(model)
    plain, repeated = models
    for name, buffer in plain.statistics.named_buffers():
        assert torch.equal(repeated.statistics.get_buffer(name), buffer), name
    for mine, theirs in zip(repeated.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


def _follow(rank, world, latents):
    statistics = LatentStatistics((3,), decay=0.8)
    for batch in latents:
        statistics.update(batch[:7] if rank else batch[7:])
    return statistics.state_dict()


def test_two_ranks_follow_the_joined_batch(tmp_path):
    latents, alone = [torch.randn(20, 3) * scale for scale in (1.0, 3.0, 2.0)], LatentStatistics((3,), decay=0.8)
    latents[1][3] = torch.nan
    for batch in latents:
        alone.update(batch)
    for followed in on_processes(_follow, 2, tmp_path, latents):
        for name, value in followed.items():
            torch.testing.assert_close(value, alone.state_dict()[name])


def test_the_range_widens_at_once_and_narrows_slowly():
    statistics = LatentStatistics((1,), decay=0.9)
    statistics.update(torch.tensor([[-1.0], [1.0]]))
    statistics.update(torch.tensor([[-5.0], [0.5]]))
    assert statistics.low == -5
    assert 0.5 < statistics.high < 1
    for _ in range(200):
        statistics.update(torch.tensor([[-0.25], [0.25]]))
    torch.testing.assert_close(torch.stack([statistics.low, statistics.high]), torch.tensor([[-0.25], [0.25]]))


def test_rows_that_are_not_finite_count_nowhere():
    clean, dirty = LatentStatistics((3, 2)), LatentStatistics((3, 2))
    for batch in batches():
        clean.update(batch)
        bad = torch.zeros(3, 3, 2)
        bad[0, 0, 0], bad[1, 1, 1], bad[2] = torch.nan, torch.inf, -torch.inf
        dirty.update(torch.cat([bad[:2], batch, bad[2:]]))
        dirty.update(bad)
        dirty.update(batch[:0])
    for name, value in clean.state_dict().items():
        torch.testing.assert_close(dirty.state_dict()[name], value, msg=name)


def test_a_batch_without_a_finite_row_gives_a_loss_that_shows_it():
    model = noisy(0.05)
    x = images()
    with torch.no_grad():
        model.encoder[1].bias[0] = torch.nan
    assert model(x).loss.isnan()
    assert model.statistics.weight == 0


def test_statistics_stay_float32_in_a_half_precision_model():
    model = trained(Autoencoder, noise=0.05)
    before = state(model.statistics)
    model.half()
    assert same_state(model.statistics, before)
    model(images().half())
    assert all(value.dtype == torch.float32 for value in model.statistics.state_dict().values())


def test_another_image_size_cannot_train_what_is_remembered():
    encoder, decoder = nn.Conv2d(1, 2, 4, stride=4), nn.ConvTranspose2d(2, 1, 4, stride=4)
    model = small(Autoencoder, encoder=encoder, decoder=decoder)
    with pytest.raises(ValueError, match=r"latent: expected \[B, 2, 2, 2\] in training.*got \[2, 2, 3, 2\]"):
        model(images(2, 1, 12, 8))


@pytest.mark.parametrize(
    ("noise", "error"),
    [(-0.1, ValueError), (float("nan"), ValueError), (float("inf"), ValueError), ("0.1", TypeError)],
)
def test_a_wrong_noise_is_named(noise, error):
    with pytest.raises(error, match=r"noise: .*got"):
        small(Autoencoder, noise=noise)


def test_it_says_its_noise():
    assert "noise=0.05" in repr(small(Autoencoder, noise=0.05))
