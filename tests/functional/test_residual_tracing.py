"""The residual operations under PyTorch's rules: opcheck, compile, export; and bad input, named before any launch."""

import re
from typing import Any

import pytest
import torch
from torch.library import opcheck

from aevae_fast import functional

from .test_residual_vector_quantize import SIZES, draw_codebooks

OPS = torch.ops.aevae_fast


@pytest.mark.parametrize("strided", [False, True], ids=["rows", "channel_first"])
@pytest.mark.parametrize("options", [False, True], ids=["plain", "options"])
def test_opcheck(strided: bool, options: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 6, 11).transpose(1, 2) if strided else torch.randn(1, 11, 6)
    codebooks, sizes = torch.cat(draw_codebooks()), list(SIZES)
    active, mask = (torch.tensor(2), torch.rand(x.shape[:2]) > 0.5) if options else (None, None)
    indices = torch.stack([torch.randint(-1, size, x.shape[:2]) for size in sizes], -1)
    opcheck(OPS.residual_vector_quantize.default, (x, codebooks, sizes, active, mask))
    args = (torch.randn_like(x), x, codebooks, sizes, indices, torch.rand(3))
    opcheck(OPS.residual_vector_quantize_backward.default, args)
    opcheck(OPS.residual_statistics.default, (x, codebooks, sizes, indices, options))


@pytest.mark.parametrize("estimator", ["straight_through", "rotation"])
def test_compiles_without_a_break_and_without_recompiling_for_a_new_size(estimator: str) -> None:
    torch.manual_seed(0)
    codebooks = [codes.requires_grad_() for codes in draw_codebooks()]
    leaves = [(torch.zeros(len(c), requires_grad=True), torch.zeros_like(c, requires_grad=True)) for c in codebooks]
    inputs = [*codebooks, *(leaf for pair in leaves for leaf in pair)]

    def call(x: torch.Tensor, active: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        options = {"statistics": leaves, "estimator": estimator, "dim": 1}
        return functional.residual_vector_quantize(x, codebooks, active=active, mask=mask, **options)

    torch._dynamo.reset()
    compiled = torch.compile(call, fullgraph=True, dynamic=True, backend="aot_eager")
    for batch, active in ((3, 3), (5, 1), (9, 2)):
        x = torch.randn(batch, 6, 4, 5, requires_grad=True)
        args = (x, torch.tensor(active), torch.rand(batch, 4, 5) > 0.3)
        with torch._dynamo.config.patch(error_on_recompile=batch == 9):
            ours = compiled(*args)
        expected = call(*args)
        for mine, theirs in zip(ours, expected, strict=True):
            assert torch.equal(mine, theirs)
        grads = [torch.autograd.grad(q.sum() + losses.sum(), (x, *inputs)) for q, _, losses in (ours, expected)]
        for mine, theirs in zip(*grads, strict=True):
            torch.testing.assert_close(mine, theirs)


def test_export() -> None:
    class Quantize(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.codebooks = torch.nn.ParameterList(draw_codebooks())

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return functional.residual_vector_quantize(x, list(self.codebooks), dim=1)

    module = Quantize()
    program = torch.export.export(module, (torch.randn(4, 6, 8),), dynamic_shapes=({0: torch.export.Dim("batch")},))
    y = torch.randn(7, 6, 8)
    for mine, theirs in zip(program.module()(y), module(y), strict=True):
        assert torch.equal(mine, theirs)


def test_a_forced_portable_form_is_what_the_cpu_takes() -> None:
    x, codebooks = torch.randn(12, 6), draw_codebooks()
    forced = functional.residual_vector_quantize(x, codebooks, impl="portable")
    for mine, theirs in zip(forced, functional.residual_vector_quantize(x, codebooks), strict=True):
        assert torch.equal(mine, theirs)


def test_autocast_changes_nothing() -> None:
    torch.manual_seed(0)
    x, codebooks = torch.randn(500, 40), draw_codebooks(40)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = functional.residual_vector_quantize(x, codebooks)
    for mine, theirs in zip(ours, functional.residual_vector_quantize(x, codebooks), strict=True):
        assert torch.equal(mine, theirs)


X, C = torch.randn(5, 4), torch.randn(3, 4)
LEAVES = (torch.zeros(3, requires_grad=True), torch.zeros(3, 4, requires_grad=True))
MASK, INDICES = torch.ones(5, dtype=torch.bool), torch.zeros(5, 2, dtype=torch.int64)


def quantize(*args: Any, **options: Any) -> Any:
    return lambda: functional.residual_vector_quantize(*args, **options)


def statistics(*args: Any) -> Any:
    return lambda: functional.residual_statistics(*args)


BAD: list[tuple[type[Exception], str, Any]] = [
    (TypeError, "x must be a torch.Tensor; got list", quantize([1.0], [C])),
    (TypeError, "codebooks must be a sequence of tensors or a torch.Tensor; got int", quantize(X, 3)),
    (
        ValueError,
        r"codebooks must be a sequence .* or one \[Q, K, D\]; got shape \(3, 4\)",
        quantize(X, C),
    ),
    (ValueError, "codebooks must hold at least one stage; got none", quantize(X, [])),
    (ValueError, "codebooks must hold at least one stage; got none", quantize(X, C[None][:0])),
    (ValueError, r"vectors of size 2 .* and codebooks\[1\] of shape \(3, 2\)", quantize(X, [C, C[:, :2]])),
    (ValueError, r"codebooks\[1\] must have shape \[K, D\] .* got \(0, 4\)", quantize(X, [C, C[:0]])),
    (TypeError, r"codebooks\[1\] must be a torch.Tensor; got NoneType", quantize(X, [C, None])),
    (TypeError, r"codebooks\[1\] must be float32 .* got torch.float16", quantize(X, [C, C.half()])),
    (TypeError, "codebooks must share one dtype; got torch.float32 and torch.float64", quantize(X, [C, C.double()])),
    (ValueError, r"codebooks\[0\] must be on x's device, cpu; got meta", quantize(X, [C.to("meta")])),
    (TypeError, "active must be a torch.Tensor, 0-d int64, or None; got int", quantize(X, [C], active=1)),
    (TypeError, "active must be torch.int64; got torch.int32", quantize(X, [C], active=torch.tensor(1).int())),
    (ValueError, r"active must have no axes.* got shape \(1,\)", quantize(X, [C], active=torch.tensor([1]))),
    (ValueError, "active must be on x's device", quantize(X, [C], active=torch.tensor(1, device="meta"))),
    (TypeError, "mask must be torch.bool; got torch.float32", quantize(X, [C], mask=torch.ones(5))),
    (ValueError, r"mask must have shape \(5,\)", quantize(X, [C], mask=MASK[:4])),
    (ValueError, "estimator must be one of 'straight_through'", quantize(X, [C], estimator="soft")),
    (ValueError, "commitment_weight must be at least 0; got -1", quantize(X, [C], commitment_weight=-1)),
    (ValueError, "codebook_weight must be at least 0; got nan", quantize(X, [C], codebook_weight=float("nan"))),
    (
        ValueError,
        "statistics must hold a pair of leaves for each of 2 stages; got 1",
        quantize(X, [C, C], statistics=[LEAVES]),
    ),
    (
        ValueError,
        r"statistics\[1\] must have shapes \(2,\) and \(2, 4\); got \[\(3,\), \(3, 4\)\]",
        quantize(X, [C, C[:2]], statistics=[LEAVES, LEAVES]),
    ),
    (ValueError, "'portable' does not compute in float64", quantize(X.double(), [C], impl="portable")),
    (ValueError, r"indices must have shape \(5, 1\), one for each stage; got \(5, 2\)", statistics(X, [C], INDICES)),
    (TypeError, "indices must be torch.int64; got torch.float32", statistics(X, [C, C], INDICES.float())),
    (TypeError, "indices must be a torch.Tensor; got list", statistics(X, [C], [0])),
]


@pytest.mark.parametrize(("error", "message", "call"), BAD, ids=[re.sub(r"\W+", "_", b[1])[:50] for b in BAD])
def test_bad_input_is_named(error: type[Exception], message: str, call: Any) -> None:
    with pytest.raises(error, match=message):
        call()


def test_sizes_that_do_not_add_up_are_refused() -> None:
    x, codebooks, indices = X[None], torch.cat([C, C]), INDICES[None]
    for call in (
        lambda: OPS.residual_vector_quantize(x, codebooks, [3, 2], None, None),
        lambda: OPS.residual_statistics(x, codebooks, [3, 2], indices, False),
        lambda: OPS.residual_vector_quantize_backward(x, x, codebooks, [3, 2], indices, torch.ones(2)),
    ):
        with pytest.raises((ValueError, RuntimeError), match="sum exactly to 6"):
            call()
