"""Train a VQ-VAE on any data set that yields image tensors, then export and load it.

python examples/train_on_your_images.py
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from rich.console import Console

from aevae_fast.data import ImageSplits, photos
from aevae_fast.models import VQVAE, load_model, save_model
from aevae_fast.training import evaluate, fit


def main() -> None:
    torch.manual_seed(0)
    patches = photos(image_size=32)
    # Anything with a length whose items are float tensors [C, H, W] in [0, 1] will do, or (tensor, label) tuples.
    images = ImageSplits("my photos", train=patches.train, held_out=patches.held_out)

    model = VQVAE(
        in_channels=3, image_size=32, channels=32, downsampling_factor=4, codebook_size=256, data_variance=0.05
    )
    with TemporaryDirectory() as folder:
        fit(model, images, folder, steps=600, batch_size=32, console=Console())
        save_model(model, Path(folder) / "model")
        loaded = load_model(Path(folder) / "model")

    measured = evaluate(loaded, images.held_out)
    print(f"held-out PSNR {measured.reconstruction.psnr_db:.1f} dB, {measured.usage.usage:.0%} of the codes used")

    tokens = loaded.encode(images.held_out[0][None])
    print(f"one image is {tuple(tokens.shape[1:])} tokens, {loaded.bits_per_image:.0f} bits")
    assert loaded.decode(tokens).shape == (1, 3, 32, 32)


if __name__ == "__main__":
    main()
