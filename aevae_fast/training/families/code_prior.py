"""Priors over the codes of a trained VQ-VAE: settings, measures and pictures."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.utils.data import Dataset

from aevae_fast.data import ImageDataset, ImageSplits, evaluation_batches
from aevae_fast.metrics import CodebookUsage
from aevae_fast.models import VQVAE, CodePrior, load_model
from aevae_fast.models.serialization import WEIGHTS_FILE

from ..pictures import draw_code_curves, draw_grid
from ..settings import RunSettings
from .family import Evaluation, Family, History, device_of

_BATCH, _SAMPLES, _SEED = 256, 64, 0


@dataclass(frozen=True)
class CodePriorSettings(RunSettings):
    """Everything that decides a run of a code prior; `data` and `image_size` are those of the VQ-VAE.

    Attributes:
        vqvae: folder of the exported VQ-VAE.
        fingerprint: of the VQ-VAE that the prior is for, by `code_fingerprint`; empty if any will do.
        channels: width of the transformer.
        layers: blocks of attention and perceptron.
        heads: heads of the attention.
        dropout: share of the features that training leaves out.
    """

    family: ClassVar[str] = "code-prior"

    batch_size: int = 32  # the codes of few images: many small steps
    learning_rate: float = 2e-3
    vqvae: str = ""
    fingerprint: str = ""
    channels: int = 128
    layers: int = 2
    heads: int = 4
    dropout: float = 0.1


class CodeMaps(Dataset[Tensor]):
    """Codes held in memory, int64 `[N, h, w]`."""

    def __init__(self, codes: Tensor) -> None:
        self.codes = codes

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, index: int) -> Tensor:
        return self.codes[index]

    @staticmethod
    def collate(items: list[Tensor]) -> Tensor:
        """One batch `[B, h, w]`."""
        return torch.stack(items)


@dataclass(frozen=True)
class CodeSplits(ImageSplits):
    """Images as the codes that `vqvae` makes of them."""

    vqvae: VQVAE


@dataclass(frozen=True)
class CodeEvaluation(Evaluation):
    """How well the codes of images are foretold.

    Attributes:
        codes_per_image: number of codes.
        nats_per_image: mean of -log p(codes).
        independent_bits_per_image: the least that a model could reach which knows how often each of these codes comes,
            and nothing of their order.
    """

    codes_per_image: int
    nats_per_image: float
    independent_bits_per_image: float

    @property
    def bits_per_image(self) -> float:
        """Mean of -log2 p(codes)."""
        return self.nats_per_image / math.log(2)

    def as_dict(self) -> dict[str, Any]:
        return super().as_dict() | {
            "nats_per_image": self.nats_per_image,
            "bits_per_image": self.bits_per_image,
            "bits_per_code": self.bits_per_image / self.codes_per_image,
            "independent_bits_per_image": self.independent_bits_per_image,
        }

    def rows(self) -> dict[str, str]:
        return {
            "-log p(codes) (nats)": f"{self.nats_per_image:.2f}",
            "-log p(codes) (bits)": f"{self.bits_per_image:.2f}",
            "bits a code": f"{self.bits_per_image / self.codes_per_image:.3f}",
            "bits, codes independent": f"{self.independent_bits_per_image:.2f}",
        }


class CodePriorFamily(Family):
    """Models with `log_prob` of code maps, `sample` of them, and `codebook_size`."""

    settings = CodePriorSettings

    def recognises(self, model: nn.Module) -> bool:
        return hasattr(model, "log_prob") and hasattr(model, "codebook_size")

    def data(self, settings: CodePriorSettings, images: ImageSplits) -> CodeSplits:
        folder = Path(settings.vqvae)
        vqvae = load_model(folder)
        if not isinstance(vqvae, VQVAE):
            raise ValueError(f"vqvae: expected a VQ-VAE in {folder}, got a {type(vqvae).__name__}")
        vqvae.check_one_code()
        if settings.fingerprint not in ("", code_fingerprint(folder)):
            raise ValueError(f"vqvae: the VQ-VAE in {folder} is not the one that this prior's training began with")
        encoder = vqvae.to("cuda" if torch.cuda.is_available() and settings.device != "cpu" else "cpu")
        train, held_out = (CodeMaps(_encode(encoder, part)) for part in (images.train, images.held_out))
        return CodeSplits(images.name, train, held_out, vqvae)

    def build(self, settings: CodePriorSettings, images: Any) -> CodePrior:
        codebook = images.vqvae.codebook
        prior = CodePrior(
            images.vqvae.codebook_size,
            images.vqvae.code_grid,
            embedding_dim=codebook.shape[-1],
            channels=settings.channels,
            layers=settings.layers,
            heads=settings.heads,
            dropout=settings.dropout,
        )
        prior.start_from(codebook)
        return prior

    def describe(self, settings: CodePriorSettings) -> str:
        return f"Prior over the codes of {settings.vqvae}"

    def evaluate(self, model: CodePrior, dataset: ImageDataset, batch_size: int) -> CodeEvaluation:
        total, usage, device = 0.0, CodebookUsage(model.codebook_size), device_of(model)
        for codes in evaluation_batches(dataset, batch_size):
            total -= float(model.log_prob(codes.to(device)).double().sum())
            usage.update(codes)
        nats = total / len(dataset)
        if not math.isfinite(nats):
            raise ArithmeticError(f"-log p(codes) is {nats}")
        count = codes[0].numel()
        return CodeEvaluation(len(dataset), count, nats, count * usage.compute().entropy_bits)

    def pictures(self, model: CodePrior, images: Any, train: CodeEvaluation) -> Iterator[tuple[str, Figure]]:
        generator = torch.Generator(device_of(model)).manual_seed(_SEED)
        samples = images.vqvae.sample(_SAMPLES, prior=model, generator=generator)
        yield "samples", draw_grid(samples, "Images decoded from codes that the prior draws")

    def curves(self, train: History, held_out: History) -> Figure:
        return draw_code_curves(train, held_out)

    def facts(self, model: CodePrior) -> dict[str, Any]:
        return {"fixed_length_bits_per_image": math.prod(model.grid) * math.log2(model.codebook_size)}

    def remark(self, metrics: dict[str, Any]) -> str | None:
        held_out = metrics["held_out"]
        return (
            f"A held-out image takes {held_out['bits_per_image']:.0f} bits under this prior, "
            f"{held_out['independent_bits_per_image']:.0f} if codes were independent, "
            f"{metrics['fixed_length_bits_per_image']:.0f} at a fixed length."
        )


def code_fingerprint(folder: Path) -> str:
    """Tells one state of a saved model in `folder` from another."""
    return hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()[:16]


def _encode(vqvae: VQVAE, dataset: ImageDataset) -> Tensor:
    device = device_of(vqvae)
    codes = torch.cat([vqvae.encode(images.to(device)).cpu() for images in evaluation_batches(dataset, _BATCH)])
    if (codes < 0).any():
        raise ArithmeticError("the VQ-VAE's encoder gives what is not finite")
    return codes
