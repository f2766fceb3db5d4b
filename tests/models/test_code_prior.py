"""CodePrior: a density over grids of codes, causal, normalised, and the draws follow it."""

import itertools
import math

import pytest
import torch

from aevae_fast.models import VQVAE, CodePrior, load_model, save_model

SMALL = {"embedding_dim": 4, "channels": 16, "layers": 2, "heads": 2}


def small(codebook_size=3, grid=2, seed=0, **options):
    """A prior whose probabilities are far from even, and depend on what came before."""
    torch.manual_seed(seed)
    prior = CodePrior(codebook_size, grid, **SMALL | options)
    with torch.no_grad():
        prior.bias.normal_(std=0.5)
        for parameter in (prior.position, prior.output[1].weight):
            parameter.normal_(std=0.1)
    return prior.eval()


def every_grid(codebook_size=3, height=2, width=2):
    return torch.tensor(list(itertools.product(range(codebook_size), repeat=height * width))).view(-1, height, width)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5), (4, 1), (3, 4), (7, 7)])
def test_shapes_and_the_loss(height, width):
    prior = small(5, (height, width))
    codes = torch.randint(5, (6, height, width))
    output = prior(codes)
    assert output.logits.shape == (6, 5, height, width)
    log_prob = prior.log_prob(codes)
    assert log_prob.shape == (6,)
    chosen = output.logits.log_softmax(1).gather(1, codes[:, None]).sum((1, 2, 3))
    torch.testing.assert_close(log_prob, chosen.detach())
    torch.testing.assert_close(output.loss, -chosen.mean())
    assert torch.equal(prior(codes.int()).logits, output.logits)


@pytest.mark.parametrize(("height", "width"), [(3, 4), (7, 7), (1, 6)])
def test_a_code_changes_only_what_comes_later_bit_for_bit(height, width):
    prior = small(6, (height, width))
    codes = torch.randint(6, (2, height, width))
    before = prior(codes).logits.flatten(2)
    for place in range(height * width):
        changed = codes.clone().flatten(1)
        changed[:, place] = (changed[:, place] + 1) % 6
        after = prior(changed.view_as(codes)).logits.flatten(2)
        assert torch.equal(after[..., : place + 1], before[..., : place + 1])
        later = (after - before).abs().amax((0, 1))[place + 1 :]
        assert (later > 0).all()  # and all of it: no blind spot


def test_a_position_is_shown_the_code_before_it_and_those_next_to_it():
    around = small(6, (3, 4)).neighbours
    assert ((around < torch.arange(12).unsqueeze(1)) | (around == 12)).all()
    assert around[9].tolist() == [8, 8, 12, 4, 5, 6, 1, 7]  # second row from the left end, third from the top
    assert around[4].tolist() == [3, 12, 12, 12, 0, 1, 12, 2]


def test_probabilities_of_all_grids_sum_to_one():
    log_prob = small().double().log_prob(every_grid())
    assert log_prob.exp().sum().item() == pytest.approx(1, abs=1e-12)
    assert log_prob.max() - log_prob.min() > 1


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_draws_follow_the_density(temperature):
    """Chi-square over the 81 grids, those expected less than 10 times as one; false alarm 1e-4, by Wilson-Hilferty."""
    prior, count = small(), 40_000
    drawn = prior.sample(count, generator=torch.Generator().manual_seed(1), temperature=temperature)
    grids = every_grid()
    logits = prior.double()(grids).logits.detach() / temperature
    share = logits.log_softmax(1).gather(1, grids[:, None]).sum((1, 2, 3)).exp()
    place = (drawn.flatten(1) * torch.tensor([27, 9, 3, 1])).sum(1)
    expected = share * count
    counts, often = torch.bincount(place, minlength=81), expected >= 10
    rest = expected[~often].sum()
    statistic = ((counts[often] - expected[often]).square() / expected[often]).sum()
    if rest > 0:
        statistic += (counts[~often].sum() - rest).square() / rest
    freedom, normal = int(often.sum()) - (not rest > 0), 3.719
    assert freedom > 20
    assert statistic < freedom * (1 - 2 / (9 * freedom) + normal * math.sqrt(2 / (9 * freedom))) ** 3


def test_draws_see_what_the_whole_grid_sees():
    """Drawn with kept keys and values, position by position, against the whole grid at once."""
    prior = small(9, (4, 5)).double()
    codes = torch.randint(9, (3, 4, 5))
    known = torch.cat([codes.flatten(1), torch.full((3, 1), 9)], 1)
    pasts, columns = [None, None], []
    for place in range(20):
        logits, pasts = prior._logits(known, slice(place, place + 1), pasts)
        columns.append(logits)
    expected = prior(codes).logits.flatten(2).transpose(1, 2)
    torch.testing.assert_close(torch.cat(columns, 1), expected)


def test_draws_repeat_with_their_generator_and_leave_the_global_one_alone():
    prior = small(8, (3, 3)).train()
    torch.manual_seed(5)
    untouched = torch.get_rng_state()
    first, again, other = (prior.sample(600, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), untouched)
    assert first.shape == (600, 3, 3)
    assert first.dtype == torch.int64
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert prior.training
    assert prior.sample(0).shape == (0, 3, 3)


def test_it_learns_a_pattern_that_only_context_tells():
    torch.manual_seed(0)
    first = torch.arange(64).view(64, 1, 1)
    codes = (first + torch.arange(9).view(1, 3, 3)) % 4  # one free code; independent ones would cost 9 · log 4
    prior = CodePrior(4, 3, **SMALL, dropout=0.0)
    optimizer = torch.optim.Adam(prior.parameters(), 1e-2)
    for _ in range(50):
        optimizer.zero_grad()
        prior(codes).loss.backward()
        optimizer.step()
    assert all(parameter.grad is not None for parameter in prior.parameters())
    assert -prior.log_prob(codes).mean() == pytest.approx(math.log(4), abs=0.2)
    drawn = prior.sample(50, generator=torch.Generator().manual_seed(0))
    expected = (drawn[:, :1, :1] + torch.arange(9).view(1, 3, 3)) % 4
    assert (drawn == expected).double().mean() > 0.95


def test_dropout_is_for_training_alone():
    prior, codes = small(5, 3, dropout=0.5), torch.randint(5, (2, 3, 3))
    quiet = prior.log_prob(codes)
    prior.train()
    assert not torch.equal(prior(codes).logits, prior(codes).logits)
    assert torch.equal(prior.log_prob(codes), quiet)


def test_codes_start_as_their_vectors():
    prior, codebook = small(5, 2), torch.randn(5, 4) * 3 + 7
    prior.start_from(codebook)
    started = prior.embedding.weight[:5]
    assert started.square().mean().item() == pytest.approx(1, abs=1e-5)
    centred = codebook - codebook.mean(0)
    torch.testing.assert_close(started / started[0, 0], centred / centred[0, 0])
    with pytest.raises(ValueError, match=r"codebook: expected \[5, 4\], got \[4, 5\]"):
        prior.start_from(codebook.T)


def test_a_folder_brings_it_back(tmp_path):
    prior, codes = small(5, (2, 3), dropout=0.25), torch.randint(5, (4, 2, 3))
    save_model(prior, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"config.json", "model.safetensors"}
    loaded = load_model(tmp_path)
    assert loaded.config == prior.config
    assert torch.equal(loaded.log_prob(codes), prior.log_prob(codes))
    draws = [one.sample(3, generator=torch.Generator().manual_seed(1)) for one in (prior, loaded)]
    assert torch.equal(*draws)


def test_a_training_step_compiles_whole():
    prior, codes = small(5, (2, 3)), torch.randint(5, (4, 2, 3))
    compiled = torch.compile(prior, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(codes).loss, prior(codes).loss)


def test_a_vqvae_decodes_what_the_prior_draws():
    torch.manual_seed(0)
    model = VQVAE(1, (8, 12), channels=4, codebook_size=5, codebook_dim=2)
    prior = small(5, model.code_grid)
    images = model.sample(3, prior=prior, generator=torch.Generator().manual_seed(2))
    assert images.shape == (3, 1, 8, 12)
    assert torch.equal(images, model.decode(prior.sample(3, generator=torch.Generator().manual_seed(2))))
    assert model.sample(0, prior=prior).shape == (0, 1, 8, 12)
    with pytest.raises(ValueError, match=r"prior: expected one over 5 codes \(codebook_size\), got 3"):
        model.sample(3, prior=small())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        pytest.param({"codebook_size": 0}, ValueError, "codebook_size: expected a positive number, got 0", id="codes"),
        pytest.param({"codebook_size": 2.5}, TypeError, "codebook_size: expected a whole number, got 2.5", id="half"),
        pytest.param({"grid": (2, 0)}, ValueError, r"grid: expected a positive number or .*got \(2, 0\)", id="grid"),
        pytest.param({"grid": "wide"}, TypeError, "grid: expected a whole number, got 'wide'", id="no-grid"),
        pytest.param({"channels": 10, "heads": 4}, ValueError, "heads: expected a divisor of channels=10", id="heads"),
        pytest.param({"dropout": 1}, ValueError, r"dropout: expected a share in \[0, 1\), got 1", id="dropout"),
        pytest.param({"layers": 0}, ValueError, "layers: expected a positive number, got 0", id="layers"),
    ],
)
def test_bad_arguments_are_named(options, error, message):
    with pytest.raises(error, match=message):
        CodePrior(**options)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        pytest.param(lambda p: p(torch.rand(1, 2, 2)), TypeError, "codes: expected an integer.*float32", id="float"),
        pytest.param(lambda p: p(torch.zeros(1, 2, 3).long()), ValueError, r"\[B, 2, 2\].*got \[1, 2, 3\]", id="grid"),
        pytest.param(lambda p: p.log_prob(torch.zeros(2, 2).long()), ValueError, r"got \[2, 2\]", id="no-batch"),
        pytest.param(lambda p: p.sample(-1), ValueError, "n: expected 0 or more, got -1", id="n"),
        pytest.param(lambda p: p.sample(1, temperature=0), ValueError, "temperature: expected a positive", id="cold"),
    ],
)
def test_bad_inputs_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call(small())
