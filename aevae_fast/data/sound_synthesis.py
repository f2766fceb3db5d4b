"""Sounds made of nothing but a seed: notes, chords, plucked strings and chirps, with envelopes and a little noise."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

SAMPLE_RATE, CLIP_LENGTH = 16_000, 16_384  # Hz; samples, 1.024 s
_HARMONICS = 16
_LOWEST, _HIGHEST = 45, 69  # MIDI notes, 110 to 440 Hz
_CHORDS = ((0, 4, 7), (0, 3, 7), (0, 5, 9), (0, 7, 12), (0, 4, 7, 10))  # semitones above the lowest note
_NOISE = 0.002  # standard deviation, where the loudest sample of a clip lies between 0.4 and 0.9


@dataclass(frozen=True)
class Voice:
    """One tone: harmonics of a gliding pitch under an envelope.

    Attributes:
        onset, duration: seconds.
        start, end: Hz, at its beginning and its end; the way between is even in semitones.
        brightness: the h-th harmonic has the amplitude h^-brightness; infinite for a pure tone.
        decay: e-folds a second of the first harmonic, and `damping` more for each harmonic above it.
        vibrato: depth, as a share of the pitch.
    """

    onset: float
    duration: float
    start: float
    end: float
    brightness: float
    decay: float = 0.0
    damping: float = 0.0
    vibrato: float = 0.0

    def render(self, phase: float) -> Tensor:
        """Samples `[CLIP_LENGTH]`, float64; `phase` is that of the first harmonic at the onset, in radians."""
        t = torch.arange(CLIP_LENGTH, dtype=torch.float64) / SAMPLE_RATE - self.onset
        inside = (t >= 0) & (t < self.duration)
        t = t.clamp(0, self.duration)
        pitch = self.start * (self.end / self.start) ** (t / self.duration)
        pitch = pitch * (1 + self.vibrato * torch.sin(2 * math.pi * 5.5 * t))
        angle = phase + 2 * math.pi * pitch.cumsum(0) / SAMPLE_RATE
        # sin(hφ) = 2·cos φ·sin((h-1)φ) - sin((h-2)φ): one sine for all harmonics
        before, now, twice_cosine = torch.zeros_like(angle), angle.sin(), 2 * angle.cos()
        sound, falling, fade = now.clone(), torch.exp(-self.damping * t), torch.ones_like(t)
        harmonics = min(_HARMONICS, int(0.45 * SAMPLE_RATE / max(self.start, self.end)))
        for number in range(2, 1 if math.isinf(self.brightness) else harmonics + 1):
            before, now, fade = now, twice_cosine * now - before, fade * falling
            sound += now * fade * number**-self.brightness
        attack, release = (t / 0.008).clamp(max=1), ((self.duration - t) / 0.04).clamp(0, 1)
        return sound * attack * release * torch.exp(-self.decay * t) * inside


class _Dice:
    """Draws from one generator."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=self.generator, dtype=torch.float64))

    def whole(self, low: int, high: int) -> int:
        """Of low to high, both included."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))


def _hertz(note: float) -> float:
    return 440.0 * 2 ** ((note - 69) / 12)


def _melody(dice: _Dice) -> list[Voice]:
    """One to four notes, one after the other."""
    count = dice.whole(1, 4)
    lasts, brightness, vibrato = 1.0 / count, dice.between(0.8, 2.5), dice.between(0, 0.008)
    pitches = [_hertz(dice.whole(_LOWEST, _HIGHEST)) for _ in range(count)]
    return [
        Voice(number * lasts, lasts, pitch, pitch, brightness, dice.between(0, 2), vibrato=vibrato)
        for number, pitch in enumerate(pitches)
    ]


def _chord(dice: _Dice) -> list[Voice]:
    """Three or four notes at once."""
    lowest, brightness, decay = dice.whole(_LOWEST, _HIGHEST - 12), dice.between(1, 2.5), dice.between(0, 3)
    onset = dice.between(0, 0.2)
    pitches = [_hertz(lowest + step) for step in _CHORDS[dice.whole(0, len(_CHORDS) - 1)]]
    return [Voice(onset, 1.0 - onset, pitch, pitch, brightness, decay) for pitch in pitches]


def _plucks(dice: _Dice) -> list[Voice]:
    """One to four plucked strings, each ringing on: the higher the harmonic, the sooner it is gone."""
    count = dice.whole(1, 4)
    onsets = [number / count * dice.between(0.8, 1.0) for number in range(count)]
    return [
        Voice(onset, 1.02 - onset, pitch, pitch, 0.9, dice.between(2, 6), damping=dice.between(0.5, 2))
        for onset in onsets
        for pitch in [_hertz(dice.whole(_LOWEST, _HIGHEST - 6))]
    ]


def _chirp(dice: _Dice) -> list[Voice]:
    """One pitch that glides, up or down."""
    onset, lasts = dice.between(0, 0.2), dice.between(0.4, 0.8)
    start, end = (_hertz(dice.between(_LOWEST, _HIGHEST + 12)) for _ in range(2))
    return [Voice(onset, lasts, start, end, math.inf if dice.whole(0, 1) else dice.between(1.5, 3))]


KINDS: tuple[Callable[[_Dice], list[Voice]], ...] = (_melody, _chord, _plucks, _chirp)


def draw_sound(generator: torch.Generator, kind: int) -> Tensor:
    """One clip `[CLIP_LENGTH]`, float32 with values in [-1, 1], of `KINDS[kind]`; all else is drawn."""
    dice = _Dice(generator)
    voices = KINDS[kind](dice)
    sound = torch.stack([voice.render(dice.between(0, 2 * math.pi)) for voice in voices]).sum(0)
    sound *= dice.between(0.4, 0.9) / sound.abs().max()
    sound += _NOISE * torch.randn(CLIP_LENGTH, generator=generator, dtype=torch.float64)
    return sound.clamp(-1, 1).float()
