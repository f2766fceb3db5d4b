"""`reparameterize_kl` and `gaussian_kl` on the CPU path: values, gradients, layouts, tracing, bad input."""

import math
import re
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from aevae_fast import functional, reference

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
# An encoder's output and the axis along which mean and log-variance follow each other.
LAYOUTS: dict[str, tuple[Any, int]] = {
    "rows": (lambda: torch.randn(50, 12), 1),
    "sequence": (lambda: torch.randn(3, 17, 12), -1),
    "image_map": (lambda: torch.randn(3, 12, 4, 5), 1),
    "channels_last_memory": (lambda: torch.randn(3, 12, 4, 5).to(memory_format=torch.channels_last), 1),
    "along_height": (lambda: torch.randn(3, 6, 8, 5), 2),
    "axes_that_cannot_merge": (lambda: torch.randn(5, 4, 3, 12).permute(2, 0, 1, 3)[:, ::2, ::2, ::2], -1),
    "wide": (lambda: torch.randn(2, 40000), 1),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "latent": {"reduction": "latent"},
    "elementwise": {"reduction": "none", "clamp": (-0.5, 0.7)},
    "samples": {"samples": 3, "free_bits": 0.2},
    "prior": {"prior": True},
    "softplus": {"parameterization": "softplus"},
    "std": {"parameterization": "std", "prior": True, "samples": 2},
    "logstd": {"parameterization": "logstd", "clamp": (-1, 1)},
}


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def noise(mean: Tensor, samples: int | None, impl: Any = None) -> Tensor:
    """What the portable form draws for tensors laid out as mean: z where mean is 0 and σ 1."""
    zeros = torch.empty_strided(mean.shape, mean.stride()).zero_()
    return functional.reparameterize_kl(zeros, zeros, generator=seeded(), samples=samples, impl=impl)[0]


def both_ways(x: Tensor, dim: int, eps: Tensor, **options: Any) -> list[tuple[Tensor, ...]]:
    """Outputs and gradients of ours, of the reference in the same dtype, and of the reference in float64."""
    prior = options.pop("prior", False)
    results = []
    for kind, exact in (("ours", False), ("reference", False), ("reference", True)):
        leaf = (x.double() if exact else x).detach().requires_grad_()
        mean, raw = leaf.chunk(2, dim)
        size = [1] * mean.ndim
        size[-1] = mean.shape[-1]
        priors = [torch.linspace(-1, 1, size[-1], dtype=torch.float64 if exact else None).view(size) for _ in "ms"]
        for tensor in priors:
            tensor.requires_grad_()
        given = priors if prior else [None, None]
        if kind == "ours":
            call = {"prior_mean": given[0], "prior_logvar": given[1], "generator": seeded(), **options}
            z, kl = functional.reparameterize_kl(mean, raw, **call)
        else:
            plain = {name: value for name, value in options.items() if name != "samples"}
            z, kl = reference.reparameterize_kl(mean, raw, eps, *given, **plain)
        upstream = torch.linspace(-1, 1, z.numel()).view(z.shape).to(z.dtype)
        outputs, grads = [z, kl], [upstream, torch.full_like(kl, 1.7)]
        leaves = [leaf, *priors] if prior else [leaf]
        results.append((z.detach(), kl.detach(), *torch.autograd.grad(outputs, leaves, grads)))
    return results


@pytest.mark.parametrize(
    ("layout", "dtype", "case"),
    [(layout, torch.float32, "plain") for layout in LAYOUTS]
    + [("image_map", dtype, case) for dtype in DTYPES for case in OPTIONS]
    + [("sequence", torch.float32, "prior"), ("channels_last_memory", torch.float32, "prior")],
    ids=str,
)
def test_matches_float64_as_well_as_the_reference(layout: str, dtype: torch.dtype, case: str) -> None:
    torch.manual_seed(0)
    make, dim = LAYOUTS[layout]
    x = make().to(dtype)
    x = x.abs() + 0.1 if OPTIONS[case].get("parameterization") == "std" else x
    mean = x.chunk(2, dim)[0]
    eps = noise(mean, OPTIONS[case].get("samples"))
    ours, plain, exact = both_ways(x, dim, eps, **OPTIONS[case])
    assert ours[0].dtype == dtype
    assert ours[1].dtype == torch.float32
    for mine, theirs, truth in zip(ours, plain, exact, strict=True):
        assert mine.shape == truth.shape
        unit = torch.finfo(mine.dtype).eps * truth.abs().max()
        assert (mine - truth).abs().max() <= (theirs - truth).abs().max() + 2 * unit


def test_forced_implementations_share_the_kernels_noise() -> None:
    mean = torch.randn(5, 4, 6, 6)
    eps = noise(mean, None, "reference")
    seed = torch.randint(-(2**63), 2**63 - 1, (1,), generator=seeded())
    assert torch.equal(eps.flatten(), reference.philox.standard_normal(seed, 1, mean.numel())[0])
    double = functional.reparameterize_kl(mean.double(), mean.double(), generator=seeded())[0]
    torch.testing.assert_close(double, mean.double() + torch.exp(mean.double() / 2) * eps, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("layout", ["rows", "every_third", "columns"])
def test_kl_near_the_prior_and_far_from_it(layout: str) -> None:
    raw = torch.tensor([[0, 1e-7, -1e-6, 2e-6, 1e-4, -1e-3, 0.03, -0.3, 0.49, -0.51, 1, -2, 5, -30, 20]])
    raw = raw.repeat(9, 1)
    if layout == "every_third":
        raw = torch.randn(9, 45)[:, ::3].copy_(raw)
    elif layout == "columns":
        raw = raw.T.contiguous().T
    mean = torch.full_like(raw, 1e-9)
    kl = functional.gaussian_kl(mean, raw, reduction="none")
    exact = functional.gaussian_kl(mean.double(), raw.double(), reduction="none")
    assert kl.isfinite().all()
    assert ((kl - exact).abs() <= 20 * 2.0**-24 * exact + 1e-37).all()
    sigma = 1 + torch.tensor([[1e-6, -1e-6, 3e-7]])
    kl = functional.gaussian_kl(0 * sigma, sigma, parameterization="std", reduction="none")
    torch.testing.assert_close(kl.double(), (sigma.double() - 1).square(), rtol=4e-6, atol=0)


@pytest.mark.parametrize("impl", [None, "reference", "triton"])
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_clamp_at_and_beyond_its_ends_and_what_is_not_finite(impl: Any) -> None:
    raw = torch.tensor([[-3.0, -2, 0.5, 2, 3]], requires_grad=True)
    kl = functional.gaussian_kl(torch.zeros(1, 5), raw, clamp=(-2, 2), impl=impl)
    kl.backward()
    slope = torch.expm1(raw.detach()) / 2
    torch.testing.assert_close(raw.grad, slope * torch.tensor([0.0, 1, 1, 1, 0]))
    for bad in (torch.nan, torch.inf, -torch.inf):
        for mean, value in ((0.0, bad), (bad, 0.0)):
            for clamp in (None, (-2, 2)):
                tensors = torch.tensor([[mean, 1.0]]), torch.tensor([[value, 1.0]])
                z, kl = functional.reparameterize_kl(*tensors, clamp=clamp, free_bits=0.5, impl=impl)
                assert not kl.isfinite()
                assert z[0, 1].isfinite()


@pytest.mark.parametrize("impl", [None, "reference", "triton"])
def test_a_negative_standard_deviation(impl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error where the host can look, NaN where it cannot."""
    mean, sigma = torch.zeros(1, 2), torch.tensor([[-1.0, 1]])
    options: dict[str, Any] = {"parameterization": "std", "impl": impl}
    for operation in (functional.gaussian_kl, functional.reparameterize_kl):
        with pytest.raises(ValueError, match=r"standard deviations .* at least 0; got -1. Take 'softplus'"):
            operation(mean, sigma, **options)
    assert functional.gaussian_kl(mean, sigma, clamp=(0.5, 2.0), **options).isfinite()
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    z, kl = functional.reparameterize_kl(mean, sigma, **options)
    assert kl.isnan()
    assert z[0].isnan().tolist() == [True, False]


@pytest.mark.parametrize("impl", [None, "reference", "triton"])
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_a_standard_deviation_of_zero_has_a_gradient_through_the_sample(impl: Any) -> None:
    """z = mean + σ·ε moves by ε, also where σ is 0 and the KL infinite."""
    sigma = torch.tensor([[0.0, 1.0]], requires_grad=True)
    options: dict[str, Any] = {"parameterization": "std", "impl": impl}
    z, kl = functional.reparameterize_kl(torch.zeros(1, 2), sigma, generator=seeded(), **options)
    eps, _ = functional.reparameterize_kl(torch.zeros(1, 2), torch.ones(1, 2), generator=seeded(), **options)
    assert z[0, 0] == 0
    assert kl == torch.inf
    torch.testing.assert_close(torch.autograd.grad(z.sum(), sigma)[0], eps)


@pytest.mark.parametrize("layout", ["rows", "image_map"])
def test_compiles_without_a_break_and_without_recompiling_for_a_new_size(layout: str) -> None:
    make, dim = LAYOUTS[layout]

    def step(x: Tensor) -> tuple[Tensor, Tensor]:
        return functional.reparameterize_kl(*x.chunk(2, dim), clamp=(-30, 20), samples=2)

    torch._dynamo.reset()
    compiled = torch.compile(step, fullgraph=True, dynamic=True, backend="aot_eager")
    for repeat in (1, 3, 5):
        x = torch.cat([make()] * repeat).requires_grad_()
        with torch._dynamo.config.patch(error_on_recompile=repeat == 5):
            torch.manual_seed(1)
            ours = compiled(x)
        torch.manual_seed(1)
        expected = step(x)
        grads = [torch.autograd.grad(z.sin().sum() + kl, x)[0] for z, kl in (ours, expected)]
        torch.testing.assert_close((*ours, grads[0]), (*expected, grads[1]))


@pytest.mark.parametrize("strided", [False, True], ids=["rows", "chunks"])
def test_opcheck(strided: bool) -> None:
    ops, seed = torch.ops.aevae_fast, torch.tensor([5])
    mean, raw = torch.randn(3, 4, 10).chunk(2, 2) if strided else (torch.randn(3, 1, 8), torch.randn(3, 1, 8))
    tail = ("softplus", [-1.0, 1.0], 0.1)
    opcheck(ops.gaussian_kl.default, (mean, raw, None, None, *tail, "none"))
    opcheck(ops.gaussian_kl_backward.default, (torch.rand(3), mean, raw, mean, raw, *tail, True))
    opcheck(ops.reparameterize_kl.default, (mean, raw, mean, raw, seed, 2, *tail, "latent"))
    grad_z = torch.randn(2, *mean.shape)
    opcheck(ops.reparameterize_kl_backward.default, (grad_z, None, mean, raw, None, None, seed, *tail, False))


@pytest.mark.parametrize("impl", [None, "reference", "triton"])
@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (0, 4, 2, 2)], ids=str)
def test_empty(shape: tuple[int, ...], impl: Any) -> None:
    x = torch.empty(shape, requires_grad=True)
    z, kl = functional.reparameterize_kl(x, x, impl=impl)
    (z.sum() + kl).backward()
    assert z.shape == shape
    assert kl == 0
    assert functional.gaussian_kl(x, x, reduction="latent", impl=impl).shape == shape[:1]


def test_the_reference_alone_differentiates_twice() -> None:
    """½ Σ eʷ has itself as its second derivative; of the fast forms the first is right, and the second an error."""
    logvar = torch.randn(2, 3, requires_grad=True)
    for impl in ("reference", None):
        kl = functional.gaussian_kl(torch.zeros(2, 3), logvar, reduction="latent", impl=impl)
        (slope,) = torch.autograd.grad(kl.sum(), logvar, create_graph=True)
        torch.testing.assert_close(slope, torch.expm1(logvar) / 2)
        if impl == "reference":
            torch.testing.assert_close(torch.autograd.grad(slope.sum(), logvar)[0], logvar.exp() / 2)
        else:
            with pytest.raises(RuntimeError, match="differentiate twice"):
                torch.autograd.grad((slope * logvar).sum(), logvar, retain_graph=True)  # half of it by another path
            with pytest.raises(RuntimeError, match="differentiate twice"):
                (kl.sum() + slope.square().sum()).backward()
    given = torch.func.grad(lambda p: functional.gaussian_kl(torch.zeros(2, 3), p))(logvar.detach())
    torch.testing.assert_close(given, torch.expm1(logvar.detach()) / 4)


KL_RANGES = {
    "logvar": ((-30, -5), (-5, -1), (-0.3, 0.3), (1, 5), (5, 20)),
    "logstd": ((-15, -3), (-0.15, 0.15), (1, 3), (3, 10)),
    "std": ((0.01, 0.3), (0.9, 1.1), (1.5, 4), (4, 50), (50, 1000)),
    "softplus": ((-20, -5), (0.4, 0.7), (2, 10), (10, 100)),
}


@pytest.mark.parametrize("impl", ["portable", "reference", "triton"])
@pytest.mark.parametrize("parameterization", KL_RANGES)
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_kl_is_as_accurate_as_the_usual_formula(parameterization: str, impl: Any) -> None:
    """½(σ² - 1 - ln σ²) as PyTorch code has it, in float32: an error beyond its by two roundings at most."""
    torch.manual_seed(0)
    for low, high in KL_RANGES[parameterization]:
        p = torch.empty(1, 4096).uniform_(low, high)

        def sigma(p: torch.Tensor) -> torch.Tensor:
            functions = {"logvar": lambda: (p / 2).exp(), "logstd": p.exp, "std": lambda: p}
            return functions.get(parameterization, lambda: torch.nn.functional.softplus(p))()

        square = (p if parameterization == "logvar" else 2 * p).exp() if "log" in parameterization else sigma(p) ** 2
        logarithm = {"logvar": p, "logstd": 2 * p}.get(parameterization, 2 * sigma(p).log())
        usual = 0.5 * (square - 1 - logarithm)
        exact = functional.gaussian_kl(0 * p.double(), p.double(), parameterization=parameterization, reduction="none")
        ours = functional.gaussian_kl(0 * p, p, parameterization=parameterization, reduction="none", impl=impl)
        error, allowed = (((found - exact) / exact).abs().max() for found in (ours, usual))
        assert error <= allowed + 2 * 2.0**-24, (low, high)


@pytest.mark.parametrize("impl", [None, "reference", "triton"])
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_softplus_far_below_zero_is_the_exponential(impl: Any) -> None:
    low = -85.0 if impl == "triton" else -100.0  # where the kernels' float32 has no more normal numbers for σ
    p = torch.tensor([[-15.0, -30.0, -60.0, low]], requires_grad=True)
    kl = functional.gaussian_kl(0 * p.detach(), p, parameterization="softplus", reduction="none", impl=impl)
    torch.testing.assert_close(kl, -p - 0.5, rtol=1e-6, atol=1e-6)
    kl.sum().backward()
    torch.testing.assert_close(p.grad, -torch.ones_like(p), rtol=1e-6, atol=1e-6)


X = torch.zeros(4, 6)
BAD: list[tuple[type[Exception], str, dict[str, Any]]] = [
    (TypeError, "mean must be a torch.Tensor; got list", {"mean": [1.0]}),
    (TypeError, "logvar must be float16, .*; got torch.int64", {"logvar": X.long()}),
    (ValueError, r"logvar must have mean's shape, \(4, 6\); got \(4, 5\)", {"logvar": X[:, 1:]}),
    (TypeError, "logvar must have mean's dtype, torch.float32; got torch.float16", {"logvar": X.half()}),
    (ValueError, "mean must have shape .*, the batch first", {"mean": X[0, 0], "logvar": X[0, 0]}),
    (ValueError, "logvar must be on mean's device, cpu; got meta", {"logvar": X.to("meta")}),
    (ValueError, r"prior_mean must broadcast to mean's shape, \(4, 6\); got \(5,\)", {"prior_mean": X[0, 1:]}),
    (ValueError, "prior_logvar must broadcast", {"prior_logvar": X[None]}),
    (ValueError, "parameterization must be one of .*; got 'var'", {"parameterization": "var"}),
    (ValueError, "reduction must be one of .*; got 'mean'", {"reduction": "mean"}),
    (ValueError, r"clamp must be None or \(lo, hi\) with lo <= hi; got \(2, 1\)", {"clamp": (2, 1)}),
    (ValueError, r"clamp must be None or \(lo, hi\) with lo <= hi; got \(nan, 1\)", {"clamp": (math.nan, 1)}),
    (TypeError, r"clamp must be None or two numbers .*; got \(0, '1'\)", {"clamp": (0, "1")}),
    (TypeError, r"clamp must be None or two numbers .*; got \(None, 1\)", {"clamp": (None, 1)}),
    (ValueError, "free_bits must be .* at least 0; got -0.1", {"free_bits": -0.1}),
    (TypeError, "free_bits must be a number of nats; got NoneType", {"free_bits": None}),
    (ValueError, "samples must be None or at least 1; got 0", {"samples": 0}),
    (TypeError, "samples must be None or an int; got float", {"samples": 2.0}),
    (TypeError, "generator must be None or a torch.Generator; got int", {"generator": 3}),
    (ValueError, "impl='portable' does not compute in float64", {"prior_mean": X.double(), "impl": "portable"}),
]


@pytest.mark.parametrize(("error", "message", "given"), BAD, ids=[re.sub(r"\W+", "_", b[1])[:40] for b in BAD])
def test_bad_input_is_named(error: type[Exception], message: str, given: dict[str, Any]) -> None:
    given = {"mean": X, "logvar": X, **given}
    with pytest.raises(error, match=message):
        functional.reparameterize_kl(**given)
    if not {"samples", "generator"} & set(given):
        with pytest.raises(error, match=message):
            functional.gaussian_kl(**given)
