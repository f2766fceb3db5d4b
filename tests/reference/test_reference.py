"""The reference against brute force written another way, and its gradients against finite differences."""

import math

import torch
from torch.autograd import gradcheck

from aevae_fast import reference


def test_nearest_code_is_the_brute_force_argmin() -> None:
    torch.manual_seed(0)
    x, codebook = torch.randn(20, 3, dtype=torch.float64), torch.randn(7, 3, dtype=torch.float64)
    for metric in ("euclidean", "cosine", "dot"):
        for row, index in zip(x.tolist(), reference.nearest_code(x, codebook, metric).tolist(), strict=True):
            costs = []
            for code in codebook.tolist():
                dot = sum(a * b for a, b in zip(row, code, strict=True))
                cost = {"euclidean": math.dist(row, code), "cosine": -dot / math.hypot(*code), "dot": -dot}[metric]
                costs.append(cost)
            assert index == costs.index(min(costs))


def test_ties_and_rows_that_are_not_finite() -> None:
    codebook = torch.tensor([[2.0, 0], [1, 0], [1, 0]])
    x = torch.tensor([[1.0, 0], [1.5, 0], [torch.nan, 0], [torch.inf, 0]])
    assert reference.nearest_code(x, codebook).tolist() == [1, 0, -1, -1]


def test_losses_have_the_gradients_of_their_formulas() -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    codebook = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([True, True, False, True, True, False])

    def commitment(x: torch.Tensor) -> torch.Tensor:
        return reference.vector_quantize(x, codebook.detach(), commitment_weight=0.3, codebook_weight=0, mask=mask)[2]

    def codebook_loss(codebook: torch.Tensor) -> torch.Tensor:
        return reference.vector_quantize(x.detach(), codebook, commitment_weight=0, codebook_weight=0.7, mask=mask)[2]

    assert gradcheck(commitment, (x,))
    assert gradcheck(codebook_loss, (codebook,))


def test_straight_through_value_and_gradient() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 5, 4, requires_grad=True)
    codebook = torch.randn(3, 4)
    quantized, indices, _ = reference.vector_quantize(x, codebook)
    assert torch.equal(quantized, codebook[indices])
    upstream = torch.randn_like(x)
    assert torch.equal(torch.autograd.grad(quantized, x, upstream)[0], upstream)


def test_statistics_and_ema_by_loops() -> None:
    torch.manual_seed(0)
    x, indices = torch.randn(9, 2, dtype=torch.float64), torch.tensor([0, 2, 2, -1, 0, 2, 2, -1, 3])
    counts, sums = reference.codebook_statistics(x, indices, 5)
    for k in range(5):
        chosen = [row for row, index in zip(x, indices.tolist(), strict=True) if index == k]
        assert counts[k] == len(chosen)
        torch.testing.assert_close(sums[k], sum(chosen, torch.zeros(2, dtype=torch.float64)))
    state = (torch.randn(5, 2).double(), torch.rand(5).double(), torch.randn(5, 2).double())
    codebook, cluster_size, embed_avg = reference.ema_update(*state, counts, sums, decay=0.9, eps=0.1)
    n = [0.9 * a + 0.1 * b for a, b in zip(state[1].tolist(), counts.tolist(), strict=True)]
    smoothed = [(v + 0.1) / (sum(n) + 0.5) * sum(n) for v in n]
    torch.testing.assert_close(cluster_size, torch.tensor(n, dtype=torch.float64))
    for k in range(5):
        torch.testing.assert_close(embed_avg[k], 0.9 * state[2][k] + 0.1 * sums[k])
        torch.testing.assert_close(codebook[k], embed_avg[k] / smoothed[k])


def test_ema_of_an_unused_codebook_leaves_it() -> None:
    codebook, zeros = torch.randn(4, 2), torch.zeros(4, 2)
    moved, _, _ = reference.ema_update(codebook, torch.zeros(4), zeros, torch.zeros(4), zeros)
    assert torch.equal(moved, codebook)
