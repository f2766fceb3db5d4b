"""A VQ-VAE's run and the run of the prior over its codes: how the one finds the other."""

from pathlib import Path

import typer

from aevae_fast.models import VQVAE, CodePrior, load_model
from aevae_fast.training import CodePriorSettings, load_settings
from aevae_fast.training.families import code_fingerprint
from aevae_fast.training.report import MODEL_FOLDER

from .trained import load_trained

PRIOR_FOLDER = "code-prior"


def name_vqvae(context: typer.Context) -> None:
    """Complete the options in `context` by what the run of the VQ-VAE says; a resumed run knows it already.

    Raises:
        ValueError: there is no such run, or it is one of another model.
        FileNotFoundError: it has not come to its end.
    """
    run = context.params["run"]
    if context.params["resume"]:
        return
    if run is None:
        raise ValueError("run: expected the folder of a trained VQ-VAE: aevae-fast train code-prior RUN")
    settings = load_settings(run)
    if settings.family != "vqvae":
        raise ValueError(f"run: expected the run of a VQ-VAE, but {run} holds one of {settings.family}")
    load_trained(run)
    context.params.update(
        data=settings.data,
        image_size=settings.image_size,
        vqvae=str(run / MODEL_FOLDER),
        fingerprint=code_fingerprint(run / MODEL_FOLDER),
        out=context.params["out"] or run / PRIOR_FOLDER,
    )


def load_prior(vqvae: VQVAE, path: Path) -> CodePrior:
    """The prior that was trained over the codes of `vqvae`, loaded from `path`, its run or the model within.

    Raises:
        ValueError: there is none, or it is for another state of the VQ-VAE.
        FileNotFoundError: its training has not come to its end.
    """
    exported = path / MODEL_FOLDER if (path / MODEL_FOLDER).is_dir() else path
    run = exported.parent if exported.name == MODEL_FOLDER else path
    folder = run / PRIOR_FOLDER
    settings = load_settings(folder) if folder.is_dir() else None
    if not isinstance(settings, CodePriorSettings):
        raise ValueError(
            f"{path}: expected a VQ-VAE with a prior over its codes, which says which of them go together, but it has "
            f"none; train one with: aevae-fast train code-prior {run}"
        )
    if not (folder / MODEL_FOLDER).is_dir():
        raise FileNotFoundError(
            f"{folder}: expected a trained prior, but this run was not finished; "
            f"go on with: aevae-fast train code-prior --resume {folder}"
        )
    if settings.fingerprint != code_fingerprint(exported):
        raise ValueError(
            f"{folder}: the prior is for another state of the VQ-VAE, which was trained since; train it again with: "
            f"aevae-fast train code-prior {run} --overwrite"
        )
    prior = load_model(folder / MODEL_FOLDER)
    assert isinstance(prior, CodePrior)
    return prior
