"""20,000 EMA steps on data that drifts: does every code stay in use, and do codes stay the means that they stand for?

    python -m benchmarks.long_run [--steps 20000] [--out benchmarks/results/long_run.json]

The data is a mixture of Gaussians whose centres turn, each at its own pace, once in some thousand steps: what a code
stands for moves away under it. Recorded for each quantizer and stage:

    dead: codes that none of the last 100 batches chose.
    perplexity: of the codes' use in these batches, as a share of their number.
    total: the least and the largest sum of the EMA counts after the first 1000 steps, as a share of the batch.
    drift: the largest |e - m/n| at the end in units of float32's rounding of e, e the code, m and n the EMA's sum and
        smoothed count, worked out in float64. Codes replaced in the last step are their row of the batch.
    error, first: mean squared error per element in the last 100 batches, and in the 100 after the first 1000 steps.
"""

import argparse
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aevae_fast import VectorQuantize, update_codebooks
from aevae_fast.quantizers import ResidualVQ
from aevae_fast.quantizers.codebook import Codebook

from .environment import environment

DIM, SIZE, ROWS, STAGES = 6, 48, 128, 3
WARM_UP, WINDOW = 1000, 100


def drifting(steps: int, seed: int = 0) -> Iterator[Tensor]:
    """Batches [ROWS, DIM]."""
    generator = torch.Generator().manual_seed(seed)
    centres = 3 * torch.randn(16, 2, DIM, generator=generator)  # two axes of the ellipse that a centre walks on
    pace = (1 + torch.rand(16, 1, generator=generator)) * 2 * math.pi / 6000
    for step in range(steps):
        place = centres[:, 0] * (pace * step).cos() + centres[:, 1] * (pace * step).sin()
        chosen = torch.randint(16, (ROWS,), generator=generator)
        yield place[chosen] + 0.7 * torch.randn(ROWS, DIM, generator=generator)


def build(kind: str) -> VectorQuantize | ResidualVQ:
    torch.manual_seed(0)
    return VectorQuantize(DIM, SIZE) if kind == "plain" else ResidualVQ(DIM, SIZE, STAGES)


def live(kind: str, steps: int) -> dict[str, Any]:
    """Train one quantizer for so many steps: what the module's docstring says, lists with an entry a stage."""
    layer = build(kind)
    books = [layer._codebook] if isinstance(layer, VectorQuantize) else [stage._codebook for stage in layer.stages]
    counts = torch.zeros(len(books), SIZE)
    least, most = torch.full((len(books),), math.inf), torch.zeros(len(books))
    errors = {"first": 0.0, "error": 0.0}
    for step, batch in enumerate(drifting(steps)):
        quantized, indices, losses = layer(batch.requires_grad_())
        losses.sum().backward()
        update_codebooks()
        for name, begin in (("first", WARM_UP), ("error", steps - WINDOW)):
            if begin <= step < begin + WINDOW:
                errors[name] += float((batch - quantized).square().mean().detach()) / WINDOW
        if step >= WARM_UP:
            total = torch.stack([book.cluster_size.sum() for book in books]) / ROWS
            least, most = torch.minimum(least, total), torch.maximum(most, total)
        if step >= steps - WINDOW:
            counts += torch.stack([part.bincount(minlength=SIZE) for part in indices.view(ROWS, -1).T])
    share = counts / counts.sum(1, keepdim=True)
    return {
        "dead": (counts == 0).sum(1).tolist(),
        "perplexity": (torch.special.entr(share).sum(1).exp() / SIZE).tolist(),
        "total": list(zip(least.tolist(), most.tolist(), strict=True)),
        "drift": [drift(book) for book in books],
        "moves": [int(book.steps) for book in books],
        **errors,
    }


def drift(book: Codebook) -> float:
    codes, sums, counts = book.embed[0].double(), book.embed_avg[0].double(), book.cluster_size[0].double()
    smoothed = (counts + book.eps) / (counts.sum() + len(counts) * book.eps) * counts.sum()
    means = [sums / count[:, None] for count in (smoothed, counts)]  # moved, and replaced in the last step
    distance = torch.stack([(codes - mean).abs().amax(1) for mean in means]).amin(0)
    return float((distance / (codes.abs().amax(1) * 2.0**-24)).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "long_run.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    record: dict[str, Any] = environment(torch.device("cpu"), os.getloadavg()[0])
    sizes = {"dim": DIM, "codebook_size": SIZE, "rows": ROWS, "stages": STAGES}
    record |= {"steps": options.steps, **sizes, "quantizers": {kind: live(kind, options.steps) for kind in KINDS}}
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record["quantizers"], indent=1))


KINDS = ("plain", "residual")

if __name__ == "__main__":
    main()
