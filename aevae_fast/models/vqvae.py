"""VQ-VAE: an image autoencoder whose bottleneck is a grid of codebook indices (van den Oord et al., 2017)."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aevae_fast.quantizers.loading import LoadsWhole

from .checks import (
    check_image_size,
    check_images,
    check_not_negative,
    check_positive,
    check_stages,
    check_whole,
)
from .code_prior import CodePrior
from .convolutional import ConvolutionalDecoder, ConvolutionalEncoder
from .discrete import (
    WITH_CODEBOOK,
    bits,
    check_code_indices,
    codebook_of,
    decode_indices,
    has_stages,
    make_quantizer,
    quantize,
    stage_sizes,
    usual_stages,
)
from .modes import evaluation_mode


class VQVAEOutput(NamedTuple):
    """What `VQVAE.forward` returns.

    Attributes:
        reconstruction: `[B, C, H, W]`.
        indices: chosen codes, int64 `[B, h, w]`, or `[B, h, w, Q]` of a residual quantizer.
        loss: scalar to minimise, `reconstruction_loss + quantizer_loss`.
        reconstruction_loss: scalar, mean squared error divided by `data_variance`.
        quantizer_loss: scalar, what the quantizer adds (commitment, summed over stages), weights included.
    """

    reconstruction: Tensor
    indices: Tensor
    loss: Tensor
    reconstruction_loss: Tensor
    quantizer_loss: Tensor


class VQVAE(LoadsWhole):
    """Convolutional VQ-VAE for images.

    The objective is `mse / data_variance + commitment_weight * mean((z - code)²)`; the codebook follows the encoder by
    exponential moving averages. Other quantizers add what is theirs in place of the commitment term.

    Args:
        in_channels: channels C of the image (1 grey, 3 colour).
        image_size: height and width, or one number for both. The network also takes other sizes that the
            downsampling factor divides.
        channels: width of encoder and decoder.
        downsampling_factor: image side over code-grid side; a power of two.
        residual_blocks: residual blocks in the encoder and as many in the decoder.
        codebook_size: number of codes K, of each stage.
        codebook_dim: width D of a code, and of the encoder's output.
        stages: codes a position; None: 4 for the quantizer "residual". The others have 1.
        commitment_weight: weight of the commitment term (β in the paper, 0.25 there).
        decay: decay of the moving averages that move the codebook.
        data_variance: variance of the images' values; puts the reconstruction term on the scale of 1.
        quantizer_options: further arguments of the quantizer's class in `aevae_fast.quantizers`.
        encoder: own module, `[B, C, H, W]` to `[B, codebook_dim, h, w]`.
        decoder: own module, the way back.
        quantizer: "vq"; "residual": `stages` codebooks one after another; "fsq": finite scalar quantization, with about
            256, 1024, 4096, 16384 or 65536 codes; "lfq": lookup-free quantization. Or an own module: `quantizer(z)`
            maps `z [B, D, h, w]` to `(quantized [B, D, h, w], indices [B, h, w], loss)`;
            `quantizer.get_codes_from_indices(indices)` gives `[B, D, h, w]`; `quantizer.codebook_size` is K,
            `quantizer.codebook` is `[K, D]`.

    Raises:
        TypeError: an argument is no number, or not a whole one where that is needed.
        ValueError: an argument is out of range, or `image_size` is not divisible by `downsampling_factor`.
    """

    def __init__(
        self,
        in_channels: int = 1,
        image_size: int | tuple[int, int] = 28,
        *,
        channels: int = 64,
        downsampling_factor: int = 4,
        residual_blocks: int = 2,
        codebook_size: int = 512,
        codebook_dim: int = 64,
        stages: int | None = None,
        commitment_weight: float = 0.25,
        decay: float = 0.99,
        data_variance: float = 1.0,
        quantizer_options: Mapping[str, Any] | None = None,
        encoder: nn.Module | None = None,
        decoder: nn.Module | None = None,
        quantizer: str | nn.Module = "vq",
    ) -> None:
        super().__init__()
        sizes = {
            "in_channels": in_channels,
            "channels": channels,
            "codebook_size": codebook_size,
            "codebook_dim": codebook_dim,
            "stages": usual_stages(quantizer, stages),
        }
        check_whole(**sizes, residual_blocks=residual_blocks, downsampling_factor=downsampling_factor)
        check_positive(**sizes, data_variance=data_variance)
        check_not_negative(residual_blocks=residual_blocks, commitment_weight=commitment_weight, decay=decay)
        halvings = check_stages(downsampling_factor)
        self.image_size = check_image_size(image_size, downsampling_factor)
        self.in_channels = in_channels
        self.downsampling_factor = downsampling_factor
        self.data_variance = data_variance
        self.config: dict[str, Any] = {
            **sizes,
            "image_size": list(self.image_size),
            "downsampling_factor": downsampling_factor,
            "residual_blocks": residual_blocks,
            "commitment_weight": commitment_weight,
            "decay": decay,
            "data_variance": data_variance,
            "quantizer_options": dict(quantizer_options or {}),
        }
        named = isinstance(quantizer, str)
        if not (named or isinstance(quantizer, nn.Module)):
            raise TypeError(f"quantizer: expected a name or a module, got {quantizer!r}")
        self.config |= {"quantizer": quantizer} if named else {}
        own = {"encoder": encoder, "decoder": decoder, "quantizer": None if named else quantizer}
        self.own_parts = [name for name, part in own.items() if part is not None]

        body = (in_channels, channels, codebook_dim, halvings, residual_blocks)
        self.encoder = ConvolutionalEncoder(*body) if encoder is None else encoder
        self.decoder = ConvolutionalDecoder(*body) if decoder is None else decoder
        if isinstance(quantizer, str):
            moves = {"commitment_weight": commitment_weight, "decay": decay} if quantizer in WITH_CODEBOOK else {}
            options = moves | self.config["quantizer_options"]
            quantizer = make_quantizer(quantizer, codebook_dim, codebook_size, sizes["stages"], options)
        self.quantizer = quantizer

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Number of codes of each stage: one number but for a residual quantizer."""
        return stage_sizes(self.quantizer)

    @property
    def codebook_size(self) -> int:
        """Number of codes K, of the first stage."""
        return self.codebook_sizes[0]

    @property
    def has_stages(self) -> bool:
        """Whether a position takes several codes, so that indices have a last axis."""
        return has_stages(self.quantizer)

    @property
    def codebook(self) -> Tensor:
        """The codes, `[K, D]`, of the first stage."""
        return codebook_of(self.quantizer, next(self.encoder.parameters()).device)

    @property
    def code_grid(self) -> tuple[int, int]:
        """Height and width of the index map of an image of `image_size`."""
        height, width = self.image_size
        return height // self.downsampling_factor, width // self.downsampling_factor

    @property
    def bits_per_image(self) -> float:
        """Bits that store the indices of one image of `image_size` at a fixed length, `h * w * Σ log2 K`."""
        height, width = self.code_grid
        return height * width * bits(self.codebook_sizes)

    def forward(self, x: Tensor) -> VQVAEOutput:
        """Encode, quantize, decode, and weigh the result.

        Args:
            x: images `[B, C, H, W]`, floating point; H and W divisible by `downsampling_factor`.

        Raises:
            TypeError: `x` is not floating point.
            ValueError: wrong number of dimensions, channels, or an image side that does not divide.
        """
        check_images(x, self.in_channels, self.downsampling_factor)
        z = self.encoder(x)
        quantized, indices, quantizer_loss = quantize(self.quantizer, z)
        reconstruction = self.decoder(quantized)
        reconstruction_loss = F.mse_loss(reconstruction, x) / self.data_variance
        loss = reconstruction_loss + quantizer_loss
        return VQVAEOutput(reconstruction, indices, loss, reconstruction_loss, quantizer_loss)

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Indices, int64 `[B, h, w]` or `[B, h, w, Q]`, of the images `x [B, C, H, W]`; the codebook stays as it is."""
        check_images(x, self.in_channels, self.downsampling_factor)
        with evaluation_mode(self):
            return quantize(self.quantizer, self.encoder(x))[1]

    @torch.no_grad()
    def decode(self, indices: Tensor) -> Tensor:
        """Images `[B, C, H, W]`, values clamped to [0, 1], from indices as `encode` gives them; of a residual quantizer
        also from those of the first stages, `[B, h, w, n]`.

        Raises:
            TypeError: `indices` is not an integer tensor.
            ValueError: another number of dimensions, or an index outside `[0, K)`.
        """
        check_code_indices(indices, self.quantizer, "h", "w")
        with evaluation_mode(self):
            codes = decode_indices(self.quantizer, indices.long())
            weight = next(self.decoder.parameters(), codes)  # the codes are float32 in a half-precision model too
            return self.decoder(codes.to(weight.dtype)).clamp(0, 1)

    def reconstruct(self, x: Tensor) -> Tensor:
        """`decode(encode(x))`: images `[B, C, H, W]`, values clamped to [0, 1], without gradient."""
        return self.decode(self.encode(x))

    def sample(
        self, n: int, *, prior: CodePrior, generator: torch.Generator | None = None, temperature: float = 1.0
    ) -> Tensor:
        """`n` new images `[n, C, H, W]`, values in [0, 1], decoded from codes that `prior` draws.

        Args:
            n: number of images, 0 or more.
            prior: over this model's codes, on any device.
            generator: must be on the prior's device.
            temperature: of the draws, as `CodePrior.sample` has it.

        Raises:
            TypeError, ValueError: an argument that is out of range, or a prior over another number of codes.
        """
        self.check_one_code()
        if prior.codebook_size != self.codebook_size:
            raise ValueError(
                f"prior: expected one over {self.codebook_size} codes (codebook_size), got {prior.codebook_size}"
            )
        codes = prior.sample(n, generator=generator, temperature=temperature)
        return self.decode(codes.to(self.codebook.device))

    def check_one_code(self) -> None:
        """Raise ValueError if a position takes several codes, which a `CodePrior` does not foretell."""
        if self.has_stages:
            raise ValueError(
                f"quantizer: expected one code a position for a prior over them, got {len(self.codebook_sizes)} stages"
            )

    def extra_repr(self) -> str:
        height, width = self.image_size
        grid = "x".join(map(str, self.code_grid))
        return f"image={self.in_channels}x{height}x{width}, codes={grid} of {' + '.join(map(str, self.codebook_sizes))}"
