"""Whole models."""

from .autoencoder import Autoencoder, AutoencoderOutput, NotTrainedError
from .code_prior import CodePrior, CodePriorOutput
from .codec import AudioCodec, AudioCodecOutput
from .convolutional import ConvolutionalDecoder, ConvolutionalEncoder
from .factor_vae import FactorVAE, FactorVAEOutput
from .interpolation import interpolate_latents
from .iwae import IWAE
from .serialization import load_model, save_model
from .vae import VAE, VAEOutput
from .vqvae import VQVAE, VQVAEOutput

__all__ = [
    "IWAE",
    "VAE",
    "VQVAE",
    "AudioCodec",
    "AudioCodecOutput",
    "Autoencoder",
    "AutoencoderOutput",
    "CodePrior",
    "CodePriorOutput",
    "ConvolutionalDecoder",
    "ConvolutionalEncoder",
    "FactorVAE",
    "FactorVAEOutput",
    "NotTrainedError",
    "VAEOutput",
    "VQVAEOutput",
    "interpolate_latents",
    "load_model",
    "save_model",
]
