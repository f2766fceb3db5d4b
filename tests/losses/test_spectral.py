"""The multi-resolution STFT loss against its formula, written out with numpy."""

import numpy as np
import pytest
import torch

from aevae_fast.losses import multi_resolution_stft_loss


def magnitudes(sound, size):
    """[N, frames, frequencies]: frames centred, the ends mirrored, as torch.stft has it by default."""
    padded = np.pad(sound, [(0, 0), (size // 2, size // 2)], mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    starts = range(0, padded.shape[1] - size + 1, size // 4)
    frames = np.stack([padded[:, start : start + size] * window for start in starts], 1)
    return np.sqrt(np.maximum(np.abs(np.fft.rfft(frames)) ** 2, 1e-5))


def test_the_formula():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 3, 200, generator=generator, dtype=torch.float64) - 0.5
    y[2] = 0  # silence
    expected = 0.0
    for size in (32, 64):
        ours, theirs = magnitudes(x.numpy(), size), magnitudes(y.numpy(), size)
        expected += np.linalg.norm(theirs - ours) / np.linalg.norm(theirs)
        expected += np.abs(np.log(theirs) - np.log(ours)).mean()
    found = multi_resolution_stft_loss(x, y, (32, 64))
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(expected / 2, rel=1e-5)
    assert float(multi_resolution_stft_loss(x[0], x[0], (32,))) == 0


def test_gradients_are_finite_at_silence():
    sound = torch.zeros(1, 1, 600, requires_grad=True)
    multi_resolution_stft_loss(sound, torch.rand(1, 1, 600), (64,)).backward()
    assert sound.grad.isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        pytest.param((torch.ones(9, dtype=torch.int64), torch.ones(9)), TypeError, "sound must be", id="dtype"),
        pytest.param((torch.ones(2, 9), torch.ones(9)), ValueError, "sound must have the shape of target", id="shape"),
        pytest.param((torch.ones(100), torch.ones(100)), ValueError, r"sizes must be .*199 .*1024", id="too-short"),
        pytest.param((torch.ones(100), torch.ones(100), ()), ValueError, "sizes must be", id="no-size"),
    ],
)
def test_what_does_not_fit_is_named(arguments, error, message):
    with pytest.raises(error, match=message):
        multi_resolution_stft_loss(*arguments)
