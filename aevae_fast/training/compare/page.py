"""The markdown page of a comparison."""

from statistics import fmean
from typing import Any

from .claims import Claim
from .tables import markdown, model_table, sample_table

_MEASURES = """\
**Samples.** Everything is measured in the 64 penultimate features of a small classifier that has learned from half of
the training images (accuracy on the held-out images: {accuracy:.1%}). {sets} sets of {size} samples a row, each against
the same {size} held-out images, which no model and no classifier has learned from. Fréchet distance (0 is best),
precision (the share of samples that look real), recall (the share of real images that the samples cover), MMD (0 is
best). *Uniform* draws latents evenly from the range of each element over the training latents, *fitted Gaussian* from
the Gaussian with their mean and covariance. *Real images* are training images that the classifier has not seen, in the
place of samples: as good as it gets. *Scrambled images* take each pixel from another real image: right pixel by pixel,
and no likeness; *distance to scrambled* is the Fréchet distance to {size} of them in the place of the held-out images.
Precision lets {scrambled:.0%} of them pass, and favours what is typical: read it beside the others.

**Robustness.** The error of the decoded held-out images when noise of a length of 0.05 to 0.8 R is added to their
latents; R is the root mean square distance of the latents from their centre.

**Interpolation.** Ways of {steps} steps, straight in the latent, between held-out images. Path length: the mean squared
step in feature space, times {steps}²; small too where a decoder shows few differences. Length over distance is 1 where
the way is straight there; largest over mean step is 1 where all steps are alike. Half-way precision is the share of the
images half-way that look real.

**Total correlation** of the Gaussian that fits the training latents (a sample of each, where there is a posterior): 0
where the elements of the latent do not depend on each other. A VAE's latent is in use where the variance of its mean
from image to image is above 0.01.

± is the standard deviation over {sets} sets of samples, or over {sets} parts of the held-out images. It does not hold
what another seed of training would change: one model of each kind was trained."""

_RULES = """\
The rules are part of the program and do not depend on the numbers. A claim is supported where all its rules hold,
supported in part where some do. "In each set" means set by set, all of them; numbers are the mean, and in brackets the
smallest and the largest."""


def write_page(metrics: dict[str, Any], claims: list[Claim], picture: str) -> str:
    """The page: what was done, the verdicts, the picture, the numbers, and the rules.

    Args:
        metrics: of `compare`.
        claims: judged by them.
        picture: file name of the picture, beside the page.
    """
    settings, seconds = metrics["settings"], metrics["seconds"]
    introduction = (
        f"Four models of one body ({settings['body']}, {settings['channels']} channels, {settings['latent_dim']} "
        f"latents, {settings['likelihood']} likelihood), trained alike on {metrics['data']}: {settings['steps']} steps "
        f"of {settings['batch_size']} images in the same order, seed {settings['seed']}. {metrics['device']}, torch "
        f"{metrics['versions']['torch']}; training took {seconds['training']:.0f} s, measuring "
        f"{seconds['measuring']:.0f} s."
    )
    yardstick = metrics["yardsticks"]
    measures = _MEASURES.format(
        accuracy=yardstick["classifier_accuracy"],
        sets=yardstick["sets"],
        size=yardstick["set_size"],
        steps=metrics["interpolation_steps"],
        scrambled=fmean(yardstick["scrambled"]["precision"]),
    )
    parts = [
        "# Autoencoder, noisy autoencoder, VAE, β-VAE: what is claimed of them, and what the numbers say",
        introduction,
        _verdicts(claims),
        f"![Originals, reconstructions, samples and interpolations of each model]({picture})",
        "## Numbers",
        markdown(sample_table(metrics)),
        markdown(model_table(metrics)),
        "## How it is measured",
        measures,
        "## The claims, rule by rule",
        _RULES,
        *map(_rules, claims),
    ]
    return "\n\n".join(parts) + "\n"


def _verdicts(claims: list[Claim]) -> str:
    lines = ["| | claim | by the numbers |", "| --- | --- | --- |"]
    lines += [f"| ({claim.letter}) | {claim.statement} | **{claim.verdict}**, {_count(claim)} |" for claim in claims]
    return "\n".join(lines)


def _rules(claim: Claim) -> str:
    lines = [f"### ({claim.letter}) {claim.statement}", ""]
    lines += [
        f"- {'**holds**' if check.holds else '**does not hold**'}: {check.rule} *{check.values}.*"
        for check in claim.checks
    ]
    return "\n".join([*lines, "", f"The claim is **{claim.verdict}**: {_count(claim)}."])


def _count(claim: Claim) -> str:
    return f"{claim.held} of {len(claim.checks)} rules hold"
