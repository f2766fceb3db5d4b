"""The claims, and the rules by which the numbers bear them out or do not; fixed before any number was seen.

Every measure is taken over several sets (of samples, or parts of the held-out images). "In each set" means: set by set,
all of them; by chance alone that happens once in 2^sets.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from .contenders import AUTOENCODER, BETA_VAE, NOISY, VAE

Values = list[float]


@dataclass(frozen=True)
class Check:
    """One rule of a claim.

    Attributes:
        rule: in words.
        values: the numbers that decide, in words.
        holds: whether they follow the rule.
    """

    rule: str
    values: str
    holds: bool


@dataclass(frozen=True)
class Claim:
    """What is claimed, and what the numbers say.

    Attributes:
        letter: a, b, c, d.
        statement: the claim.
        checks: the rules that it stands for.
    """

    letter: str
    statement: str
    checks: tuple[Check, ...]

    @property
    def verdict(self) -> str:
        """`supported` where every check holds, `supported in part` where some do, else `not supported`."""
        held = sum(check.holds for check in self.checks)
        return {0: "not supported", len(self.checks): "supported"}.get(held, "supported in part")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        checks = [asdict(check) for check in self.checks]
        return {"letter": self.letter, "statement": self.statement, "verdict": self.verdict, "checks": checks}


def judge(metrics: dict[str, Any]) -> list[Claim]:
    """The claims, judged by what `compare` measured (`yardsticks` and `models` of its metrics)."""
    return [_uniform_draws(metrics), _noise(metrics), _prior(metrics), _beta(metrics)]


def _uniform_draws(metrics: dict[str, Any]) -> Claim:
    return Claim(
        "a",
        "Points drawn uniformly from the latent space of a plain autoencoder do not decode to anything like the data.",
        (
            _share_that_looks_real(metrics, AUTOENCODER, like=False),
            _place_between(metrics, AUTOENCODER, like=False),
        ),
    )


def _noise(metrics: dict[str, Any]) -> Claim:
    plain, noisy = metrics["models"][AUTOENCODER], metrics["models"][NOISY]
    scales = plain["robustness"]["scales"]
    strong = [number for number, scale in enumerate(scales) if scale >= 0.2]
    errors = [[model["robustness"]["mse"][number] for number in strong] for model in (plain, noisy)]
    robust = Check(
        f"Under latent noise of length {_listed(scales[number] for number in strong)} R, the noisy autoencoder's error "
        "is the smaller one, in each set.",
        f"mean squared error: plain {_listed(map(fmean, errors[0]))}, noisy {_listed(map(fmean, errors[1]))}",
        all(_below(ours, theirs) for theirs, ours in zip(*errors, strict=True)),
    )
    distances = [metrics["models"][key]["samples"]["frechet_distance"] for key in (AUTOENCODER, NOISY)]
    floor = metrics["yardsticks"]["real"]["frechet_distance"]
    gap = fmean(distances[0]) - fmean(floor)
    gained = (fmean(distances[0]) - fmean(distances[1])) / gap if gap > 0 else 0.0
    no_better = Check(
        "The noisy autoencoder's samples are not better: its Fréchet distance is not below the plain one's in each "
        "set, or it closes less than a tenth of the plain one's gap to real images.",
        f"Fréchet distance: plain {_spread(distances[0])}, noisy {_spread(distances[1])}, real {_spread(floor)}; "
        f"{gained:.0%} of the gap closed",
        not _below(distances[1], distances[0]) or gained < 0.1,
    )
    return Claim(
        "b",
        f"Noise N(0, {metrics['settings']['noise']:g}·R²) on the latent in training makes an autoencoder more robust, "
        "but no better at generating.",
        (robust, no_better),
    )


def _prior(metrics: dict[str, Any]) -> Claim:
    vae, plain = metrics["models"][VAE], metrics["models"][AUTOENCODER]
    return Claim(
        "c",
        "A VAE's prior samples resemble the data and its interpolations are smooth, since its latent space is "
        "regularised.",
        (
            _share_that_looks_real(metrics, VAE, like=True),
            _place_between(metrics, VAE, like=True),
            _smoother("the VAE", vae, "the autoencoder", plain),
            _compared(
                "Half-way images look real more often than the autoencoder's, in each set",
                "precision half-way",
                {"VAE": vae["interpolation"]["halfway_precision"]},
                {"autoencoder": plain["interpolation"]["halfway_precision"]},
                _above,
            ),
            _compared(
                "Since: its samples have a smaller Fréchet distance, in each set, than those that the unregularised "
                "autoencoder decodes from the Gaussian that fits its latents (a prior chosen afterwards)",
                "Fréchet distance",
                {"VAE": vae["samples"]["frechet_distance"]},
                {"autoencoder, fitted Gaussian": plain["other_draw"]["frechet_distance"]},
                _below,
            ),
        ),
    )


def _beta(metrics: dict[str, Any]) -> Claim:
    beta, vae = metrics["models"][BETA_VAE], metrics["models"][VAE]
    kl = beta["held_out"]["kl"], vae["held_out"]["kl"]
    return Claim(
        "d",
        "β > 1 trades reconstruction for structure in the latent space.",
        (
            _compared(
                "The β-VAE's reconstruction error is the larger one, in each set",
                "mean squared error",
                {"β-VAE": beta["reconstruction_mse"]},
                {"VAE": vae["reconstruction_mse"]},
                _above,
            ),
            Check(
                "Its latents tell less of an image: a smaller KL.",
                f"KL: β-VAE {kl[0]:.1f}, VAE {kl[1]:.1f} nats an image",
                kl[0] < kl[1],
            ),
            _compared(
                "Its latents' elements depend less on each other: a smaller total correlation, in each set",
                "total correlation (nats)",
                {"β-VAE": beta["total_correlation"]},
                {"VAE": vae["total_correlation"]},
                _below,
            ),
            _smoother("the β-VAE", beta, "the VAE", vae),
        ),
    )


def _share_that_looks_real(metrics: dict[str, Any], key: str, *, like: bool) -> Check:
    samples, real = metrics["models"][key]["samples"]["precision"], metrics["yardsticks"]["real"]["precision"]
    half = [value / 2 for value in real]
    return Check(
        f"{'At least' if like else 'Fewer than'} half as many of its samples look real as of real images (precision), "
        "in each set.",
        f"precision: samples {_spread(samples)}, real {_spread(real)}",
        _at_least(samples, half) if like else _below(samples, half),
    )


def _place_between(metrics: dict[str, Any], key: str, *, like: bool) -> Check:
    """On the way from real to scrambled images, by the root of the Fréchet distance, which is a distance."""
    columns = {
        "samples": metrics["models"][key]["samples"]["frechet_distance"],
        "real": metrics["yardsticks"]["real"]["frechet_distance"],
        "scrambled": metrics["yardsticks"]["scrambled"]["frechet_distance"],
    }
    roots = {name: [math.sqrt(value) for value in values] for name, values in columns.items()}
    middle = [(low + high) / 2 for low, high in zip(roots["real"], roots["scrambled"], strict=True)]
    ends = ("real", "scrambled") if like else ("scrambled", "real")
    return Check(
        f"Its samples are nearer to {ends[0]} images than to {ends[1]} ones (scrambled: each pixel from another "
        "image), by the root of the Fréchet distance, in each set.",
        "root of the Fréchet distance: " + ", ".join(f"{name} {_spread(values)}" for name, values in roots.items()),
        _below(roots["samples"], middle) if like else _at_least(roots["samples"], middle),
    )


def _smoother(name: str, model: dict[str, Any], other_name: str, other: dict[str, Any]) -> Check:
    measures = {"largest_to_mean_step": "largest over mean step", "length_to_distance": "length over distance"}
    ours, theirs = model["interpolation"], other["interpolation"]
    return Check(
        f"Interpolations of {name} are smoother than those of {other_name}: steps more even (largest over mean) and "
        "ways more direct (length over distance), in each set.",
        "; ".join(f"{words}: {_spread(ours[key])} and {_spread(theirs[key])}" for key, words in measures.items()),
        all(_below(ours[key], theirs[key]) for key in measures),
    )


def _compared(
    rule: str, what: str, ours: dict[str, Values], theirs: dict[str, Values], how: Callable[[Values, Values], bool]
) -> Check:
    ((name, values),), ((other_name, other_values),) = ours.items(), theirs.items()
    words = f"{what}: {name} {_spread(values)}, {other_name} {_spread(other_values)}"
    return Check(f"{rule}.", words, how(values, other_values))


def _below(ours: Values, theirs: Values) -> bool:
    return all(a < b for a, b in zip(ours, theirs, strict=True))


def _at_least(ours: Values, theirs: Values) -> bool:
    return all(a >= b for a, b in zip(ours, theirs, strict=True))


def _above(ours: Values, theirs: Values) -> bool:
    return _below(theirs, ours)


def _listed(values: Iterable[float]) -> str:
    return " / ".join(f"{value:.3g}" for value in values)


def _spread(values: Values) -> str:
    """Mean, smallest and largest."""
    return f"{fmean(values):.3g} ({min(values):.3g} to {max(values):.3g})"
