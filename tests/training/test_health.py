"""Health of quantizers: what the callback sees in anyone's module, and what it leaves alone."""

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import Logger
from torch import nn
from torch.utils.data import DataLoader

from aevae_fast import quantizers
from aevae_fast.quantizers import FSQ, GroupedResidualVQ, ResidualVQ, VectorQuantize
from aevae_fast.training import QuantizerHealth
from aevae_fast.training.layer_health import layer_health, quantizers_in
from aevae_fast.training.progress import quiet_lightning

LAYERS = {
    "one": lambda: VectorQuantize(4, 8),
    "residual": lambda: ResidualVQ(4, 8, 3, quantize_dropout=True),
    "channel_first": lambda: ResidualVQ(4, (8, 4), channel_last=False),
    "narrow": lambda: ResidualVQ(4, 8, 2, codebook_dim=2),
    "grouped": lambda: GroupedResidualVQ(dim=4, groups=2, codebook_size=8, num_quantizers=2),
    "finite": lambda: FSQ((3, 3), dim=4),
}
STAGES = {
    "one": 1,
    "residual": 3,
    "channel_first": 2,
    "narrow": 2,
    "grouped.rvqs.0": 2,
    "grouped.rvqs.1": 2,
    "finite": 1,
}


class Mine(LightningModule):
    """A user's own module with one of each."""

    def __init__(self, compiled=False):
        super().__init__()
        torch.manual_seed(0)
        self.inwards = nn.Linear(4, 4)
        self.layers = nn.ModuleDict({name: make() for name, make in LAYERS.items()})
        self.run = torch.compile(self.compute, fullgraph=True, backend="eager") if compiled else self.compute

    def compute(self, x):
        x, loss = self.inwards(x), 0.0
        for name, layer in self.layers.items():
            out = layer(x.movedim(1, -1) if name != "channel_first" else x)
            loss = loss + out[0].square().mean() + sum(part.sum() for part in out[2:])
        return loss

    def training_step(self, batch, index):
        return self.run(batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)


class Noted(Logger):
    """A logger that remembers."""

    name = version = "noted"

    def __init__(self):
        super().__init__()
        self.logged = {}

    def log_metrics(self, metrics, step):
        self.logged.setdefault(step, {}).update(metrics)

    def log_hyperparams(self, *arguments):
        pass


def train(module, callback, steps, **options):
    batches = DataLoader(torch.randn(64, 4, 4, generator=torch.Generator().manual_seed(1)), batch_size=8)
    noted = Noted()
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    with quiet_lightning():
        trainer = Trainer(max_steps=steps, accelerator="cpu", callbacks=[callback], logger=noted, **quiet, **options)
        torch.manual_seed(2)  # of quantize-dropout
        trainer.fit(module, batches)
    return noted.logged


def test_every_layer_is_seen_stage_by_stage():
    callback = QuantizerHealth(every=2)
    module = Mine()
    logged = train(module, callback, 5)
    assert list(logged) == [2, 4, 5]  # the last step always
    names = {f"health/layers.{name}/stage_{q + 1}/" for name, stages in STAGES.items() for q in range(stages)}
    assert {key.rpartition("/")[0] + "/" for key in logged[2]} == names
    for name, stages in STAGES.items():
        history = callback.history[f"layers.{name}"]
        assert history["step"] == [2.0, 4.0, 5.0]
        assert {len(row) for measure in ("usage", "perplexity", "dead_codes") for row in history[measure]} == {stages}
    energies = torch.tensor(callback.history["layers.residual"]["residual_energy"])
    assert (energies[:, 1:] <= energies[:, :-1]).all()
    assert torch.tensor(callback.history["layers.finite"]["residual_energy"]).isnan().all()
    assert not any("finite" in key and "energy" in key for key in logged[2])


def test_values_are_those_of_the_state():
    callback, module = QuantizerHealth(every=3), Mine()
    logged = train(module, callback, 3)[3]
    for q, stage in enumerate(module.layers["residual"].layers, 1):
        assert logged[f"health/layers.residual/stage_{q}/perplexity"] == pytest.approx(
            float(stage.perplexity), rel=1e-5
        )
        assert logged[f"health/layers.residual/stage_{q}/usage"] == pytest.approx(float(stage.usage))


def test_a_compiled_module_is_seen_and_trains_the_same():
    plain, compiled = Mine(), Mine(compiled=True)
    callbacks = [QuantizerHealth(every=2), QuantizerHealth(every=2)]
    train(plain, callbacks[0], 4)
    train(compiled, callbacks[1], 4)
    for name, history in callbacks[0].history.items():
        for measure, rows in history.items():
            torch.testing.assert_close(
                torch.tensor(callbacks[1].history[name][measure]), torch.tensor(rows), equal_nan=True
            )


def test_looking_changes_nothing():
    watched, alone = Mine(), Mine()
    train(watched, QuantizerHealth(every=1), 4)
    train(alone, QuantizerHealth(every=100), 4)
    state = alone.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in watched.state_dict().items())
    assert not any(module._forward_hooks for module in watched.modules())


def test_under_accumulation_a_step_is_looked_at_once():
    callback = QuantizerHealth(every=1)
    train(Mine(), callback, 2, accumulate_grad_batches=3)
    assert callback.history["layers.one"]["step"] == [1.0, 2.0]


def test_the_history_goes_on_after_a_resume():
    callback = QuantizerHealth(every=2)
    train(Mine(), callback, 2)
    another = QuantizerHealth(every=2)
    another.load_state_dict(callback.state_dict())
    assert another.history == callback.history


def test_masked_rows_do_not_count():
    torch.manual_seed(0)
    layer = ResidualVQ(4, 8, 2)
    x = torch.randn(2, 6, 4)
    mask = torch.tensor([[True] * 6, [True] * 2 + [False] * 4])
    spoiled = torch.where(mask[..., None], x, 100.0)
    masked, kept = layer_health(layer, spoiled, mask=mask), layer_health(layer, x[mask])
    assert [stage.residual_energy for stage in masked] == pytest.approx([stage.residual_energy for stage in kept])
    assert layer_health(layer, spoiled, lens=torch.tensor([6, 2])) == masked
    total, so_far = x[mask].square().sum(), 0.0
    with torch.no_grad():
        for stage, code in zip(kept, layer.get_codes_from_indices(layer.eval()(x[mask])[1]), strict=True):
            so_far = so_far + code
            assert stage.residual_energy == pytest.approx(float((x[mask] - so_far).square().sum() / total), rel=1e-5)


FAMILY = {
    "cosine": (lambda: quantizers.ResidualVQ(8, 16, 2, use_cosine_sim=True), [16, 16]),
    "heads": (lambda: quantizers.VectorQuantize(8, 16, heads=2), [16]),
    "heads_apart": (lambda: quantizers.VectorQuantize(8, 16, heads=2, separate_codebook_per_head=True), [16, 16]),
    "learnable": (lambda: quantizers.VectorQuantize(8, 16, learnable_codebook=True), [16]),
    "two_finite": (lambda: quantizers.FSQ((3, 3), dim=8, num_codebooks=2), [9]),
    "residual_finite": (lambda: quantizers.ResidualFSQ(levels=(3, 3), dim=8, num_quantizers=3), [9] * 3),
    "lookup_free": (lambda: quantizers.LFQ(dim=8, codebook_size=16), [16]),
    "residual_lookup_free": (lambda: quantizers.ResidualLFQ(dim=8, codebook_size=16, num_quantizers=2), [16] * 2),
    "spherical": (lambda: quantizers.BSQ(dim=8, codebook_size=16), [16]),
    "sim": (lambda: quantizers.SimVQ(dim=8, codebook_size=16), [16]),
    "residual_sim": (lambda: quantizers.ResidualSimVQ(dim=8, codebook_size=16, num_quantizers=2), [16] * 2),
}


@pytest.mark.parametrize(("make", "sizes"), FAMILY.values(), ids=FAMILY)
def test_every_layer_of_the_family_can_be_looked_at(make, sizes):
    torch.manual_seed(0)
    layer = make()
    ((name, found),) = quantizers_in(layer)
    assert (name, found) == ("", layer)
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    health = layer_health(layer, torch.randn(3, 7, 8))
    assert [stage.codebook_size for stage in health] == sizes
    assert all(1 <= stage.perplexity <= stage.codebook_size + 1e-3 for stage in health)
    assert layer.training
    assert all(torch.equal(before[key], value) for key, value in layer.state_dict().items())


def test_a_mask_by_whatever_name_is_heeded():
    class Masked(Mine):
        def compute(self, x):
            mask = torch.tensor([True, True, False, False]).expand(len(x), 4)
            rows = self.inwards(x).where(mask[..., None], 50.0)
            layer = self.layers["residual"]
            out = self.call(layer, rows, mask)
            return out[0].square().mean() + out[2].sum()

    calls = (
        lambda layer, rows, mask: layer(rows, mask),
        lambda layer, rows, mask: layer(x=rows, mask=mask),
        lambda layer, rows, mask: layer(rows, lens=torch.full((len(rows),), 2)),
    )
    found = []
    for call in calls:
        module, callback = Masked(), QuantizerHealth(every=1)
        module.call = call
        train(module, callback, 1)
        found.append(callback.history["layers.residual"]["residual_energy"][0])
    assert found[0][0] < 1  # what stands in masked places is not in it
    assert found[1] == found[0]
    assert found[2] == found[0]


def test_a_layer_without_running_counts_is_counted_in_the_batch():
    layer = FSQ((3, 3))
    x = torch.tensor([[-9.0, -9.0], [-9.0, -9.0], [9.0, 9.0], [0.0, 0.0]])
    (health,) = layer_health(layer, x)
    assert (health.codebook_size, health.usage, health.dead_codes) == (9, 3 / 9, 6)
    assert health.perplexity == pytest.approx(2**1.5)
    frozen = VectorQuantize(2, 4, freeze_codebook=True)
    frozen._codebook.embed.copy_(torch.tensor([[[-9.0, -9.0], [9.0, 9.0], [0.0, 0.0], [50.0, 50.0]]]))
    (health,) = layer_health(frozen, x)
    assert (health.usage, health.dead_codes, health.residual_energy) == (0.75, 1, 0.0)


def test_half_precision_input_is_read():
    layer = ResidualVQ(4, 8, 2, codebook_dim=2)
    assert len(layer_health(layer, torch.randn(3, 4).bfloat16())) == 2


def test_names_and_errors():
    assert dict(quantizers_in(nn.Linear(2, 2))) == {}
    assert [name for name, _ in quantizers_in(VectorQuantize(4, 8))] == [""]
    with pytest.raises(ValueError, match="every: expected at least 1, got 0"):
        QuantizerHealth(0)
