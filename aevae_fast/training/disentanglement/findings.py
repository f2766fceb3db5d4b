"""What the numbers of the study say: rules that hold or not, seed by seed."""

from dataclasses import dataclass
from statistics import fmean
from typing import Any

KINDS = {"beta-vae": "β-VAE", "beta-tcvae": "β-TCVAE"}
MEASURES = {"mig": "MIG", "beta_vae": "β-VAE metric", "disentanglement": "DCI disentanglement"}


@dataclass(frozen=True)
class Finding:
    """One rule, judged.

    Attributes:
        rule: in words.
        holds: whether the numbers follow it.
        values: the numbers that decide, in words.
    """

    rule: str
    holds: bool
    values: str


def findings(metrics: dict[str, Any]) -> list[Finding]:
    """Does a larger β disentangle, on each seed, by each measure; and what does it cost?"""
    models = list(metrics["models"].values())
    (vae,) = (model for model in models if model["kind"] == "vae")
    found = []
    for kind in KINDS:
        others = [model for model in models if model["kind"] == kind]
        for measure, words in MEASURES.items():
            found += [
                _higher(f"{words} of the {model['title']} is above the VAE's", measure, model, vae) for model in others
            ]
        for model in others:
            rule = f"The {model['title']} reconstructs worse than the VAE (-log p(x given z) of held-out images)"
            found.append(_higher(rule, "reconstruction_loss", model, vae, digits=1))
    return found


def summary(metrics: dict[str, Any]) -> list[str]:
    """Sentences: of each kind the β of the highest mean MIG with its price in nats, and what the best β-TCVAE has over
    the β-VAE that pays nearest to the same."""
    models = list(metrics["models"].values())
    (vae,) = (model for model in models if model["kind"] == "vae")
    sentences, best = [], vae
    for kind, name in KINDS.items():
        best = max((model for model in models if model["kind"] == kind), key=lambda model: mean(model, "mig"))
        dearer = mean(best, "reconstruction_loss") - mean(vae, "reconstruction_loss")
        above = sum(one > other for one, other in zip(column(best, "mig"), column(vae, "mig"), strict=True))
        sentences.append(
            f"The {name} has the highest MIG at β = {best['beta']:g}: {mean(best, 'mig'):.2f} beside the VAE's "
            f"{mean(vae, 'mig'):.2f}, above it on {above} of {len(vae['runs'])} seeds, for {dearer:+.1f} nats of "
            "reconstruction loss."
        )
    price = mean(best, "reconstruction_loss")
    near = min(
        (model for model in models if model["kind"] == "beta-vae"),
        key=lambda model: abs(mean(model, "reconstruction_loss") - price),
    )
    sentences.append(
        f"Of the β-VAEs the one nearest to that {best['title']} in reconstruction ({price:.1f} nats) has β = "
        f"{near['beta']:g} ({mean(near, 'reconstruction_loss'):.1f} nats) and MIG {mean(near, 'mig'):.2f}."
    )
    return sentences


def column(model: dict[str, Any], measure: str) -> list[float]:
    """A measure of each seed's model."""
    return [run[measure] for run in model["runs"]]


def mean(model: dict[str, Any], measure: str) -> float:
    """A measure, averaged over the seeds."""
    return fmean(column(model, measure))


def _higher(rule: str, measure: str, model: dict[str, Any], other: dict[str, Any], digits: int = 2) -> Finding:
    ours, theirs = column(model, measure), column(other, measure)
    words = " / ".join(f"{a:.{digits}f} and {b:.{digits}f}" for a, b in zip(ours, theirs, strict=True))
    return Finding(f"{rule}, on each seed.", all(a > b for a, b in zip(ours, theirs, strict=True)), words)
