"""The models of the study: alike but for what weighs the KL."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from aevae_fast.data import FactorImages, ImageSplits, ImageTensor, Sprites, random_split
from aevae_fast.losses import LinearSchedule
from aevae_fast.models import VAE

FACTORS = ("scale", "x", "y")


@dataclass(frozen=True)
class StudySettings:
    """Everything that decides the study.

    Attributes:
        betas: of the β-VAEs, each above 1; the VAE, β = 1, is always there.
        tc_betas: of the β-TCVAEs, each above 1.
        seeds: models of each kind, with seeds 0, 1, …
        image_size: side of the sprites in pixels.
        scales: values of scale, evenly from the 6 of the grid.
        places: values of x, evenly from the 32 of the grid; y takes the middle half of them.
        latent_dim: size of the latent.
        hidden: widths of the encoder's layers, the image's side first, and of the decoder's in reverse.
        steps, batch_size, learning_rate: of training.
        warmup: steps over which β rises from 1, the VAE's: until then all models are alike.
        booster: of DCI.
        device: auto, cpu, cuda or mps.

    Raises:
        ValueError: a number is out of range, or there is no β.
    """

    family: ClassVar[str] = "disentanglement-study"

    betas: tuple[float, ...] = (2.0, 4.0, 8.0)
    tc_betas: tuple[float, ...] = (3.0, 6.0, 12.0)
    seeds: int = 3
    image_size: int = 16
    scales: int = 3
    places: int = 32
    latent_dim: int = 6
    hidden: tuple[int, ...] = (128, 128)
    steps: int = 2500
    batch_size: int = 256
    learning_rate: float = 2e-3
    warmup: int = 500
    booster: str = "random_forest"
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in ("betas", "tc_betas"):
            if not all(beta > 1 for beta in getattr(self, name)):
                raise ValueError(f"{name}: expected numbers above 1 (the VAE's), got {list(getattr(self, name))}")
            if not getattr(self, name):
                raise ValueError(f"{name}: expected at least one, got none")
        if self.seeds < 1:
            raise ValueError(f"seeds: expected at least 1, got {self.seeds}")
        for name, least, most in (("scales", 2, 6), ("places", 4, 32)):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name}: expected {least} to {most}, got {getattr(self, name)}")
        if self.warmup < 0:
            raise ValueError(f"warmup: expected 0 steps or more, got {self.warmup}")


@dataclass(frozen=True)
class Contender:
    """One kind of model.

    Attributes:
        key: its name in files.
        title: its name in tables and pictures.
        kind: "vae", "beta-vae" or "beta-tcvae".
        beta: weight of the KL, or of the total correlation.
    """

    key: str
    title: str
    kind: str
    beta: float

    def build(self, settings: StudySettings, images: ImageSplits, seed: int) -> VAE:
        """The untrained model; weights drawn from `seed`."""
        torch.manual_seed(seed)
        beta = LinearSchedule(1.0, self.beta, settings.warmup) if settings.warmup else self.beta
        weighed: dict[str, Any] = {"beta": beta}
        if self.kind == "beta-tcvae":
            options = {"dataset_size": len(images.train), "beta": beta}
            weighed = {"objective": "beta_tcvae", "objective_options": options}
        return VAE(
            1, settings.image_size, latent_dim=settings.latent_dim, body="mlp", hidden=settings.hidden, **weighed
        )


def contenders(settings: StudySettings) -> list[Contender]:
    """The VAE, the β-VAEs and the β-TCVAEs."""
    return [
        Contender("vae", "VAE", "vae", 1.0),
        *(Contender(f"beta-vae-{beta:g}", f"β-VAE, β = {beta:g}", "beta-vae", beta) for beta in settings.betas),
        *(
            Contender(f"beta-tcvae-{beta:g}", f"β-TCVAE, β = {beta:g}", "beta-tcvae", beta)
            for beta in settings.tc_betas
        ),
    ]


def study_images(settings: StudySettings) -> ImageSplits:
    """Squares of some sizes at places of a grid; a tenth of them held out.

    y has half of x's range: with equal ranges a turn of their plane would change little in the images, and nothing
    would tell the axes from other directions.
    """
    x = _evenly(settings.places, 32)
    values = {"scale": _evenly(settings.scales, 6), "x": x, "y": x[len(x) // 4 : len(x) * 3 // 4]}
    grid = Sprites(FACTORS, values=values, image_size=settings.image_size)
    factors = grid.factors
    images = ImageTensor(grid.render(factors))
    train, held_out = (FactorImages(images, part, factors, grid.factor_names) for part in random_split(len(grid)))
    return ImageSplits("sprites", train, held_out)


def _evenly(count: int, values: int) -> list[int]:
    """`count` numbers from 0 to `values - 1`, both among them."""
    return [round(number * (values - 1) / (count - 1)) for number in range(count)]
