"""Whole models."""

from .autoencoder import Autoencoder, AutoencoderOutput
from .convolutional import ConvolutionalDecoder, ConvolutionalEncoder
from .interpolation import interpolate_latents
from .serialization import load_model, save_model
from .vae import VAE, VAEOutput
from .vqvae import VQVAE, VQVAEOutput

__all__ = [
    "VAE",
    "VQVAE",
    "Autoencoder",
    "AutoencoderOutput",
    "ConvolutionalDecoder",
    "ConvolutionalEncoder",
    "VAEOutput",
    "VQVAEOutput",
    "interpolate_latents",
    "load_model",
    "save_model",
]
