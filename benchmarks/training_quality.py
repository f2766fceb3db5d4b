"""Training quality: the same VQ-VAE, images, order, seed and steps, with different quantizer layers in the same place.

    python -m benchmarks.training_quality [--steps 1000] [--seeds 3] [--device cpu]

Layers: ours with its default dead-code reset, and with the reset at a fixed count of 2; vector-quantize-pytorch with
straight-through gradients, as ours has, and a reset at 2 and at 3, which is nearest to our default; and with its own
defaults (no reset, rotation trick). Decay, commitment weight and k-means initialisation are the same everywhere.
Writes `benchmarks/results/training_quality.json`.
"""

import argparse
import json
import os
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from aevae_fast.data import ImageSplits, TrainingBatches, load_images
from aevae_fast.models import VQVAE, ConvolutionalDecoder, ConvolutionalEncoder
from aevae_fast.quantizers import VectorQuantize
from aevae_fast.training import evaluate
from aevae_fast.training.families.vqvae import data_variance
from benchmarks.environment import environment

RESULTS = Path(__file__).parent / "results" / "training_quality.json"
CODES, WIDTH, STAGES = 512, 64, 2
SHARED = {"dim": WIDTH, "codebook_size": CODES, "decay": 0.99, "commitment_weight": 0.25, "kmeans_init": True}
BATCH, LEARNING_RATE = 64, 1e-3
FIGURES = ("mse", "nmse", "psnr_db", "perplexity", "usage", "dead_codes")


def ours(**options: Any) -> nn.Module:
    return VectorQuantize(**SHARED, accept_image_fmap=True, **options)


def peer(**options: Any) -> nn.Module:
    import vector_quantize_pytorch
    from loguru import logger

    logger.disable("vector_quantize_pytorch")  # a warning that k-means sees few vectors
    return vector_quantize_pytorch.VectorQuantize(**SHARED, accept_image_fmap=True, **options)


# Uniform usage is a count of 6.1 here: 64 images of 49 positions over 512 codes. Ours resets below half of that.
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "aevae_fast": ours,
    "aevae_fast, reset at 2": lambda: ours(threshold_ema_dead_code=2),
    "vector-quantize-pytorch, reset at 2, straight-through": lambda: peer(
        threshold_ema_dead_code=2, rotation_trick=False
    ),
    "vector-quantize-pytorch, reset at 3, straight-through": lambda: peer(
        threshold_ema_dead_code=3, rotation_trick=False
    ),
    "vector-quantize-pytorch": peer,
}


def build(layer: Callable[[], nn.Module], images: ImageSplits, seed: int, device: str) -> VQVAE:
    """The same encoder and decoder for every layer: their weights are drawn before the layer's."""
    torch.manual_seed(seed)
    channels, height, width = images.image_shape
    body = (channels, WIDTH, WIDTH, STAGES, 2)
    encoder, decoder = ConvolutionalEncoder(*body), ConvolutionalDecoder(*body)
    variance = data_variance(images.train)
    model = VQVAE(
        channels, (height, width), encoder=encoder, decoder=decoder, quantizer=layer(), data_variance=variance
    )
    return model.to(device)


def train(model: VQVAE, images: ImageSplits, steps: int, seed: int, device: str) -> dict[str, Any]:
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    for _, batch in zip(range(steps), TrainingBatches(images.train, BATCH, seed), strict=False):
        optimizer.zero_grad()
        model(batch.to(device)).loss.backward()
        optimizer.step()
    parts = {"held_out": images.held_out, "train": images.train}
    measured = {name: evaluate(model, part).as_dict() for name, part in parts.items()}
    return {
        "seed": seed,
        **{name: {figure: values[figure] for figure in FIGURES} for name, values in measured.items()},
    }


def summary(runs: list[dict[str, Any]], part: str) -> dict[str, dict[str, float]]:
    """Mean and spread (sample standard deviation) over the seeds."""
    columns = {figure: [run[part][figure] for run in runs] for figure in FIGURES}
    return {
        figure: {"mean": statistics.fmean(values), "std": statistics.stdev(values) if len(values) > 1 else 0.0}
        for figure, values in columns.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="mnist", help="mnist, digits, photos, or a folder of images")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    where = environment(torch.device(arguments.device), os.getloadavg()[0])
    images = load_images(arguments.data)
    layers = {}
    for name, layer in LAYERS.items():
        runs = []
        for seed in range(arguments.seeds):
            model = build(layer, images, seed, arguments.device)
            runs.append(train(model, images, arguments.steps, seed, arguments.device))
            shown = runs[-1]["held_out"]
            print(
                f"{name}, seed {seed}: nmse {shown['nmse']:.4f}, perplexity {shown['perplexity']:.1f}, "
                f"dead codes in training {runs[-1]['train']['dead_codes']}",
                flush=True,
            )
        layers[name] = {"held_out": summary(runs, "held_out"), "train": summary(runs, "train"), "runs": runs}
    record = {
        **where,
        "settings": vars(arguments) | {"batch_size": BATCH, "learning_rate": LEARNING_RATE, "layer": SHARED},
        "layers": layers,
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(record, indent=2) + "\n")
    print(f"wrote {RESULTS}")


if __name__ == "__main__":
    main()
