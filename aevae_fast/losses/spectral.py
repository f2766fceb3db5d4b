"""`multi_resolution_stft_loss`: how far two sounds are apart in their spectra."""

from collections.abc import Sequence

import torch
from torch import Tensor

_FLOOR = 1e-5  # of a squared magnitude: silence has a logarithm too


def multi_resolution_stft_loss(sound: Tensor, target: Tensor, sizes: Sequence[int] = (256, 512, 1024)) -> Tensor:
    """Mean over window sizes of spectral convergence and log-magnitude distance, equations 4 to 6 of Yamamoto et al.
    2020 (Parallel WaveGAN, arXiv:1910.11480):

        ‖|S(y)| - |S(x)|‖_F / ‖|S(y)|‖_F  +  mean |log|S(y)| - log|S(x)||

    with x the sound, y the target and S the short-time Fourier transform under a Hann window of each size, hop size/4;
    both norms over the whole batch.

    Args:
        sound, target: `[..., T]`, floating point, of one shape; T more than half the largest size.
        sizes: of the windows, in samples.

    Returns:
        0-d float32.

    Raises:
        TypeError, ValueError: an argument that does not fit, named.
    """
    for name, tensor in {"sound": sound, "target": target}.items():
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            got = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise TypeError(f"{name} must be a floating-point tensor; got {got}")
    if sound.shape != target.shape or not sound.numel():
        raise ValueError(f"sound must have the shape of target, {tuple(target.shape)}, not empty; got {sound.shape}")
    if not sizes or min(sizes) < 4 or max(sizes) // 2 >= sound.shape[-1]:
        raise ValueError(f"sizes must be windows of 4 to {2 * sound.shape[-1] - 1} samples here; got {tuple(sizes)}")
    distances = [_distance(_magnitudes(sound, size), _magnitudes(target, size)) for size in sizes]
    return torch.stack(distances).mean()


def _distance(ours: Tensor, theirs: Tensor) -> Tensor:
    convergence = torch.linalg.vector_norm(theirs - ours) / torch.linalg.vector_norm(theirs)
    return convergence + (theirs.log() - ours.log()).abs().mean()


def _magnitudes(sound: Tensor, size: int) -> Tensor:
    """`[N, frequencies, frames]`, float32."""
    window = torch.hann_window(size, device=sound.device)
    flat = sound.flatten(0, -2).float() if sound.ndim > 1 else sound[None].float()
    spectrum = torch.stft(flat, size, size // 4, window=window, return_complex=True)
    return (spectrum.real.square() + spectrum.imag.square()).clamp(min=_FLOOR).sqrt()
