"""`LFQ`, `BSQ` and `ResidualLFQ` beside vector-quantize-pytorch, and what is theirs alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from aevae_fast.quantizers import BSQ, LFQ, ResidualLFQ

from ..processes import on_processes

peers = pytest.importorskip("vector_quantize_pytorch")
# Where the peer is right: codes less probable than 1e-5, whose logarithm it cuts off, do not matter.
SOFT = {"inv_temperature": 0.3}


def together(ours: Any, theirs: Any, x: Tensor, **options: Any) -> tuple[Any, Any, list[Tensor], list[Tensor]]:
    """Outputs of the peer and of ours with its weights, and gradients of x and of the weights."""
    ours.load_state_dict(theirs.state_dict())
    weight, outputs, gradients = torch.randn(x.shape), [], []
    for layer in (ours, theirs):
        leaf = x.clone().requires_grad_()
        outputs.append(layer(leaf, **options))
        first = outputs[-1][0] if options.get("return_loss_breakdown") else outputs[-1]
        ((first[0] * weight).sum() + 3 * first[2].sum()).backward()
        gradients.append([leaf.grad, *(p.grad for p in layer.parameters())])
    return *outputs, *gradients


@pytest.mark.parametrize("options", [
    {"codebook_size": 2**8},
    {"codebook_size": 2**6, "dim": 16},
    {"codebook_size": 2**5, "dim": 16, "num_codebooks": 3},
    {"codebook_size": 2**6, "commitment_loss_weight": 0.4, "diversity_gamma": 2.5, "entropy_loss_weight": 0.3},
    {"codebook_size": 2**6, "codebook_scale": 0.5, "soft_clamp_input_value": 2.0},
    {"codebook_size": 2**6, "spherical": True, "commitment_loss_weight": 0.4},
    {"codebook_size": 2**4, "dim": 16, "num_codebooks": 2, "spherical": True, "codebook_scale": 1.5},
    {"codebook_size": 2**6, "experimental_softplus_entropy_loss": True},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("shape", [(3, 40), (2, 5, 7)], ids=["sequence", "image"])
def test_the_peers_checkpoint_gives_its_codes_losses_and_gradients(
    shape: tuple[int, ...], options: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    ours, theirs = LFQ(**options), peers.LFQ(**options)
    x = torch.randn(*shape, ours.dim)
    x = x.movedim(-1, 1).contiguous() if len(shape) == 3 else x
    (found, losses), (expected, their_losses), grads, wanted = together(
        ours, theirs, x, return_loss_breakdown=True, **SOFT
    )
    assert found._fields == expected._fields
    assert torch.equal(found.indices, expected.indices.long())
    torch.testing.assert_close(found.quantized, expected.quantized, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.entropy_aux_loss, expected.entropy_aux_loss, rtol=1e-5, atol=1e-6)
    if not options.get("commitment_loss_weight"):
        their_losses = their_losses._replace(
            commitment=losses.commitment
        )  # which it leaves out where it weighs nothing
    torch.testing.assert_close(tuple(losses), tuple(their_losses), rtol=1e-5, atol=1e-6)
    for mine, their in zip(grads, wanted, strict=True):
        torch.testing.assert_close(mine, their, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.indices_to_codes(found.indices), theirs.indices_to_codes(expected.indices))
    torch.testing.assert_close(ours.codebook, theirs.maybe_l2norm(theirs.codebook))


def test_where_the_peer_is_wrong() -> None:
    """With a mask its batch's entropy is that of a single vector; over 18 bits it counts every code short."""
    torch.manual_seed(0)
    ours, theirs = LFQ(codebook_size=2**6), peers.LFQ(codebook_size=2**6)
    x, mask = torch.randn(2, 30, 6), torch.rand(2, 30) > 0.4
    _, wrong = theirs(x, mask=mask, return_loss_breakdown=True, **SOFT)
    assert wrong.batch_entropy == wrong.per_sample_entropy
    _, right = theirs(x[mask][None], return_loss_breakdown=True, **SOFT)
    _, found = ours(x, mask=mask, return_loss_breakdown=True, **SOFT)
    torch.testing.assert_close(tuple(found[:2]), tuple(right[:2]))
    fair = LFQ(codebook_size=2**18)
    _, losses = fair(torch.zeros(1, 2, 18), return_loss_breakdown=True)
    torch.testing.assert_close(losses.per_sample_entropy, 18 * torch.tensor(2.0).log())


def test_eval_has_no_loss_and_unweighted_entropies_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = LFQ(codebook_size=2**6), torch.randn(2, 9, 6)
    _, losses = layer.eval()(x, return_loss_breakdown=True)
    assert [float(loss) for loss in losses] == [0.0, 0.0, 0.0]
    module = __import__("aevae_fast.functional.lookup_free_quantize", fromlist=["batch_entropy"])
    monkeypatch.setattr(module, "batch_entropy", None)
    LFQ(codebook_size=2**6, entropy_loss_weight=0.0)(x)


def test_the_loss_makes_codes_sure_and_all_of_them_used() -> None:
    torch.manual_seed(0)
    x = (0.1 * torch.randn(256, 6) + 1).requires_grad_()  # nearly all of one code
    layer = LFQ(codebook_size=2**6, entropy_loss_weight=1.0)
    optimizer = torch.optim.Adam([x], 0.1)
    for _ in range(80):
        optimizer.zero_grad()
        layer(x[None], inv_temperature=1.0).entropy_aux_loss.backward()
        optimizer.step()
    _, indices, loss = layer(x[None], inv_temperature=1.0)
    assert len(indices.unique()) > 50
    assert loss < 0.9 * -torch.tensor(64.0).log()


@pytest.mark.parametrize("bits", [6, 36])
def test_binary_spherical_codes_lie_on_the_sphere(bits: int) -> None:
    layer = BSQ(codebook_size=2**bits, commitment_loss_weight=1.0)
    x = torch.randn(2, 15, bits, requires_grad=True)
    quantized, indices, loss = layer(x, inv_temperature=1.0)
    torch.testing.assert_close(quantized.norm(dim=-1), torch.ones(2, 15))
    assert torch.equal(quantized > 0, x > 0)
    assert torch.equal(layer.codes_to_indices(quantized), indices)
    torch.testing.assert_close(layer.indices_to_codes(indices), quantized)
    unit = F.normalize(x, dim=-1)
    assert ((quantized - unit).square().sum(-1) <= 2 - 2 / bits**0.5 + 1e-6).all()  # the paper's bound
    loss.backward()
    assert x.grad is not None
    # What comes through the sphere has no part along x.
    (along,) = torch.autograd.grad((layer(x)[0] * torch.randn(2, 15, bits)).sum(), x)
    torch.testing.assert_close((along * x).sum(-1), torch.zeros(2, 15), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="spherical must be True for BSQ"):
        BSQ(codebook_size=64, spherical=False)


@pytest.mark.parametrize(("arguments", "message"), [
    ({}, "dim must be a number where codebook_size is not given"),
    ({"codebook_size": 100}, "codebook_size must be a power of 2, at least 2; got 100"),
    ({"dim": 63}, "codes must have 1 to 62 bits"),
    ({"codebook_size": 64, "group_size": 0}, "group_size must be None or a number"),
    ({"codebook_size": 64, "codebook_scale": 0.0}, "codebook_scale must be above 0"),
    ({"codebook_size": 64, "soft_clamp_input_value": 0.5}, "soft_clamp_input_value must be at least codebook_scale"),
    ({"codebook_size": 64, "entropy_loss_weight": -1.0}, "entropy_loss_weight must be at least 0"),
    ({"codebook_size": 64, "dim": 8, "has_projections": False}, "has_projections must be True where dim is 8"),
])  # fmt: skip
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LFQ(**arguments)


def test_a_checkpoint_of_another_size_or_kind_says_which() -> None:
    layer = LFQ(codebook_size=2**6)
    with pytest.raises(RuntimeError, match="this is codes of 6 bits, the checkpoint spherical codes of 6 bits"):
        layer.load_state_dict(LFQ(codebook_size=2**6, spherical=True).state_dict())
    with pytest.raises(RuntimeError, match="size mismatch for mask"):
        layer.load_state_dict(peers.LFQ(codebook_size=2**7).state_dict())


class Model(nn.Module):
    """An encoder before the layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.encoder, self.quantizer = nn.Linear(6, 6), LFQ(codebook_size=2**6, entropy_loss_weight=1.0)

    def forward(self, x: Tensor) -> Tensor:
        quantized, _, loss = self.quantizer(self.encoder(x), inv_temperature=0.5)
        return quantized.square().mean() + loss


def _train(rank: int, world: int, steps: int = 4) -> dict[str, Tensor]:
    model = Model()
    trained = DistributedDataParallel(model) if world > 1 else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        optimizer.zero_grad()
        trained(torch.randn(48, 6, generator=generator).chunk(world)[rank]).backward()
        optimizer.step()
    return model.state_dict()


def test_two_processes_end_where_one_on_the_joined_batch_ends(tmp_path: Path) -> None:
    """E[p] is over all ranks: the mean of each rank's own entropy would be another loss."""
    first, second = on_processes(_train, 2, tmp_path)
    alone = _train(0, 1)
    for name, value in alone.items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], value, msg=name)


# --- residual --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"dim": 10}, {"soft_clamp_input_value": 3.0}, {"commitment_loss_weight": 0.3}], ids=str
)
def test_residual_codes_and_losses_are_the_peers(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    options = {"dim": 5, "codebook_size": 32, "num_quantizers": 4, **options}
    ours, theirs = ResidualLFQ(**options), peers.ResidualLFQ(**options)
    ours.load_state_dict(theirs.state_dict())
    x = 0.1 * torch.randn(3, 40, options["dim"])
    found, expected = ours(x, return_all_codes=True), theirs(x, return_all_codes=True)
    assert torch.equal(found[1], expected[1].long())
    torch.testing.assert_close(found[0], expected[0])
    # Its logarithm is cut off at 1e-5, which shows at its fixed temperature: in the fourth digit.
    torch.testing.assert_close(found[2], expected[2], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found[3], expected[3])
    torch.testing.assert_close(ours.get_output_from_indices(found[1]), theirs.get_output_from_indices(expected[1]))


def test_the_gradient_passes_once_and_losses_reach_x() -> None:
    layer, x = ResidualLFQ(dim=5, codebook_size=32, num_quantizers=4), torch.randn(2, 9, 5, requires_grad=True)
    quantized, _, losses = layer(x, inv_temperature=0.5)
    (grad,) = torch.autograd.grad(quantized.sum(), x, retain_graph=True)
    assert torch.equal(grad, torch.ones_like(x))
    for loss in losses:
        assert torch.autograd.grad(loss, x, retain_graph=True)[0].any()


def test_dropped_stages_have_no_index_and_no_loss() -> None:
    layer = ResidualLFQ(dim=5, codebook_size=32, num_quantizers=4, quantize_dropout=True)
    x, seen = torch.randn(2, 9, 5), set()
    for seed in range(25):
        torch.manual_seed(seed)
        quantized, indices, losses = layer(x, inv_temperature=0.5)
        used = int((indices[0, 0] >= 0).sum())
        assert (indices[..., used:] == -1).all()
        assert losses[:used].all()
        assert not losses[used:].any()
        torch.testing.assert_close(quantized, layer.get_output_from_indices(indices))
        seen.add(used)
    assert seen == {1, 2, 3, 4}


@pytest.mark.parametrize("option", ["num_codebooks", "codebook_scale"])
def test_options_without_a_meaning_in_a_stage(option: str) -> None:
    with pytest.raises(ValueError, match=f"{option} has no meaning in residual stages"):
        ResidualLFQ(dim=5, codebook_size=32, num_quantizers=4, **{option: 2})


def test_what_is_masked_does_not_reach_the_gradient_of_a_soft_clamp() -> None:
    x, mask = torch.randn(2, 5, 6), torch.rand(2, 5) > 0.5
    x = x.masked_fill(~mask[..., None], torch.nan).requires_grad_()
    output = LFQ(codebook_size=2**6, soft_clamp_input_value=2.0)(x, mask=mask)
    (output.quantized.sum() + output.entropy_aux_loss).backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert not x.grad[~mask].any()
