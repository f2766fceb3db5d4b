"""Codes that follow the moments of the batches."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from aevae_fast import VectorQuantize, functional, update_codebooks
from aevae_fast.quantizers.affine import AffineCodebook

MOMENTS = ("batch_mean", "batch_variance", "codebook_mean", "codebook_variance")


def built(**options: Any) -> tuple[VectorQuantize, AffineCodebook]:
    torch.manual_seed(0)
    layer = VectorQuantize(6, 20, affine_param=True, **{"threshold_ema_dead_code": 0, **options})
    assert isinstance(layer._codebook, AffineCodebook)
    return layer, layer._codebook


def step(layer: VectorQuantize, x: Tensor, **options: Any) -> None:
    layer(x.clone().requires_grad_(), **options)[2].backward()
    update_codebooks()


class ByHand:
    """The state in float64, as the formulas say."""

    def __init__(self, book: AffineCodebook) -> None:
        self.embed, self.sums, self.counts = (
            tensor[0].double() for tensor in (book.embed, book.embed_avg, book.cluster_size)
        )
        self.moments: dict[str, Tensor] | None = None

    @property
    def scale(self) -> Tensor:
        assert self.moments is not None
        return (self.moments["batch_variance"] / self.moments["codebook_variance"]).sqrt()

    @property
    def codes(self) -> Tensor:
        if self.moments is None:
            return self.embed
        return (self.embed - self.moments["codebook_mean"]) * self.scale + self.moments["batch_mean"]

    def step(self, x: Tensor, decay: float) -> None:
        x = x.double().reshape(-1, 6)
        index = functional.nearest_code(x, self.codes)
        inner = x if self.moments is None else (x - self.moments["batch_mean"]) / self.scale
        inner = inner if self.moments is None else inner + self.moments["codebook_mean"]
        counts, sums = functional.codebook_statistics(inner, index, 20)
        self.counts, self.sums = decay * self.counts + (1 - decay) * counts, decay * self.sums + (1 - decay) * sums
        smooth = (self.counts + 1e-5) / (self.counts.sum() + 20e-5) * self.counts.sum()
        self.embed = self.sums / smooth[:, None]
        batch = (x.mean(0), x.var(0, correction=0), self.embed.mean(0), self.embed.var(0, correction=0))
        new = dict(zip(MOMENTS, batch, strict=True))
        if self.moments is None:
            self.moments = new
            return
        for name, tensor in new.items():
            self.moments[name] = self.moments[name].lerp(tensor, 0.05 if name.startswith("batch") else 0.2)


def test_follows_the_formulas() -> None:
    layer, book = built(decay=0.8, affine_param_batch_decay=0.95, affine_param_codebook_decay=0.8)
    truth = ByHand(book)
    for number in range(5):
        x = (1 + number) * torch.randn(2, 40, 6)
        step(layer, x)
        truth.step(x, 0.8)
    assert truth.moments is not None
    assert not book.codebook_mean_needs_init
    for name in MOMENTS:
        torch.testing.assert_close(getattr(book, name)[0, 0].double(), truth.moments[name], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(layer.codebook.double(), truth.codes, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("parts", [1, 7])
def test_a_small_variance_far_from_zero_is_not_lost(parts: int) -> None:
    """In the first step, too, which knows no mean to take differences from."""
    layer, book = built()
    x = 1000 + 0.01 * torch.randn(70, 6)
    for part in x.chunk(parts):
        layer(part.clone().requires_grad_())[2].backward()
    update_codebooks()
    torch.testing.assert_close(book.batch_variance[0, 0].double(), x.double().var(0, correction=0), rtol=1e-4, atol=0)
    torch.testing.assert_close(book.batch_mean[0, 0], x.mean(0))


@pytest.mark.parametrize("heads", [{}, {"heads": 2, "codebook_dim": 3, "separate_codebook_per_head": True}], ids=str)
def test_a_peers_checkpoint_gives_its_codes(heads: dict[str, Any]) -> None:
    peer = pytest.importorskip("vector_quantize_pytorch")
    torch.manual_seed(0)
    theirs = peer.VectorQuantize(dim=6, codebook_size=20, affine_param=True, rotation_trick=False, **heads)
    ours, book = built(**heads)
    for state in (theirs.state_dict(), ours.state_dict()):
        ours.load_state_dict(state)
        assert book.codebook_mean_needs_init
        assert torch.equal(book.codes, book.embed if heads else book.embed[0])
    for _ in range(3):
        theirs(5 + 3 * torch.randn(2, 30, 6))
    x = 5 + 3 * torch.randn(2, 30, 6)
    theirs.eval()
    quantized, indices, _ = theirs(x)  # which moves its batch moments, in eval too
    ours.load_state_dict(theirs.state_dict())
    mine = ours.eval()(x)
    assert torch.equal(mine[1], indices)
    torch.testing.assert_close(mine[0], quantized)
    torch.testing.assert_close(ours.get_codes_from_indices(indices), quantized)


def test_codes_that_nothing_chose_move_with_the_data() -> None:
    layer, _ = built(decay=0.9, affine_param_batch_decay=0.8)
    for number in range(60):
        step(layer, number * 0.5 + torch.randn(100, 6))
    assert (layer.codebook.mean(0) - 29).abs().max() < 3
    plain = VectorQuantize(6, 20, decay=0.9, threshold_ema_dead_code=0)
    for number in range(60):
        step(plain, number * 0.5 + torch.randn(100, 6))
    assert layer.eval()(29.5 + torch.randn(500, 6))[2] < plain.eval()(29.5 + torch.randn(500, 6))[2]


@pytest.mark.parametrize("heads", [{}, {"heads": 2, "codebook_dim": 3, "separate_codebook_per_head": True}], ids=str)
def test_parts_of_a_batch_and_masks_are_one_step(heads: dict[str, Any]) -> None:
    (whole, _), (parts, _), (masked, _), (at_once, _) = (built(**heads) for _ in range(4))
    for _ in range(3):
        x = 2 + torch.randn(60, 6)
        step(whole, x)
        for part in x.split([10, 50]):
            (parts(part.clone().requires_grad_())[2] * len(part)).backward()
        update_codebooks()
        mask = torch.arange(90) % 3 > 0
        padded = torch.full((90, 6), torch.nan)
        padded[mask] = x
        step(masked, padded, mask=mask)
        at_once(x)
    for other in (parts, masked, at_once):
        for name, tensor in whole.state_dict().items():
            torch.testing.assert_close(other.state_dict()[name], tensor, msg=name)


def test_nothing_seen_nothing_moves_and_frozen_is_frozen() -> None:
    layer, _ = built()
    step(layer, torch.randn(30, 6))
    before = copy.deepcopy(layer.state_dict())
    step(layer, torch.randn(0, 6))
    step(layer, torch.randn(5, 6), mask=torch.zeros(5, dtype=torch.bool))
    layer.eval()(torch.randn(30, 6))
    layer.train()(torch.randn(30, 6), freeze_codebook=True)
    for name, tensor in layer.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_dead_codes_come_back_where_the_data_is() -> None:
    layer, book = built(threshold_ema_dead_code=0.9, decay=0.5)
    for _ in range(3):
        x = 50 + 4 * torch.randn(200, 6)
        step(layer, x)
    with torch.no_grad():
        book.embed[0, 3] = 1e3
        book.cluster_size[0, 3] = 0.01
    met = book.batch_mean.clone(), book._ratio.clone(), book.codebook_mean.clone()
    layer(x)
    met_code = (book.embed[0, 3] - met[2][0, 0]) * met[1][0, 0] + met[0][0, 0]
    assert (x - met_code).abs().amax(1).min() < 1e-3
    torch.testing.assert_close(book.embed_avg[0, 3], book.embed[0, 3] * book.cluster_size[0, 3])


def test_a_learnable_codebook_takes_its_gradient_through_the_moments() -> None:
    layer, book = built(learnable_codebook=True)
    step(layer, 5 + 3 * torch.randn(100, 6))
    layer.zero_grad()
    x = 5 + 3 * torch.randn(100, 6)
    _, indices, loss = layer(x)
    loss.backward()
    pull = torch.zeros(20, 6).index_add(0, indices, 2 * (layer.codebook.detach()[indices] - x) / x.numel())
    torch.testing.assert_close(book.embed.grad, pull[None] * book._ratio)
