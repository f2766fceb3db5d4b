"""A small neural audio codec: a convolutional encoder, residual vector quantization, a decoder.

The kind of SoundStream (Zeghidour et al. 2021, arXiv:2107.03312) and EnCodec (Défossez et al. 2022, arXiv:2210.13438),
without their discriminators.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from aevae_fast.losses import multi_resolution_stft_loss
from aevae_fast.quantizers.loading import LoadsWhole

from .checks import check_not_negative, check_positive, check_whole, check_widths
from .discrete import bits, check_code_indices, decode_indices, make_quantizer, quantize, stage_sizes
from .modes import evaluation_mode
from .sound_convolutions import SoundDecoder, SoundEncoder


class AudioCodecOutput(NamedTuple):
    """What `AudioCodec.forward` returns.

    Attributes:
        reconstruction: `[B, 1, T]`.
        indices: chosen codes, int64 `[B, frames, Q]`; -1 in stages that quantize-dropout left out.
        loss: scalar to minimise, `waveform_loss + spectral_weight * spectral_loss + quantizer_loss`.
        waveform_loss: scalar, mean squared error divided by `data_variance`.
        spectral_loss: scalar, `multi_resolution_stft_loss`.
        quantizer_loss: scalar, what the quantizer adds (commitment, summed over stages), weights included.
    """

    reconstruction: Tensor
    indices: Tensor
    loss: Tensor
    waveform_loss: Tensor
    spectral_loss: Tensor
    quantizer_loss: Tensor


class AudioCodec(LoadsWhole):
    """Convolutional residual-VQ codec for mono sound.

    The objective is mean squared error over variance, by which the signal-to-noise ratio is counted, and the spectral
    loss of Yamamoto et al. 2020. In training every batch uses a number of stages drawn at random (quantizer dropout,
    Zeghidour et al. 2021, section III-C), so that the first stages alone decode well.

    Args:
        sample_rate: Hz.
        strides: of the convolutions, even; a frame has their product of samples.
        channels: width after the first convolution; twice as wide after each of the others.
        residual_units: in the encoder at the rate of frames, and as many in the decoder.
        latent_dim: width of a code, and of the encoder's output.
        stages: number of codebooks, Q.
        codebook_size: number of codes in each, K.
        commitment_weight: weight of the commitment term.
        decay: decay of the moving averages that move the codebooks.
        spectral_weight: weight of the spectral loss.
        data_variance: variance of the samples; puts the waveform term on the scale of 1.
        quantizer_options: further arguments of `aevae_fast.quantizers.ResidualVQ`.

    Raises:
        TypeError, ValueError: an argument that does not fit, named.
    """

    own_parts: tuple[str, ...] = ()

    def __init__(
        self,
        sample_rate: int = 16_000,
        *,
        strides: Sequence[int] = (8, 4, 4),
        channels: int = 32,
        residual_units: int = 2,
        latent_dim: int = 64,
        stages: int = 8,
        codebook_size: int = 256,
        commitment_weight: float = 0.25,
        decay: float = 0.99,
        spectral_weight: float = 0.2,
        data_variance: float = 1.0,
        quantizer_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        sizes = {
            "sample_rate": sample_rate,
            "channels": channels,
            "latent_dim": latent_dim,
            "stages": stages,
            "codebook_size": codebook_size,
        }
        check_whole(**sizes, residual_units=residual_units)
        check_positive(**sizes, data_variance=data_variance)
        check_widths(strides=strides)
        if not strides or any(stride % 2 for stride in strides):
            raise ValueError(f"strides: expected one or more even numbers, got {strides!r}")
        weights = {"commitment_weight": commitment_weight, "decay": decay, "spectral_weight": spectral_weight}
        check_not_negative(residual_units=residual_units, **weights)
        self.sample_rate, self.frame_length = sample_rate, math.prod(strides)
        self.spectral_weight, self.data_variance = spectral_weight, data_variance
        self.config: dict[str, Any] = {
            **sizes,
            **weights,
            "strides": list(strides),
            "residual_units": residual_units,
            "data_variance": data_variance,
            "quantizer_options": dict(quantizer_options or {}),
        }
        self.encoder = SoundEncoder(channels, latent_dim, strides, residual_units)
        self.decoder = SoundDecoder(channels, latent_dim, strides, residual_units)
        options = {"quantize_dropout": stages > 1, "commitment_weight": commitment_weight, "decay": decay}
        options |= self.config["quantizer_options"]
        self.quantizer = make_quantizer("residual", latent_dim, codebook_size, stages, options)

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Number of codes of each stage."""
        return stage_sizes(self.quantizer)

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.sample_rate / self.frame_length

    def bitrate(self, stages: int | None = None) -> float:
        """Bits a second of the first `stages` (None: all) at a fixed length, Σ log2 K · frames a second."""
        return bits(self.codebook_sizes[:stages]) * self.frame_rate

    def forward(self, x: Tensor) -> AudioCodecOutput:
        """Encode, quantize, decode, and weigh the result.

        Args:
            x: sound `[B, 1, T]`, floating point; T of 513 samples or more, for the spectra.

        Raises:
            TypeError: `x` is not floating point.
            ValueError: another shape.
        """
        quantized, indices, quantizer_loss = quantize(self.quantizer, self._encode(x))
        reconstruction = self.decoder(quantized)[..., : x.shape[-1]]
        waveform_loss = F.mse_loss(reconstruction, x) / self.data_variance
        spectral_loss = multi_resolution_stft_loss(reconstruction, x)
        loss = waveform_loss + self.spectral_weight * spectral_loss + quantizer_loss
        return AudioCodecOutput(reconstruction, indices, loss, waveform_loss, spectral_loss, quantizer_loss)

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Indices, int64 `[B, frames, Q]`, of sound `x [B, 1, T]`; the codebooks stay as they are. What does not fill
        the last frame is silence."""
        with evaluation_mode(self):
            return quantize(self.quantizer, self._encode(x))[1]

    @torch.no_grad()
    def decode(self, indices: Tensor) -> Tensor:
        """Sound `[B, 1, frames · frame_length]`, values clamped to [-1, 1], from indices `[B, frames, n]`: those of the
        first n stages.

        Raises:
            TypeError: `indices` is not an integer tensor.
            ValueError: another shape, or an index outside `[0, K)`.
        """
        check_code_indices(indices, self.quantizer, "frames")
        with evaluation_mode(self):
            codes = decode_indices(self.quantizer, indices.long())
            weight = next(self.decoder.parameters())  # the codes are float32 in a half-precision model too
            return self.decoder(codes.to(weight.dtype)).clamp(-1, 1)

    def reconstruct(self, x: Tensor, stages: int | None = None) -> Tensor:
        """`decode(encode(x))` with the first `stages` (None: all), as long as `x [B, 1, T]`, without gradient."""
        return self.decode(self.encode(x)[..., :stages])[..., : x.shape[-1]]

    def _encode(self, x: Tensor) -> Tensor:
        if not isinstance(x, Tensor) or not x.is_floating_point():
            got = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise TypeError(f"x: expected a floating point tensor with values in [-1, 1], got {got}")
        if x.ndim != 3 or x.shape[1] != 1 or not x.shape[2]:
            raise ValueError(f"x: expected sound [B, 1, T], got {list(x.shape)}")
        return self.encoder(F.pad(x, (0, -x.shape[-1] % self.frame_length)))

    def extra_repr(self) -> str:
        rates = f"{self.frame_rate:g} frames/s, {self.bitrate() / 1000:g} kbit/s"
        return f"sample_rate={self.sample_rate}, stages={len(self.codebook_sizes)}, {rates}"
