"""The Gaussian kernels against the reference in float64, given the noise that they drew."""

from typing import Any

import pytest
import torch

from aevae_fast import reference
from aevae_fast.kernels import gaussian_tiles
from aevae_fast.kernels.gaussian_kl import gaussian_kl, gaussian_kl_backward
from aevae_fast.kernels.reparameterize_kl import reparameterize_kl, reparameterize_kl_backward

from .cases import DTYPES, view

pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")

# One unit in the last place: the interpreter cuts fp32 to bf16 where hardware rounds to nearest.
ULP = {"fp32": 2.0**-23, "bf16": 2.0**-7, "fp16": 2.0**-10}
SHAPES = {"whole": (3, 1, 64), "odd": (2, 7, 13), "wide": (2, 1, 2100), "thin": (150, 1, 3), "split": (2, 5, 24)}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "latent": {"reduction": "latent"},
    "elementwise": {"reduction": "none"},
    "samples": {"samples": 3},
    "prior": {"prior": True},
    "free_bits": {"free_bits": 0.4, "reduction": "latent"},
    "clamp": {"clamp": [-0.5, 0.5]},
    "logstd": {"parameterization": "logstd"},
    "std": {"parameterization": "std", "prior": True},
    "softplus": {"parameterization": "softplus", "reduction": "none"},
}


def noise(seed, shape, samples, device):
    zeros = torch.zeros(shape, device=device)
    return reparameterize_kl(zeros, zeros, None, None, seed, samples, "logvar", None, 0.0, "batch")[0]


def inputs(shape, dtype, layout, options, device):
    torch.manual_seed(0)
    mean, raw, m, s = (torch.randn(shape) for _ in range(4))
    raw = raw.abs() + 0.1 if options.get("parameterization") == "std" else raw
    if options.get("clamp"):
        raw.view(-1)[:4] = torch.tensor([-0.5, 0.5, -2, 2])
    mean, raw = (view(t.to(DTYPES[dtype]).to(device), layout) for t in (mean, raw))
    priors = (m[:1, :1].expand(shape).to(device), s.to(device)) if options.get("prior") else (None, None)
    return mean, raw, *priors


@pytest.mark.parametrize(
    ("shape", "dtype", "layout", "case"),
    [("odd", "fp32", "rows", case) for case in OPTIONS]
    + [("whole", dtype, layout, "plain") for dtype in DTYPES for layout in ("rows", "channels", "slice")]
    + [("odd", "bf16", "slice", "samples"), ("wide", "fp16", "slice", "latent"), ("thin", "fp32", "rows", "prior")]
    + [("split", "bf16", "slice", "prior"), ("wide", "fp32", "rows", "samples")],
)
def test_values_and_gradients(shape, dtype, layout, case, device):
    option = dict(OPTIONS[case])
    tensors = inputs(SHAPES[shape], dtype, layout, option, device)
    has_prior, samples = option.pop("prior", False), option.pop("samples", 1)
    options: dict[str, Any] = {"parameterization": "logvar", "clamp": None, "free_bits": 0.0, "reduction": "batch"}
    options |= option
    values = list(options.values())
    seed = torch.tensor([-(2**40) - 7], device=device)
    z, kl = reparameterize_kl(*tensors, seed, samples, *values)
    alone = gaussian_kl(*tensors, *values)
    eps = noise(seed, SHAPES[shape], samples, device)
    elements = torch.Size(SHAPES[shape]).numel()
    drawn = reference.philox.standard_normal(seed, samples, elements, torch.float64)
    error = (eps.view(samples, -1) - drawn).abs()
    native = device.type == "cuda"  # its logarithm is good to an absolute error alone next to 1, where the radius is 0
    assert error.max() <= (1e-3 if native else 1e-6)
    assert error.mean() <= 2e-6

    grad_z, grad_kl = torch.randn(z.shape).to(z), torch.randn(kl.shape).to(kl)
    ours = reparameterize_kl_backward(grad_z, grad_kl, *tensors, seed, *values[:3], has_prior)
    only = gaussian_kl_backward(grad_kl, *tensors, *values[:3], has_prior)

    def truth(dtype, grad_z):
        leaves = [None if t is None else t.detach().to(dtype).requires_grad_() for t in tensors]
        out_z, out_kl = reference.reparameterize_kl(leaves[0], leaves[1], eps.to(dtype), *leaves[2:], **options)
        out_kl = out_kl * len(tensors[0]) if options["reduction"] == "batch" else out_kl
        kept = [leaf for leaf in leaves if leaf is not None]
        outputs, grads = [out_z, out_kl], [grad_z.to(out_z.dtype), grad_kl.to(out_kl.dtype)]
        if not grad_z.any():
            outputs, grads = outputs[1:], grads[1:]
        return out_z, out_kl, *torch.autograd.grad(outputs, kept, grads)

    def compare_gradients(found, exact, plain):
        for index, mine in enumerate(found if has_prior else found[:2]):
            # The kernels' exponential of the prior's variance is good to 3 ulp.
            compare(mine, dtype if index < 2 else "fp32", exact[index], plain[index], ulps=3 if has_prior else 2)

    def compare(mine, name_dtype, exact, plain, ulps=2):
        allowed = (plain - exact).abs().max() + ulps * ULP[name_dtype] * exact.abs().max()
        assert mine.dtype == DTYPES[name_dtype]
        assert (mine.double() - exact).abs().max() <= allowed

    exact, plain = truth(torch.float64, grad_z), truth(torch.float32, grad_z)
    compare(z, dtype, exact[0], plain[0])
    for mine in (kl, alone):
        compare(mine, "fp32", exact[1], plain[1])
    compare_gradients(ours, exact[2:], plain[2:])
    exact, plain = (truth(kind, torch.zeros_like(grad_z)) for kind in (torch.float64, torch.float32))
    compare_gradients(only, exact[2:], plain[2:])


def test_accuracy_near_the_prior_and_far_from_it(device):
    near = torch.tensor([0, 1e-7, -1e-6, 2e-6, 1e-4, -1e-3, 0.03, -0.3, 0.69, -0.7, 1, -2, 5, -30, 20], device=device)
    raw = near.view(1, 1, -1)
    mean = torch.full_like(raw, 1e-9)
    kl = gaussian_kl(mean, raw, None, None, "logvar", None, 0.0, "none")
    exact = reference.gaussian_kl(mean.double(), raw.double(), reduction="none")
    assert kl.isfinite().all()
    assert ((kl - exact).abs() <= 12 * 2.0**-24 * exact + 1e-37).all()
    grad = gaussian_kl_backward(torch.ones_like(kl), mean, raw, None, None, "logvar", None, 0.0, False)
    assert ((grad[1] - torch.expm1(raw.double()) / 2).abs() <= 8 * 2.0**-24 * torch.expm1(raw.double()).abs()).all()
    sigma = 1 + near[:4].view(1, 1, -1)
    kl = gaussian_kl(mean[..., :4], sigma, None, None, "std", None, 0.0, "none")
    exact = reference.gaussian_kl(mean[..., :4].double(), sigma.double(), parameterization="std", reduction="none")
    assert ((kl - exact).abs() <= 8 * 2.0**-24 * exact + 1e-37).all()


def test_int64_offsets_give_the_same(device, monkeypatch):
    """As tensors past 2^31 elements take them."""
    seed, results = torch.tensor([9], device=device), []
    for narrow in (gaussian_tiles.NARROW, 0):
        monkeypatch.setattr(gaussian_tiles, "NARROW", narrow)
        for name, layout in (("odd", "slice"), ("split", "channels")):
            mean, raw, _, _ = inputs(SHAPES[name], "fp32", layout, {}, device)
            out = reparameterize_kl(mean, raw, None, None, seed, 2, "logvar", None, 0.0, "latent")
            grads = reparameterize_kl_backward(*out, mean, raw, None, None, seed, "logvar", None, 0.0, False)
            results.append([*out, *grads[:2]])
    for first, second in zip(results[:2], results[2:], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("reduction", ["none", "latent", "batch"])
def test_repeats_and_empty(reduction, device):
    x = torch.randn(3, 4, 5).to(device)
    seed = torch.tensor([3], device=device)
    args = (None, None, seed, 2, "logvar", None, 0.0, reduction)
    first, again = (reparameterize_kl(x, x, *args) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    for shape in ((0, 4, 5), (3, 0, 5), (3, 4, 0)):
        nothing = torch.empty(shape, device=device)
        z, kl = reparameterize_kl(nothing, nothing, *args)
        assert z.shape == (2, *shape)
        assert not kl.any()
        grads = reparameterize_kl_backward(z, kl, nothing, nothing, None, None, seed, "logvar", None, 0.0, False)
        assert grads[0].shape == shape
