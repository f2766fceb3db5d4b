"""The operations as PyTorch sees them: one library, an implementation a device, a shape rule for tracing.

The dispatcher picks the Triton kernel on CUDA (and ROCm) devices and the portable form elsewhere. Gradients are not
registered here: the autograd functions of this package call these operations. `Library.define` and `impl`
cost less a call than `torch.library.custom_op`, which checks more.
"""

import functools
import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.library import Library

_GAUSSIAN = "Tensor mean, Tensor logvar, Tensor? prior_mean, Tensor? prior_logvar"
_JOINED = _GAUSSIAN.replace("Tensor logvar", "Tensor? logvar")  # None: mean holds both, [B, 2, S, D]
_OPTIONS = "str parameterization, float[]? clamp, float free_bits"
_MIXTURE = "Tensor z, Tensor mean, Tensor logvar, Tensor? log_weight, float[] diagonals"
_LEVELS = "int[] levels, float[] half, float[] shift, float gain, bool hard, bool symmetric"
_SCHEMAS = {
    "nearest_code": "(Tensor x, Tensor codebook, str metric) -> Tensor",
    "vector_quantize": "(Tensor x, Tensor codebook, Tensor? mask, str metric) -> (Tensor, Tensor, Tensor)",
    "vector_quantize_backward": (
        "(Tensor grad, Tensor x, Tensor codebook, Tensor indices, Tensor? mask, Tensor scale) -> Tensor"
    ),
    "residual_vector_quantize": (
        "(Tensor x, Tensor codebooks, SymInt[] sizes, Tensor? active, Tensor? mask) -> (Tensor, Tensor, Tensor)"
    ),
    "residual_vector_quantize_backward": (
        "(Tensor grad, Tensor x, Tensor codebooks, SymInt[] sizes, Tensor indices, Tensor scales) -> Tensor"
    ),
    "residual_statistics": (
        "(Tensor x, Tensor codebooks, SymInt[] sizes, Tensor indices, bool center) -> (Tensor, Tensor)"
    ),
    "rotate_to_backward": "(Tensor grad, Tensor source, Tensor target) -> Tensor",
    "finite_scalar_quantize": f"(Tensor x, {_LEVELS}, Tensor? mask, Tensor? noise) -> (Tensor, Tensor)",
    "finite_scalar_quantize_backward": f"(Tensor grad, Tensor x, {_LEVELS}, Tensor? mask) -> Tensor",
    "lookup_free_quantize": "(Tensor x, Tensor? mask, float scale, float slope) -> (Tensor, Tensor, Tensor, Tensor)",
    "lookup_free_quantize_backward": (
        "(Tensor grad, Tensor x, Tensor? mask, float scale, float slope, Tensor error_scale, Tensor entropy_scale) "
        "-> Tensor"
    ),
    "code_probabilities": "(Tensor x, Tensor? mask, float slope, int bits, int group) -> Tensor",
    "code_probabilities_backward": (
        "(Tensor grad, Tensor x, Tensor? mask, float slope, int bits, int group) -> Tensor"
    ),
    "codebook_statistics": "(Tensor x, Tensor indices, SymInt codebook_size, Tensor? center) -> (Tensor, Tensor)",
    "ema_update_": (
        "(Tensor(a!) codebook, Tensor(b!) cluster_size, Tensor(c!) embed_avg, Tensor counts, Tensor sums, "
        "float decay, float eps, bool normalize, Tensor? replacements=None, float share=0., float least=0., "
        "float grace=1., Tensor(d!)? steps=None) -> ()"
    ),
    "note_candidates_": (
        "(Tensor(a!) candidates, Tensor x, Tensor? keep, Tensor steps, int heads, int world, int rank, int spread) "
        "-> ()"
    ),
    "gaussian_kl": f"({_GAUSSIAN}, {_OPTIONS}, str reduction) -> Tensor",
    "gaussian_kl_backward": (
        f"(Tensor grad_kl, {_JOINED}, {_OPTIONS}, bool prior_grad) -> (Tensor, Tensor, Tensor, Tensor)"
    ),
    "reparameterize_kl": f"({_GAUSSIAN}, Tensor seed, SymInt samples, {_OPTIONS}, str reduction) -> (Tensor, Tensor)",
    "reparameterize_kl_backward": (
        f"(Tensor grad_z, Tensor? grad_kl, {_JOINED}, Tensor seed, {_OPTIONS}, bool prior_grad) "
        "-> (Tensor, Tensor, Tensor, Tensor)"
    ),
    "gaussian_logsumexp": f"({_MIXTURE}, bool per_dim) -> (Tensor, Tensor)",
    "gaussian_logsumexp_backward": (
        f"(Tensor? grad_joint, Tensor? grad_marginals, Tensor joint, Tensor marginals, {_MIXTURE}) "
        "-> (Tensor, Tensor, Tensor, Tensor)"
    ),
}
_HOME = {
    **dict.fromkeys(("sample_codes", "soft_codes_backward"), "soft_codes"),
    **dict.fromkeys(("code_cross_entropy", "code_cross_entropy_backward"), "soft_codes"),
    **dict.fromkeys(("total_assignment", "total_assignment_backward"), "soft_codes"),
    "gaussian_logsumexp_backward": "gaussian_logsumexp",
    "vector_quantize_backward": "vector_quantize",
    "ema_update_": "ema_update",
    "note_candidates_": "candidates",
    "gaussian_kl_backward": "gaussian_kl",
    "reparameterize_kl_backward": "reparameterize_kl",
    "residual_statistics": "residual_vector_quantize",
    "residual_vector_quantize_backward": "residual_vector_quantize",
    "rotate_to_backward": "rotate_to",
    "finite_scalar_quantize_backward": "finite_scalar_quantize",
    "lookup_free_quantize_backward": "lookup_free_quantize",
    "code_probabilities_backward": "code_probabilities",
}


def implementation(package: str, name: str) -> Callable[..., Any]:
    """The function `name` of `portable` or `kernels`, imported on first use, so that Triton may be absent."""
    module = importlib.import_module(f"aevae_fast.{package}.{_HOME.get(name, name)}")
    return getattr(module, name)


def has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


@functools.cache
def gpu_obstacle(device: torch.device) -> str | None:
    """Why the Triton kernels cannot run on this CUDA or ROCm device; None where they can."""
    if not has_triton():
        return "Triton is not installed"
    if torch.version.hip:
        arch = torch.cuda.get_device_properties(device).gcnArchName.split(":")[0]
        # Others flush fp16's subnormals in matrix products, or have none.
        return None if arch in ("gfx942", "gfx950") else f"{arch} is not served, only gfx942 and gfx950 are"
    capability = torch.cuda.get_device_capability(device)
    return None if capability >= (8, 0) else f"compute capability {capability[0]}.{capability[1]} is below 8.0"


@torch.no_grad()  # an exported program calls the bare operation on tensors that require grad
def _portable(name: str, *args: Any) -> Any:
    return implementation("portable", name)(*args)


@torch.no_grad()
def _on_gpu(name: str, *args: Any) -> Any:
    device = next(arg.device for arg in args if isinstance(arg, Tensor))
    package = "portable" if gpu_obstacle(device) else "kernels"
    with torch.cuda.device(device):  # Triton launches on the current one
        return implementation(package, name)(*args)


library = Library("aevae_fast", "DEF")
for _name, _schema in _SCHEMAS.items():
    library.define(_name + _schema, tags=(torch.Tag.pt2_compliant_tag,))
    library.impl(_name, functools.partial(_portable, _name), "CompositeExplicitAutograd")
    library.impl(_name, functools.partial(_on_gpu, _name), "CUDA")


@torch.library.register_fake("aevae_fast::nearest_code", lib=library)
def _(x: Tensor, codebook: Tensor, metric: str) -> Tensor:
    return x.new_empty(x.shape[:2], dtype=torch.int64)


@torch.library.register_fake("aevae_fast::vector_quantize", lib=library)
def _(x: Tensor, codebook: Tensor, mask: Tensor | None, metric: str) -> tuple[Tensor, Tensor, Tensor]:
    indices = x.new_empty(x.shape[:2], dtype=torch.int64)
    return torch.empty_like(x), indices, x.new_empty((), dtype=torch.float32)


@torch.library.register_fake("aevae_fast::vector_quantize_backward", lib=library)
def _(grad: Tensor, x: Tensor, codebook: Tensor, indices: Tensor, mask: Tensor | None, scale: Tensor) -> Tensor:
    return torch.empty_like(x)


@torch.library.register_fake("aevae_fast::residual_vector_quantize", lib=library)
def _(
    x: Tensor, codebooks: Tensor, sizes: list[int], active: Tensor | None, mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    indices = x.new_empty((*x.shape[:2], len(sizes)), dtype=torch.int64)
    return torch.empty_like(x), indices, x.new_empty(len(sizes), dtype=torch.float32)


@torch.library.register_fake("aevae_fast::residual_vector_quantize_backward", lib=library)
def _(grad: Tensor, x: Tensor, codebooks: Tensor, sizes: list[int], indices: Tensor, scales: Tensor) -> Tensor:
    return torch.empty_like(x)


@torch.library.register_fake("aevae_fast::residual_statistics", lib=library)
def _(x: Tensor, codebooks: Tensor, sizes: list[int], indices: Tensor, center: bool) -> tuple[Tensor, Tensor]:
    return codebooks.new_empty(len(codebooks)), codebooks.new_empty(codebooks.shape)


@torch.library.register_fake("aevae_fast::rotate_to_backward", lib=library)
def _(grad: Tensor, source: Tensor, target: Tensor) -> Tensor:
    return torch.empty_like(source)


@torch.library.register_fake("aevae_fast::codebook_statistics", lib=library)
def _(x: Tensor, indices: Tensor, codebook_size: int, center: Tensor | None) -> tuple[Tensor, Tensor]:
    counts = x.new_empty(codebook_size, dtype=torch.float32)
    return counts, x.new_empty((codebook_size, x.shape[2]), dtype=torch.float32)


@torch.library.register_fake("aevae_fast::ema_update_", lib=library)
def _(
    codebook: Tensor,
    cluster_size: Tensor,
    embed_avg: Tensor,
    counts: Tensor,
    sums: Tensor,
    decay: float,
    eps: float,
    normalize: bool,
    *rest: Any,
    **named: Any,
) -> None:
    return None


@torch.library.register_fake("aevae_fast::note_candidates_", lib=library)
def _(candidates: Tensor, *rest: Any) -> None:
    return None


def _fake_kl(mean: Tensor, reduction: str) -> Tensor:
    shape = {"none": mean.shape, "latent": mean.shape[:1], "batch": ()}[reduction]
    return mean.new_empty(shape, dtype=torch.float32)


def _fake_gradients(mean: Tensor, logvar: Tensor | None, prior_grad: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    one = mean if logvar is not None else mean.select(1, 0)
    shape = one.shape if prior_grad else (0,)
    priors = mean.new_empty(shape, dtype=torch.float32), mean.new_empty(shape, dtype=torch.float32)
    if logvar is None:
        return torch.empty_like(mean), mean.new_empty(0), *priors
    return mean.new_empty(mean.shape), logvar.new_empty(mean.shape), *priors


@torch.library.register_fake("aevae_fast::gaussian_kl", lib=library)
def _(mean: Tensor, logvar: Tensor, *rest: Any) -> Tensor:
    return _fake_kl(mean, rest[-1])


@torch.library.register_fake("aevae_fast::gaussian_kl_backward", lib=library)
def _(grad_kl: Tensor, mean: Tensor, logvar: Tensor | None, *rest: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return _fake_gradients(mean, logvar, rest[-1])


@torch.library.register_fake("aevae_fast::reparameterize_kl", lib=library)
def _(
    mean: Tensor, logvar: Tensor, m: Tensor | None, s: Tensor | None, seed: Tensor, samples: int, *rest: Any
) -> tuple[Tensor, Tensor]:
    return mean.new_empty((samples, *mean.shape)), _fake_kl(mean, rest[-1])


@torch.library.register_fake("aevae_fast::reparameterize_kl_backward", lib=library)
def _(
    grad_z: Tensor, grad_kl: Tensor | None, mean: Tensor, logvar: Tensor | None, *rest: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return _fake_gradients(mean, logvar, rest[-1])


@torch.library.register_fake("aevae_fast::gaussian_logsumexp", lib=library)
def _(
    z: Tensor, mean: Tensor, logvar: Tensor, log_weight: Tensor | None, diagonals: list[float], per_dim: bool
) -> tuple[Tensor, Tensor]:
    marginals = z.shape if per_dim else (0,)
    return z.new_empty(z.shape[:1], dtype=torch.float32), z.new_empty(marginals, dtype=torch.float32)


@torch.library.register_fake("aevae_fast::gaussian_logsumexp_backward", lib=library)
def _(
    grad_joint: Tensor | None,
    grad_marginals: Tensor | None,
    joint: Tensor,
    marginals: Tensor,
    z: Tensor,
    mean: Tensor,
    logvar: Tensor,
    *rest: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    like = [t.new_empty(t.shape) for t in (z, mean, logvar)]
    return like[0], like[1], like[2], mean.new_empty(mean.shape[:1], dtype=torch.float32)


@torch.library.register_fake("aevae_fast::finite_scalar_quantize", lib=library)
def _(x: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), x.new_empty(x.shape[:2], dtype=torch.int64)


@torch.library.register_fake("aevae_fast::lookup_free_quantize", lib=library)
def _(x: Tensor, mask: Tensor | None, scale: float, slope: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    error, entropy = x.new_empty((), dtype=torch.float32), x.new_empty((), dtype=torch.float32)
    return torch.empty_like(x), x.new_empty(x.shape[:2], dtype=torch.int64), error, entropy


@torch.library.register_fake("aevae_fast::code_probabilities", lib=library)
def _(x: Tensor, mask: Tensor | None, slope: float, bits: int, group: int) -> Tensor:
    return x.new_empty((x.shape[2] // bits, -(-bits // group), 2**group), dtype=torch.float32)


@torch.library.register_fake("aevae_fast::code_probabilities_backward", lib=library)
@torch.library.register_fake("aevae_fast::finite_scalar_quantize_backward", lib=library)
@torch.library.register_fake("aevae_fast::lookup_free_quantize_backward", lib=library)
def _(grad: Tensor, x: Tensor, *rest: Any) -> Tensor:
    return torch.empty_like(x)
