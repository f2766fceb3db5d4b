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
    models, yardsticks = metrics["models"], metrics["yardsticks"]
    return [
        Claim(
            "a",
            "Points drawn uniformly from the latent space of a plain autoencoder do not decode to anything like the "
            "data.",
            _resembles(models[AUTOENCODER], yardsticks, claimed=False),
        ),
        Claim(
            "b",
            f"Noise N(0, {metrics['settings']['noise']:g}·R²) on the latent in training makes an autoencoder more "
            "robust, but no better at generating.",
            (_more_robust(models[NOISY], models[AUTOENCODER]), _no_better(models, yardsticks["real"])),
        ),
        Claim(
            "c",
            "A VAE's prior samples resemble the data and its interpolations are smooth, since its latent space is "
            "regularised.",
            (*_resembles(models[VAE], yardsticks, claimed=True), *_beside(models[VAE], models[AUTOENCODER])),
        ),
        Claim(
            "d",
            "β > 1 trades reconstruction for structure in the latent space.",
            _trade(models[BETA_VAE], models[VAE]),
        ),
    ]


def _resembles(model: dict[str, Any], yardsticks: dict[str, Any], *, claimed: bool) -> tuple[Check, ...]:
    samples, real, scrambled = model["samples"], yardsticks["real"], yardsticks["scrambled"]
    distances = (one["frechet_distance"] for one in (samples, real, scrambled))
    return (
        looks_real(samples["precision"], real["precision"], claimed=claimed),
        is_nearer_to_real(*distances, claimed=claimed),
    )


def _more_robust(noisy: dict[str, Any], plain: dict[str, Any]) -> Check:
    scales = plain["robustness"]["scales"]
    strong = [number for number, scale in enumerate(scales) if scale >= _STRONG]
    errors = [[model["robustness"]["mse"][number] for number in strong] for model in (noisy, plain)]
    return Check(
        f"Under latent noise of length {listed(scales[number] for number in strong)} R, the noisy autoencoder's error "
        "is the smaller one, in each set.",
        f"mean squared error: noisy {listed(map(fmean, errors[0]))}, plain {listed(map(fmean, errors[1]))}",
        all(below(*pair) for pair in zip(*errors, strict=True)),
    )


def _no_better(models: dict[str, Any], real: dict[str, Any]) -> Check:
    plain, noisy = (models[key]["samples"]["frechet_distance"] for key in (AUTOENCODER, NOISY))
    floor = real["frechet_distance"]
    gap = fmean(plain) - fmean(floor)
    closed = (fmean(plain) - fmean(noisy)) / gap if gap > 0 else 0.0
    return Check(
        "The noisy autoencoder's samples are not better: its Fréchet distance is not below the plain one's in each "
        "set, or it closes less than a tenth of the plain one's gap to real images.",
        f"Fréchet distance: noisy {in_words(noisy)}, plain {in_words(plain)}, real {in_words(floor)}; "
        f"{closed:.0%} of the gap closed",
        not below(noisy, plain) or closed < _TENTH,
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
