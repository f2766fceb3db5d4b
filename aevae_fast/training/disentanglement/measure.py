"""Every disentanglement measure of a trained model at once."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from aevae_fast.data import FactorImages, ImageDataset, evaluation_batches
from aevae_fast.metrics.disentanglement import (
    DCI,
    SAP,
    BetaVAEScore,
    FactorVAEScore,
    ModularityExplicitness,
    MutualInformationGap,
    beta_vae_score,
    dci,
    factor_vae_score,
    modularity_explicitness,
    mutual_information_gap,
    mutual_information_gap_posterior,
    sap,
)
from aevae_fast.models.modes import evaluation_mode

from ..families import device_of

_ROWS = 20_000  # images that are encoded, by chance where there are more


@dataclass(frozen=True)
class Disentanglement:
    """What `measure_disentanglement` returns.

    Attributes:
        images: number of images measured.
        factor_names: one a factor.
        mig: of the posterior means, in bins.
        mig_posterior: of samples of a Gaussian posterior; None where there is none.
        beta_vae, factor_vae, dci, sap, modularity: the other measures, of the means.
    """

    images: int
    factor_names: tuple[str, ...]
    mig: MutualInformationGap
    mig_posterior: MutualInformationGap | None
    beta_vae: BetaVAEScore
    factor_vae: FactorVAEScore
    dci: DCI
    sap: SAP
    modularity: ModularityExplicitness

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)

    def rows(self) -> dict[str, str]:
        """Rows of a table: what is measured, and the value in words."""
        posterior = {} if self.mig_posterior is None else {"MIG, sampled codes": f"{self.mig_posterior.score:.3f}"}
        return {
            "MIG": f"{self.mig.score:.3f}",
            **posterior,
            "β-VAE metric": f"{self.beta_vae.score:.3f}",
            "FactorVAE score": f"{self.factor_vae.score:.3f}",
            f"DCI disentanglement ({self.dci.booster})": f"{self.dci.disentanglement:.3f}",
            "DCI completeness": f"{self.dci.completeness:.3f}",
            "DCI informativeness": f"{self.dci.informativeness:.3f}",
            "SAP": f"{self.sap.score:.3f}",
            "modularity": f"{self.modularity.modularity:.3f}",
            "explicitness": f"{self.modularity.explicitness:.3f}",
        }


def factors_of(*datasets: ImageDataset) -> tuple[Tensor, tuple[str, ...]]:
    """The factors of all images of some data sets together, int64 `[N, F]`, and their names.

    Raises:
        ValueError: a data set has none, or they differ in kind.
    """
    known, names = list[Tensor](), set[tuple[str, ...]]()
    for data in datasets:
        factors = getattr(data, "factors", None)
        if not isinstance(factors, Tensor):
            raise ValueError("data: expected images whose factors are known, such as sprites; these images have none")
        known.append(factors)
        names.add(tuple(data.factor_names))  # type: ignore[attr-defined]
    if len(names) > 1:
        raise ValueError(f"data: expected the same factors in all parts, got {sorted(names)}")
    return torch.cat(known), names.pop()


@torch.no_grad()
def codes_of(model: Any, *datasets: ImageDataset, batch_size: int = 256) -> tuple[Tensor, Tensor | None]:
    """Means of the latents of all images, float32 `[N, D]`, and their log-variances where q(z | x) is Gaussian.

    Raises:
        TypeError, ValueError: a model without a continuous latent, or images that do not fit it.
    """
    if not hasattr(model, "latent_shape"):
        raise TypeError(f"model: expected one with a continuous latent, got {type(model).__name__}")
    device, means, logvars = device_of(model), [], []
    with evaluation_mode(model):
        for data in datasets:
            for images in evaluation_batches(data, batch_size):
                mean, logvar = _moments(model, images.to(device))
                means.append(mean.flatten(1).float())
                logvars += [] if logvar is None else [logvar.flatten(1).float()]
    return torch.cat(means), torch.cat(logvars) if logvars else None


def _moments(model: Any, images: Tensor) -> tuple[Tensor, Tensor | None]:
    if hasattr(model, "posterior"):
        moments = model.latent.moments(model.encoder(images))
        if moments is not None:
            return moments
    return model.encode(images), None


def _some_images(datasets: Sequence[ImageDataset], seed: int) -> list[ImageDataset]:
    """All images of data sets with factors, or `_ROWS` of them by chance."""
    total = sum(map(len, datasets))
    if total <= _ROWS:
        return list(datasets)
    chosen = torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:_ROWS].sort().values
    parts, first = list[ImageDataset](), 0
    for data in datasets:
        here = chosen[(chosen >= first) & (chosen < first + len(data))] - first
        factors, names = factors_of(data)
        parts += [FactorImages(data, here.tolist(), factors, names)] if len(here) else []
        first += len(data)
    return parts


def measure_disentanglement(
    model: Any, *datasets: ImageDataset, booster: str = "gradient_boosting", seed: int = 0
) -> Disentanglement:
    """Measure how the codes of a trained model, the means of its latents, stand for the factors of images.

    Args:
        model: with a continuous latent, such as `Autoencoder` and `VAE`.
        datasets: images with `factors` and `factor_names`, such as both parts of `aevae_fast.data.sprites()`.
        booster: of DCI, "gradient_boosting" or "random_forest".
        seed: decides what the measures draw.

    Raises:
        TypeError, ValueError: images without factors or with one value of a factor only, a model without a continuous
            latent, or images that do not fit it.
    """
    factors_of(*datasets)  # before anything is encoded
    chosen = _some_images(datasets, seed)
    factors, names = factors_of(*chosen)
    means, logvars = codes_of(model, *chosen)
    posterior = None if logvars is None else mutual_information_gap_posterior(means, logvars, factors, seed=seed)
    codes = means.cpu()
    return Disentanglement(
        images=len(codes),
        factor_names=names,
        mig=mutual_information_gap(codes, factors, seed=seed),
        mig_posterior=posterior,
        beta_vae=beta_vae_score(codes, factors, seed=seed),
        factor_vae=factor_vae_score(codes, factors, seed=seed),
        dci=dci(codes, factors, booster=booster, seed=seed),
        sap=sap(codes, factors, seed=seed),
        modularity=modularity_explicitness(codes, factors, seed=seed),
    )
