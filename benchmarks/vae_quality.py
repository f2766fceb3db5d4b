"""VAE quality: ours and the same network in plain PyTorch, with the same seeds, images, order and steps.

    python -m benchmarks.vae_quality [--steps 2000] [--seeds 3] [--device cpu]

The network is 784-400-20-400-784 with ReLU, the images are mnist's digits rounded to black and white, the likelihood is
Bernoulli. Both begin with the same weights and see the same batches; the noise is each one's own. Both are measured by
the same estimators, nats an image: the ELBO, and log p(x) by importance sampling.
Writes `benchmarks/results/vae_quality.json`.
"""

import argparse
import json
import os
import statistics
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aevae_fast.data import ImageDataset, TrainingBatches, evaluation_batches, load_images, spread
from aevae_fast.models import VAE
from benchmarks.environment import environment

RESULTS = Path(__file__).parent / "results" / "vae_quality.json"
HIDDEN, LATENT, SIDE = 400, 20, 28
BATCH, LEARNING_RATE = 64, 1e-3
ELBO_SAMPLES, BATCH_DECODES = 20, 10_000
Loss = Callable[[Tensor], Tensor]


def build(seed: int, device: str) -> VAE:
    torch.manual_seed(seed)
    return VAE(1, SIDE, body="mlp", hidden=[HIDDEN], latent_dim=LATENT).to(device)


def plain_loss(model: VAE) -> Loss:
    """The loss in plain PyTorch, over the layers of `model`."""
    encoder = nn.Sequential(*[layer for layer in model.encoder.children() if not isinstance(layer, nn.Flatten)])
    decoder = nn.Sequential(*[layer for layer in model.decoder.children() if isinstance(layer, nn.Linear | nn.ReLU)])

    def loss(x: Tensor) -> Tensor:
        flat = x.flatten(1)
        mean, logvar = encoder(flat).chunk(2, 1)
        z = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
        reconstruction = F.binary_cross_entropy_with_logits(decoder(z), flat, reduction="sum")
        kl = -0.5 * torch.sum(1 + logvar - mean.pow(2) - logvar.exp())
        return (reconstruction + kl) / len(x)

    return loss


TRAINED: dict[str, Callable[[VAE], Loss]] = {
    "aevae_fast": lambda model: lambda x: model(x).loss,
    "plain PyTorch": plain_loss,
}


def train(model: VAE, loss: Loss, images: ImageDataset, steps: int, seed: int, device: str) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    for batch in islice(TrainingBatches(images, BATCH, seed), steps):
        optimizer.zero_grad()
        loss(batch.round().to(device)).backward()
        optimizer.step()


def measure(model: VAE, images: ImageDataset, samples: int, device: str) -> dict[str, float]:
    """Means over the images, nats each."""
    torch.manual_seed(0)
    x = torch.cat(list(evaluation_batches(images, 256))).round().to(device)
    elbo = model.elbo(x, ELBO_SAMPLES, BATCH_DECODES)
    log_likelihood = model.log_likelihood(x, samples, BATCH_DECODES)
    return {
        "elbo": float(elbo.double().mean()),
        "kl": float(model.eval()(x).kl.detach()),
        "log_likelihood": float(log_likelihood.mean()),
    }


def summary(runs: list[dict[str, Any]], part: str) -> dict[str, dict[str, float]]:
    """Mean and spread (sample standard deviation) over the seeds."""
    columns = {figure: [run[part][figure] for run in runs] for figure in runs[0][part]}
    return {
        figure: {"mean": statistics.fmean(values), "std": statistics.stdev(values) if len(values) > 1 else 0.0}
        for figure, values in columns.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=200, help="for each image, of importance sampling")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    record = environment(torch.device(arguments.device), os.getloadavg()[0])
    images = load_images("mnist")
    parts = {"held_out": images.held_out, "train": spread(images.train, len(images.held_out))}
    models = {}
    for name, loss in TRAINED.items():
        runs = []
        for seed in range(arguments.seeds):
            model = build(seed, arguments.device)
            train(model, loss(model), images.train, arguments.steps, seed, arguments.device)
            measured = {part: measure(model, some, arguments.samples, arguments.device) for part, some in parts.items()}
            runs.append({"seed": seed, **measured})
            shown = measured["held_out"]
            print(
                f"{name}, seed {seed}: held-out ELBO {shown['elbo']:.2f}, log-likelihood {shown['log_likelihood']:.2f}",
                flush=True,
            )
        models[name] = {**{part: summary(runs, part) for part in parts}, "runs": runs}
    settings = vars(arguments) | {
        "data": "mnist, rounded to 0 and 1",
        "network": [SIDE**2, HIDDEN, LATENT, HIDDEN, SIDE**2],
        "batch_size": BATCH,
        "learning_rate": LEARNING_RATE,
        "elbo_samples": ELBO_SAMPLES,
        "images": {"train": len(images.train), **{f"measured_{part}": len(some) for part, some in parts.items()}},
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps({**record, "settings": settings, "models": models}, indent=2) + "\n")
    print(f"wrote {RESULTS}")


if __name__ == "__main__":
    main()
