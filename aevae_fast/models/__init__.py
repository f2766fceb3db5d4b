"""Whole models."""

from .convolutional import ConvolutionalDecoder, ConvolutionalEncoder
from .serialization import load_model, save_model
from .vqvae import VQVAE, VQVAEOutput

__all__ = ["VQVAE", "ConvolutionalDecoder", "ConvolutionalEncoder", "VQVAEOutput", "load_model", "save_model"]
