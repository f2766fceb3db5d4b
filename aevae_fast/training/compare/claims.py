"""The claims, and the rules by which the numbers bear them out or do not."""

from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from .contenders import AUTOENCODER, BETA_VAE, NOISY, VAE
from .rules import Check, are_smoother, below, in_words, is_lower, is_nearer_to_real, listed, looks_real

_STRONG = 0.2  # length of latent noise, in units of the latents' radius, from which on robustness counts
_TENTH = 0.1  # of the way to real images: less is no gain


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
    def held(self) -> int:
        """How many checks hold."""
        return sum(check.holds for check in self.checks)

    @property
    def verdict(self) -> str:
        """`supported` where every check holds, `supported in part` where some do, else `not supported`."""
        return {0: "not supported", len(self.checks): "supported"}.get(self.held, "supported in part")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        checks = [asdict(check) for check in self.checks]
        return {"letter": self.letter, "statement": self.statement, "verdict": self.verdict, "checks": checks}


def judge(metrics: dict[str, Any]) -> list[Claim]:
    """The claims, judged by what `compare` measured (`settings`, `yardsticks` and `models` of its metrics)."""
    models, real = metrics["models"], metrics["yardsticks"]["real"]
    return [
        Claim(
            "a",
            "Points drawn uniformly from the latent space of a plain autoencoder do not decode to anything like the "
            "data.",
            _resembles(models[AUTOENCODER], real, claimed=False),
        ),
        Claim(
            "b",
            f"Noise N(0, {metrics['settings']['noise']:g}·R²) on the latent in training makes an autoencoder more "
            "robust, but no better at generating.",
            (*_more_robust(models[NOISY], models[AUTOENCODER]), *_no_better(models, real)),
        ),
        Claim(
            "c",
            "A VAE's prior samples resemble the data and its interpolations are smooth, since its latent space is "
            "regularised.",
            (*_resembles(models[VAE], real, claimed=True), *_beside(models[VAE], models[AUTOENCODER])),
        ),
        Claim(
            "d",
            "β > 1 trades reconstruction for structure in the latent space.",
            _trade(models[BETA_VAE], models[VAE]),
        ),
    ]


def _resembles(model: dict[str, Any], real: dict[str, Any], *, claimed: bool) -> tuple[Check, ...]:
    samples = model["samples"]
    return (
        looks_real(samples["precision"], real["precision"], claimed=claimed),
        is_nearer_to_real(samples["frechet_distance"], samples["scrambled_distance"], claimed=claimed),
    )


def _more_robust(noisy: dict[str, Any], plain: dict[str, Any]) -> tuple[Check, ...]:
    """A decoder that ignores its latents does not mind noise: the error itself counts too."""
    scales = plain["robustness"]["scales"]
    errors = {name: model["robustness"]["mse"] for name, model in (("noisy", noisy), ("plain", plain))}
    grown = {name: [_minus(mse, columns[0]) for mse in columns[1:]] for name, columns in errors.items()}
    strong = [number for number, scale in enumerate(scales) if scale >= _STRONG]
    level = {name: [columns[number] for number in strong] for name, columns in errors.items()}
    return (
        _lower_throughout("Its error grows less", "growth of the mean squared error", scales[1:], grown),
        _lower_throughout("Its error is smaller", "mean squared error", [scales[n] for n in strong], level),
    )


def _lower_throughout(rule: str, measure: str, scales: list[float], columns: dict[str, list[list[float]]]) -> Check:
    words = ", ".join(f"{name} {listed(map(fmean, values))}" for name, values in columns.items())
    return Check(
        f"{rule} than the plain one's under latent noise of length {listed(scales)} R, in each set.",
        f"{measure}: {words}",
        all(below(*pair) for pair in zip(*columns.values(), strict=True)),
    )


def _minus(values: list[float], others: list[float]) -> list[float]:
    return [a - b for a, b in zip(values, others, strict=True)]


def _no_better(models: dict[str, Any], real: dict[str, Any]) -> tuple[Check, ...]:
    plain, noisy = (models[key]["samples"] for key in (AUTOENCODER, NOISY))
    return tuple(
        _not_better(words, *(one[measure] for one in (noisy, plain, real)))
        for measure, words in (("frechet_distance", "Fréchet distance"), ("precision", "precision"))
    )


def _not_better(measure: str, noisy: list[float], plain: list[float], real: list[float]) -> Check:
    gap = fmean(real) - fmean(plain)
    closed = (fmean(noisy) - fmean(plain)) / gap if gap else 0.0
    better = below(noisy, plain) if gap < 0 else below(plain, noisy)
    return Check(
        f"By the {measure} its uniform draws are no better: not in each set, or by less than a tenth of the plain "
        "one's gap to real images.",
        f"{measure}: noisy {in_words(noisy)}, plain {in_words(plain)}, real {in_words(real)}; "
        f"{closed:.0%} of the gap closed",
        not better or closed < _TENTH,
    )


def _beside(vae: dict[str, Any], plain: dict[str, Any]) -> tuple[Check, ...]:
    distance = "frechet_distance"
    return (
        is_lower(
            "Its samples have a smaller Fréchet distance than the autoencoder's uniform draws",
            "Fréchet distance",
            ("VAE", vae["samples"][distance]),
            ("autoencoder", plain["samples"][distance]),
        ),
        *are_smoother(("VAE", vae), ("autoencoder", plain)),
        is_lower(
            "Half-way images of the autoencoder look real less often than its own",
            "precision half-way",
            ("autoencoder", plain["interpolation"]["halfway_precision"]),
            ("VAE", vae["interpolation"]["halfway_precision"]),
        ),
        is_lower(
            "Since: its samples have a smaller Fréchet distance than those that the unregularised autoencoder decodes "
            "from the Gaussian that fits its latents, a prior chosen afterwards",
            "Fréchet distance",
            ("VAE", vae["samples"][distance]),
            ("autoencoder", plain["other_draw"][distance]),
        ),
    )


def _trade(beta: dict[str, Any], vae: dict[str, Any]) -> tuple[Check, ...]:
    kl = beta["held_out"]["kl"], vae["held_out"]["kl"]
    return (
        is_lower(
            "The VAE's reconstruction error is smaller than the β-VAE's",
            "mean squared error",
            ("VAE", vae["reconstruction_mse"]),
            ("β-VAE", beta["reconstruction_mse"]),
        ),
        Check(
            "The β-VAE's latents tell less of an image: a smaller KL.",
            f"KL: β-VAE {kl[0]:.1f}, VAE {kl[1]:.1f} nats an image",
            kl[0] < kl[1],
        ),
        is_lower(
            "The elements of its latent depend less on each other",
            "total correlation in nats",
            ("β-VAE", beta["total_correlation"]),
            ("VAE", vae["total_correlation"]),
        ),
        *are_smoother(("β-VAE", beta), ("VAE", vae)),
    )
