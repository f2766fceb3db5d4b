"""The registered operations keep PyTorch's rules, and bad input is named before anything runs."""

import re
from typing import Any

import pytest
import torch
from torch.library import opcheck

from aevae_fast import GaussianLatent, VectorQuantize, functional
from aevae_fast.functional._checks import as_rows

OPS = torch.ops.aevae_fast


def _arguments(x: torch.Tensor) -> dict[str, tuple[Any, ...]]:
    batch, inner, dim = x.shape
    codebook, indices = torch.randn(7, dim), torch.randint(-1, 7, (batch, inner))
    mask, scale = torch.rand(batch, inner) > 0.5, torch.tensor(0.3)
    state = (codebook, torch.rand(7), torch.randn(7, dim), torch.rand(7), torch.randn(7, dim))
    return {
        "nearest_code": (x, codebook, "cosine"),
        "vector_quantize": (x, codebook, mask, "euclidean"),
        "vector_quantize_backward": (torch.randn_like(x), x, codebook, indices, None, scale),
        "codebook_statistics": (x, indices, 7, codebook),
        "ema_update_": (*state, 0.99, 1e-5, False, torch.rand(7, dim + 1), 0.5, 0.0, 1.05, torch.tensor(3)),
        "note_candidates_": (torch.rand(7, dim + 1), x, mask, torch.tensor(3), 1, 2, 1, 1640531527),
    }


@pytest.mark.parametrize("impl", [None, "triton"])
def test_strided_codebooks_and_states(impl: Any) -> None:
    torch.manual_seed(0)
    x, wide = torch.randn(20, 6), torch.randn(22, 12)
    codebook = wide[::2, ::2]
    for metric in ("euclidean", "cosine", "dot"):
        expected = functional.nearest_code(x, codebook, metric=metric, impl="reference")
        assert torch.equal(functional.nearest_code(x, codebook, metric=metric, impl=impl), expected)
        assert torch.equal(functional.vector_quantize(x, codebook, metric=metric, impl=impl)[1], expected)
    many = torch.randint(1, 9, (11, 3)).float()
    state = [torch.randn(6, 11).T, torch.rand(11, 2)[:, 0], torch.randn(6, 11).T]
    expected_state = [tensor.clone() for tensor in state]
    functional.ema_update_(*expected_state, many[:, 1], codebook, impl="reference")
    functional.ema_update_(*state, many[:, 1], codebook, impl=impl)
    for mine, theirs in zip(state, expected_state, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("strided", [False, True], ids=["rows", "channel_first"])
@pytest.mark.parametrize("name", _arguments(torch.zeros(1, 1, 1)))
def test_opcheck(name: str, strided: bool) -> None:
    x = torch.randn(2, 5, 11).transpose(1, 2) if strided else torch.randn(1, 11, 5)
    opcheck(getattr(OPS, name).default, _arguments(x)[name])


def test_export() -> None:
    class Search(torch.nn.Module):
        def forward(self, x: torch.Tensor, codebook: torch.Tensor) -> torch.Tensor:
            return functional.nearest_code(x, codebook, dim=1)

    x, codebook = torch.randn(4, 6, 8), torch.randn(9, 6)
    program = torch.export.export(Search(), (x, codebook), dynamic_shapes=({0: torch.export.Dim("batch")}, None))
    y = torch.randn(7, 6, 8)
    assert torch.equal(program.module()(y, codebook), functional.nearest_code(y, codebook, dim=1))


@pytest.mark.parametrize("impl", ["reference", None])
def test_statistics_and_ema(impl: Any) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 4, 5, 6)
    indices = torch.randint(-1, 9, (3, 5, 6))
    counts, sums = functional.codebook_statistics(x, indices, 9, dim=1, impl=impl)
    flat, picked = x.movedim(1, -1).reshape(-1, 4), indices.flatten()
    for k in range(9):
        assert counts[k] == (picked == k).sum()
        torch.testing.assert_close(sums[k], flat[picked == k].sum(0))
    for metric in ("euclidean", "cosine"):
        state = [torch.randn(9, 4), torch.rand(9), torch.randn(9, 4)]
        expected = [tensor.double() for tensor in state]
        functional.ema_update_(*state, counts, sums, decay=0.9, metric=metric, impl=impl)
        functional.ema_update_(*expected, counts.double(), sums.double(), decay=0.9, metric=metric)
        for mine, theirs in zip(state, expected, strict=True):
            torch.testing.assert_close(mine, theirs.float())


@pytest.mark.parametrize(
    ("shape", "dim", "rows"),
    [
        ((4, 5, 6), -1, (1, 20, 6)),
        ((4, 6, 5, 7), 1, (4, 35, 6)),
        ((6,), 0, (1, 1, 6)),
        ((4, 1, 6, 1), 2, (1, 4, 6)),
        ((0, 6, 3), 1, (0, 0, 6)),
    ],
)
def test_as_rows_is_a_view(shape: tuple[int, ...], dim: int, rows: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    view = as_rows(x, dim)
    assert view.shape == rows
    assert view.data_ptr() == x.data_ptr()


X, C = torch.randn(5, 4), torch.randn(3, 4)
BAD: list[tuple[type[Exception], str, Any]] = [
    (TypeError, "x must be a torch.Tensor; got list", lambda: functional.nearest_code([1.0], C)),  # type: ignore[arg-type]
    (TypeError, "x must be float16, .* got torch.int64", lambda: functional.nearest_code(X.long(), C)),
    (ValueError, "vectors of size 4 .* along dim 0", lambda: functional.nearest_code(X, C, dim=0)),
    (ValueError, "dim must name an axis of x.* got 2", lambda: functional.nearest_code(X, C, dim=2)),
    (ValueError, r"codebook must have shape \[K, D\].* got \(4,\)", lambda: functional.nearest_code(X, C[0])),
    (ValueError, r"codebook must have shape \[K, D\].* got \(0, 4\)", lambda: functional.nearest_code(X, C[:0])),
    (TypeError, "codebook must be float32", lambda: functional.nearest_code(X, C.bfloat16())),
    (ValueError, "codebook must be on x's device", lambda: functional.nearest_code(X, C.to("meta"))),
    (ValueError, "metric must be one of 'euclidean'", lambda: functional.nearest_code(X, C, metric="l1")),
    (ValueError, "impl must be None", lambda: functional.nearest_code(X, C, impl="cuda")),  # type: ignore[arg-type]
    (ValueError, "impl='triton' cannot run here: .*impl='portable' can", lambda: _on_cpu_without_interpreter()),
    (
        ValueError,
        "'portable' does not compute in float64",
        lambda: functional.nearest_code(X.double(), C, impl="portable"),
    ),
    (TypeError, "mask must be torch.bool", lambda: functional.vector_quantize(X, C, mask=torch.ones(5))),
    (ValueError, r"mask must have shape \(5,\)", lambda: functional.vector_quantize(X, C, mask=torch.ones(4).bool())),
    (
        ValueError,
        "commitment_weight must be at least 0",
        lambda: functional.vector_quantize(X, C, commitment_weight=-1),
    ),
    (ValueError, "codebook_weight must be", lambda: functional.vector_quantize(X, C, codebook_weight=float("nan"))),
    (TypeError, "indices must be torch.int64", lambda: functional.codebook_statistics(X, torch.zeros(5), 3)),
    (
        ValueError,
        "codebook_size must be at least 1",
        lambda: functional.codebook_statistics(X, torch.zeros(5).long(), 0),
    ),
    (ValueError, r"decay must lie in \[0, 1\]", lambda: functional.ema_update_(C, C[:, 0], C, C[:, 0], C, decay=1.5)),
    (ValueError, "eps must be above 0", lambda: functional.ema_update_(C, C[:, 0], C, C[:, 0], C, eps=-1)),
    (ValueError, r"counts must have shape \(3,\)", lambda: functional.ema_update_(C, C[:, 0], C, C[0], C)),
    (TypeError, "sums and codebook must both be", lambda: functional.ema_update_(C, C[:, 0], C, C[:, 0], C.half())),
]


def _on_cpu_without_interpreter() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TRITON_INTERPRET", raising=False)
        functional.nearest_code(X, C, impl="triton")


@pytest.mark.parametrize(("error", "message", "call"), BAD, ids=[re.sub(r"\W+", "_", b[1])[:40] for b in BAD])
def test_bad_input_is_named(error: type[Exception], message: str, call: Any) -> None:
    with pytest.raises(error, match=message):
        call()


def test_a_forced_portable_form_compiles_whole() -> None:
    x, codebook = torch.randn(12, 6, requires_grad=True), torch.randn(7, 6)
    expected = functional.vector_quantize(x, codebook)
    compiled = torch.compile(functional.vector_quantize, fullgraph=True, backend="aot_eager")
    quantized, indices, loss = compiled(x, codebook, impl="portable")
    loss.backward()
    assert torch.equal(quantized, expected[0])
    assert torch.equal(indices, expected[1])
    assert x.grad is not None
    assert x.grad.any()


@pytest.mark.parametrize(
    "layer", [lambda impl: VectorQuantize(6, 7, impl=impl), lambda impl: GaussianLatent(impl=impl)]
)
def test_layers_check_the_name_of_an_impl_when_built(layer: Any) -> None:
    """Not whether it can run: the device is known when a tensor comes."""
    layer("triton")
    with pytest.raises(ValueError, match="impl must be None, 'reference', 'portable' or 'triton'; got 'cuda'"):
        layer("cuda")
