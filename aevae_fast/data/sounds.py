"""Clips of sound to train on, and wav files of them."""

import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from .images import ImageSplits
from .sound_synthesis import CLIP_LENGTH, KINDS, SAMPLE_RATE, draw_sound

_SEED = 2021  # one set of sounds for everyone, whatever the seed of a run


class Clips(Dataset[Tensor]):
    """Sounds held in memory.

    Args:
        sounds: `[N, 1, T]`, floating point with values in [-1, 1].
        sample_rate: Hz.

    Raises:
        ValueError: another shape, no clip, or values outside the range.
    """

    def __init__(self, sounds: Tensor, sample_rate: int) -> None:
        if sounds.ndim != 3 or sounds.shape[1] != 1 or not sounds.numel():
            raise ValueError(f"sounds: expected a non-empty [N, 1, T], got {list(sounds.shape)}")
        if not sounds.abs().max() <= 1:
            raise ValueError(f"sounds: expected values in [-1, 1], got one of size {float(sounds.abs().max()):.4g}")
        self.sounds, self.sample_rate = sounds.float(), sample_rate

    def __len__(self) -> int:
        return len(self.sounds)

    def __getitem__(self, index: int) -> Tensor:
        return self.sounds[index]

    @staticmethod
    def collate(items: Sequence[Tensor]) -> Tensor:
        """One batch `[B, 1, T]`."""
        return torch.stack(list(items))


@dataclass(frozen=True)
class SoundSplits(ImageSplits):
    """A source of sounds, parted into training and held-out clips."""

    train: Clips
    held_out: Clips

    @property
    def items(self) -> str:
        return f"clips at {self.train.sample_rate} Hz"


def synthesised_sounds(train: int = 512, held_out: int = 32) -> SoundSplits:
    """Notes, chords, plucked strings and chirps in turn, 1.024 s at 16 kHz each; no two alike, the same on every call.

    Args:
        train: sounds to train on; each becomes two clips of half the length.
        held_out: sounds that are held out, at full length.

    Raises:
        ValueError: fewer than one sound on a side.
    """
    if train < 1 or held_out < 1:
        raise ValueError(f"train, held_out: expected at least one sound each, got {train} and {held_out}")
    generator = torch.Generator().manual_seed(_SEED)
    # The held-out clips first: more for training leave them as they are.
    sounds = torch.stack([draw_sound(generator, number % len(KINDS)) for number in range(held_out + train)])[:, None]
    halves = sounds[held_out:].reshape(-1, 1, CLIP_LENGTH // 2)
    return SoundSplits("sounds", Clips(halves, SAMPLE_RATE), Clips(sounds[:held_out].clone(), SAMPLE_RATE))


def write_wav(file: Path, sound: Tensor, sample_rate: int) -> None:
    """Write `sound [T]`, values in [-1, 1] (beyond that: clipped), as 16-bit mono; the folder is made.

    Raises:
        ValueError: another shape, or a value that is NaN or infinite.
    """
    if sound.ndim != 1 or not sound.isfinite().all():
        raise ValueError(f"sound: expected finite samples [T], got {list(sound.shape)} or NaN or infinity")
    samples = (sound.detach().cpu().double().clamp(-1, 1) * 32767).round().to(torch.int16)
    file.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(sample_rate)
        out.writeframes(samples.numpy().astype("<i2").tobytes())
