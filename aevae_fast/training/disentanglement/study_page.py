"""The markdown page of the study."""

from statistics import fmean, pstdev
from typing import Any

from .findings import Finding, column, findings, summary

_COLUMNS = {
    "mig": ("MIG", 2),
    "mig_posterior": ("MIG, sampled codes", 2),
    "beta_vae": ("β-VAE metric", 2),
    "disentanglement": ("DCI D", 2),
    "completeness": ("DCI C", 2),
    "informativeness": ("DCI I", 2),
    "reconstruction_loss": ("-log p(x given z), nats", 1),
    "kl": ("KL, nats", 1),
    "active": ("latents in use", 1),
}
_MEASURES = """\
All measures are those of [disentanglement.md](disentanglement.md), over all images, of the posterior means; DCI learns
with `{booster}`. Reconstruction loss and KL are of the held-out images, by one sample of the latent each. A latent is
in use where the variance of its mean from image to image is above 0.01. Linear R² is the share of a factor's variance
that a linear function of all latents explains. ± is the standard deviation over the seeds."""
_NOT_ABOVE = "MIG of the β-TCVAE is not above the VAE's everywhere:"
_SMALL_GAP, _LARGE_LINEAR = 0.1, 0.7  # below, and from, which a factor counts as mixed into several latents
_MIXED = f"""\
A factor counts as mixed where its gap is below {_SMALL_GAP:g} and its linear R² at least {_LARGE_LINEAR:g}: it can be
read off the latents with a line, but off several at once, as after a rotation; as told little, or not plainly, where
both are smaller. Where q(z) and the posteriors are round
in the plane of two latents, turning it changes neither the KL nor the total correlation. What settles the axes is not
measured here; that it is how far q(z) and the posteriors are from round, and chance, is a conjecture."""
_RULES = """\
The rules are part of the program and do not depend on the numbers. In brackets the numbers seed by seed: the model's,
then the VAE's."""


def write_page(metrics: dict[str, Any], picture: str) -> str:
    """The page: what was done, the answer, the picture, the numbers, and each rule.

    Args:
        metrics: of `study`.
        picture: file name of the picture, beside the page.
    """
    parts = [
        "# Does β > 1 disentangle, and what does it cost?",
        _introduction(metrics),
        " ".join(summary(metrics)),
        _tcvae(metrics),
        f"![MIG, β-VAE metric and DCI against β and against the reconstruction loss]({picture})",
        "## Numbers",
        _table(metrics),
        _factors(metrics),
        "## How it is measured",
        _MEASURES.format(booster=metrics["settings"]["booster"]),
        "## Rule by rule",
        _RULES,
        "\n".join(_line(finding) for finding in findings(metrics)),
    ]
    return "\n\n".join(parts) + "\n"


def _introduction(metrics: dict[str, Any]) -> str:
    settings, images, factors = metrics["settings"], metrics["images"], metrics["factors"]
    sizes = ", ".join(f"{name} ({size} values)" for name, size in factors.items())
    widths = "-".join(map(str, settings["hidden"]))
    seconds = sum(run["seconds"] for model in metrics["models"].values() for run in model["runs"])
    return (
        f"Squares that differ in {sizes}: {images['train']} sprites of {settings['image_size']}×"
        f"{settings['image_size']} pixels to learn from, {images['held_out']} held out. y takes the middle half of "
        "x's places: with equal ranges a turn of their plane would change little, and nothing would tell the axes from "
        f"other directions. {len(metrics['models'])} kinds "
        f"of model, {settings['seeds']} seeds of each, all with hidden layers of {widths} and {settings['latent_dim']} "
        f"latents, trained alike: {settings['steps']} steps of {settings['batch_size']} images, Adam at "
        f"{settings['learning_rate']:g}. {_warmup(settings['warmup'])} "
        f"{metrics['device']}, torch {metrics['versions']['torch']}; training took "
        f"{seconds / 60:.0f} minutes in all."
    )


def _warmup(steps: int) -> str:
    if not steps:
        return "β is the same from the first step on."
    return f"Over the first {steps} steps β rises from 1, the VAE's."


def _tcvae(metrics: dict[str, Any]) -> str:
    """Whether each β-TCVAE is above the VAE on every seed; if not, what those that are not tell of which factor."""
    models = list(metrics["models"].values())
    (vae,) = (model for model in models if model["kind"] == "vae")
    below = [
        (model, ours, theirs)
        for model in models
        if model["kind"] == "beta-tcvae"
        for ours, theirs in zip(model["runs"], vae["runs"], strict=True)
        if ours["mig"] <= theirs["mig"]
    ]
    if not below:
        return "MIG of every β-TCVAE is above the VAE's on every seed."
    names = list(metrics["factors"])
    words = []
    for model, ours, theirs in below:
        told = ", ".join(
            f"{name} {gap:.2f} and {linear:.2f}"
            for name, gap, linear in zip(names, ours["gaps"], ours["linear"], strict=True)
        )
        words.append(
            f"{model['title']}, seed {ours['seed']}: MIG {ours['mig']:.2f}, not above {theirs['mig']:.2f}; gap and "
            f"linear R² of {told}; {ours['active']} latents in use; {_why(names, ours)}"
        )
    mixed = any(
        _kind(*pair) == "mixed" for _, ours, _ in below for pair in zip(ours["gaps"], ours["linear"], strict=True)
    )
    return "\n\n".join([_NOT_ABOVE, "\n".join(f"- {line}" for line in words), *([_MIXED] if mixed else [])])


def _kind(gap: float, linear: float) -> str:
    if gap >= _SMALL_GAP:
        return "told by one latent above the others"
    return "mixed" if linear >= _LARGE_LINEAR else "told little, or not plainly"


def _why(names: list[str], run: dict[str, Any]) -> str:
    """Each factor's name beside what became of it."""
    kinds: dict[str, list[str]] = {}
    for name, gap, linear in zip(names, run["gaps"], run["linear"], strict=True):
        kinds.setdefault(_kind(gap, linear), []).append(name)
    return "; ".join(f"{kind}: {', '.join(found)}" for kind, found in kinds.items())


def _table(metrics: dict[str, Any]) -> str:
    lines = [["model", *(name for name, _ in _COLUMNS.values())], ["---", *["---:"] * len(_COLUMNS)]]
    for model in metrics["models"].values():
        cells = [_spread(column(model, measure), digits) for measure, (_, digits) in _COLUMNS.items()]
        lines.append([model["title"], *cells])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _factors(metrics: dict[str, Any]) -> str:
    """Gap, and linear R², of each factor, mean over the seeds."""
    names = list(metrics["factors"])
    lines = [
        ["mean over the seeds", *(f"{what} of {name}" for what in ("gap", "linear R²") for name in names)],
        ["---", *["---:"] * (2 * len(names))],
    ]
    for model in metrics["models"].values():
        cells = [fmean(values) for key in ("gaps", "linear") for values in zip(*column(model, key), strict=True)]
        lines.append([model["title"], *(f"{cell:.2f}" for cell in cells)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _spread(values: list[float], digits: int) -> str:
    return f"{fmean(values):.{digits}f} ± {pstdev(values):.{digits}f}"


def _line(finding: Finding) -> str:
    return f"- {'**holds**' if finding.holds else '**does not hold**'}: {finding.rule} *({finding.values})*"
