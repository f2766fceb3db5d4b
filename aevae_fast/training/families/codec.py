"""Audio codec: settings, measures, pictures and sounds."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from aevae_fast.data import SoundSplits, evaluation_batches, synthesised_sounds, write_wav
from aevae_fast.metrics import CodebookUsage, UsageReport
from aevae_fast.models import AudioCodec

from ..pictures import draw_codec_curves, draw_signal_to_noise, draw_spectrograms, draw_stage_usage, draw_waveforms
from ..settings import RunSettings
from .family import Evaluation, Family, History, device_of
from .usage import usage_numbers, usage_rows

_SHOWN, _HEARD = 4, 8  # clips in a picture, clips as wav files
_ERROR_FLOOR = 1e-10  # of the signal's energy: an exact reconstruction reads 100 dB instead of infinity


@dataclass(frozen=True)
class CodecSettings(RunSettings):
    """Everything that decides a run of an audio codec; it is trained on synthesised sounds.

    Attributes:
        stages: number of codebooks.
        codebook_size: number of codes in each.
        latent_dim: width of a code.
        channels: width after the first convolution; twice as wide after each of the others.
        spectral_weight: weight of the spectral loss.
        commitment_weight: weight of the commitment term.
        decay: decay of the codebooks' moving averages.
    """

    family: ClassVar[str] = "codec"

    data: str = "sounds"
    steps: int = 1000
    batch_size: int = 8
    learning_rate: float = 4e-3
    schedule: str = "cosine"
    stages: int = 8
    codebook_size: int = 256
    latent_dim: int = 64
    channels: int = 32
    spectral_weight: float = 0.1
    commitment_weight: float = 0.25
    decay: float = 0.99


@dataclass(frozen=True)
class CodecEvaluation(Evaluation):
    """Reconstruction from the indices of the first stages, and the use of the codebooks.

    Attributes:
        snr_db: number of stages to the signal-to-noise ratio, `10 log10(Σ x² / Σ (x - y)²)` over all clips, in decibel.
        usages: of each stage over all frames.
    """

    noun: ClassVar[str] = "clips"

    snr_db: dict[int, float]
    usages: tuple[UsageReport, ...]

    def as_dict(self) -> dict[str, Any]:
        levels = {f"snr_db_stages_{count}": level for count, level in self.snr_db.items()}
        return super().as_dict() | levels | usage_numbers(self.usages)

    def rows(self) -> dict[str, str]:
        levels = {f"signal to noise, {_stages(count)} (dB)": f"{level:.2f}" for count, level in self.snr_db.items()}
        return levels | usage_rows(self.usages)


class CodecFamily(Family):
    """Models with `encode` to indices of several stages, `decode` from the first of them, and `bitrate`."""

    settings = CodecSettings

    def recognises(self, model: nn.Module) -> bool:
        return hasattr(model, "bitrate") and hasattr(model, "encode")

    def load(self, settings: CodecSettings) -> SoundSplits:
        if settings.data != "sounds":
            raise ValueError(f"data: expected sounds, which are synthesised, got {settings.data!r}")
        return synthesised_sounds()

    def build(self, settings: CodecSettings, images: Any) -> AudioCodec:
        return AudioCodec(
            images.train.sample_rate,
            stages=settings.stages,
            codebook_size=settings.codebook_size,
            latent_dim=settings.latent_dim,
            channels=settings.channels,
            spectral_weight=settings.spectral_weight,
            commitment_weight=settings.commitment_weight,
            decay=settings.decay,
            data_variance=float(images.train.sounds.var()),
            quantizer_options={"kmeans_init": True},
        )

    def describe(self, settings: CodecSettings) -> str:
        return f"Audio codec with {settings.stages} stages of {settings.codebook_size} codes"

    @torch.no_grad()
    def evaluate(self, model: Any, dataset: Any, batch_size: int) -> CodecEvaluation:
        device, sizes = device_of(model), model.codebook_sizes
        usages = [CodebookUsage(size) for size in sizes]
        stages = powers_of_two(len(sizes))
        signal, noise = 0.0, dict.fromkeys(stages, 0.0)
        for sounds in evaluation_batches(dataset, max(1, batch_size // 4)):
            sounds = sounds.to(device)
            indices = model.encode(sounds)
            if (indices < 0).any():
                raise ArithmeticError("the encoder's output is not finite")
            signal += _energy(sounds)
            for count in stages:
                noise[count] += _energy(sounds - model.decode(indices[..., :count])[..., : sounds.shape[-1]])
            for usage, chosen in zip(usages, indices.unbind(-1), strict=True):
                usage.update(chosen)
        levels = {count: decibel(signal, energy) for count, energy in noise.items()}
        return CodecEvaluation(len(dataset), levels, tuple(usage.compute() for usage in usages))

    def pictures(self, model: AudioCodec, images: Any, train: CodecEvaluation) -> Iterator[tuple[str, Figure]]:
        originals = images.held_out.sounds[:_SHOWN].to(device_of(model))
        shown = [originals[:, 0], *(model.reconstruct(originals, count)[:, 0] for count in self._counts(model))]
        labels = ["original", *(_label(model, count) for count in self._counts(model))]
        title = "Held-out sounds, and what the codes of the first stages decode to"
        yield "spectrograms", draw_spectrograms(shown, labels, model.sample_rate, title)
        yield "waveforms", draw_waveforms(shown, labels, model.sample_rate, title)
        levels = _levels(model, images.held_out.sounds.to(originals.device))
        rates = [model.bitrate(count) / 1000 for count in range(1, len(levels) + 1)]
        yield "signal_to_noise", draw_signal_to_noise(levels, rates, "Held-out sounds by number of stages")
        yield "codebook_usage", draw_stage_usage(train.usages, "Codebooks over the training sounds")

    def curves(self, train: History, held_out: History) -> Figure:
        return draw_codec_curves(train, held_out)

    def leave(self, model: AudioCodec, images: Any, out: Path) -> list[Path]:
        """wav files of held-out sounds and of what their codes decode to."""
        originals = images.held_out.sounds[:_HEARD].to(device_of(model))
        versions = {"original": originals}
        versions |= {f"stages_{count}": model.reconstruct(originals, count) for count in self._counts(model)}
        written = []
        for name, sounds in versions.items():
            for number, sound in enumerate(sounds[:, 0], 1):
                written.append(out / "sounds" / f"{number}_{name}.wav")
                write_wav(written[-1], sound, model.sample_rate)
        return written

    def facts(self, model: AudioCodec) -> dict[str, Any]:
        return {
            "sample_rate": model.sample_rate,
            "frames_per_second": model.frame_rate,
            "bits_per_second": {str(count): model.bitrate(count) for count in self._counts(model)},
            "bits_per_second_at_16_bit": 16 * model.sample_rate,
        }

    def remark(self, metrics: dict[str, Any]) -> str | None:
        rates = metrics["bits_per_second"].items()
        coded = ", ".join(f"{rate / 1000:g} kbit with {_stages(int(count))}" for count, rate in rates)
        plain = f"{metrics['bits_per_second_at_16_bit'] / 1000:g} kbit as 16-bit samples"
        return f"A second takes {coded}, {plain}. Listen to sounds/."

    @staticmethod
    def _counts(model: AudioCodec) -> list[int]:
        return powers_of_two(len(model.codebook_sizes))


def powers_of_two(most: int) -> list[int]:
    """1, 2, 4, ... and `most`, each once."""
    return sorted({2**power for power in range(most.bit_length())} | {most})


def decibel(signal: float, noise: float) -> float:
    """`10 log10(signal / noise)`, at most 100.

    Raises:
        ArithmeticError: the noise is NaN or infinite.
    """
    if not math.isfinite(noise):
        raise ArithmeticError(f"the reconstruction error is {noise}")
    return 10 * math.log10(signal / max(noise, _ERROR_FLOOR * signal)) if signal > 0 else 0.0


def _energy(sounds: Tensor) -> float:
    return float(sounds.double().square().sum())


def _levels(model: AudioCodec, sounds: Tensor) -> list[float]:
    """dB with the first 1, 2, ... stages."""
    indices = model.encode(sounds)
    counts = range(1, indices.shape[-1] + 1)
    decoded = (model.decode(indices[..., :count])[..., : sounds.shape[-1]] for count in counts)
    return [decibel(_energy(sounds), _energy(sounds - sound)) for sound in decoded]


def _label(model: AudioCodec, count: int) -> str:
    return f"{_stages(count)}\n{model.bitrate(count) / 1000:g} kbit/s"


def _stages(count: int) -> str:
    return f"{count} stage{'s' * (count > 1)}"
