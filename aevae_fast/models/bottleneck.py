"""The parts of a VAE beside its networks: posterior layer, prior and objective, made by name and seen to fit."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from aevae_fast.latents import LATENTS, Latent, make_latent
from aevae_fast.latents.priors import PRIORS, GaussianPrior, Prior, StandardPrior, VampPrior, make_prior
from aevae_fast.losses.objective import Objective
from aevae_fast.losses.objective_registry import OBJECTIVES, make_objective

Options = Mapping[str, Any] | None


class Posterior:
    """Images `[N, C, H, W]` to mean and log-variance `[N, D]`; no module, so that who keeps it does not register the
    encoder again."""

    def __init__(self, encoder: nn.Module, latent: Latent) -> None:
        self.encoder, self.latent = encoder, latent

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        moments = self.latent.moments(self.encoder(images))
        assert moments is not None
        return moments[0].flatten(1), moments[1].flatten(1)


def build_latent(latent: str | Latent, options: Options, clamp: Any, free_bits: float) -> Latent:
    """The posterior layer; `clamp` and `free_bits` are for "gaussian" by name.

    Raises:
        TypeError, ValueError: an argument that does not fit, named.
    """
    if latent == "gaussian":
        return make_latent(latent, **{"clamp": clamp, "free_bits": free_bits, **_plain("latent_options", options)})
    if free_bits:
        raise ValueError(f"free_bits: expected 0 where latent is not 'gaussian' by name, got {free_bits}")
    return make_latent(latent, **_plain("latent_options", options))


def build_prior(
    prior: str | Prior | None,
    options: Options,
    encoder: nn.Module,
    latent: Latent,
    latent_shape: Sequence[int],
    image_shape: Sequence[int],
) -> Prior:
    """The prior, that of the latent where none is named, bound to the encoder.

    Raises:
        TypeError, ValueError: an argument that does not fit, named.
        ImportError: the prior needs a package that is not installed.
    """
    dim = math.prod(latent_shape)
    if prior is None:
        if options:
            raise ValueError(f"prior_options: expected None without a prior, got {dict(options)}")
        made = latent.default_prior(dim)
    else:
        own = {"input_shape": list(image_shape)} if prior == "vamp" else {}
        made = make_prior(prior, dim, **{**own, **_plain("prior_options", options)})
    if made.support != latent.support:
        raise ValueError(
            f"prior: expected one over the support of latent {latent.name!r}, {latent.support!r}; "
            f"got {made.name!r}, over {made.support!r}"
        )
    free_bits = getattr(latent, "free_bits", 0.0)
    if free_bits and prior is not None and not isinstance(made, (StandardPrior, GaussianPrior)):
        raise ValueError(f"free_bits: expected 0 under prior {made.name!r}, whose KL is an estimate; got {free_bits}")
    if isinstance(made, VampPrior):
        _check_vamp(made, latent, image_shape)
    if has_moments(latent):
        made.bind(Posterior(encoder, latent))
    return made


def _check_vamp(prior: VampPrior, latent: Latent, image_shape: Sequence[int]) -> None:
    if not has_moments(latent):
        raise ValueError(
            f"prior: expected another than 'vamp' for latent {latent.name!r}, which is no diagonal Gaussian"
        )
    if list(prior.input_shape) != list(image_shape):
        raise ValueError(
            f"prior: expected input_shape {list(image_shape)}, the model's images, got {list(prior.input_shape)}"
        )


def build_objective(
    objective: str | Objective | None, options: Options, latent: Latent, prior: Prior, **weights: Any
) -> Objective | None:
    """The objective; `weights` are those of the weighted KL, which it replaces, and must be None.

    Raises:
        TypeError, ValueError: an argument that does not fit, named.
    """
    if objective is None:
        if options:
            raise ValueError(f"objective_options: expected None without an objective, got {dict(options)}")
        return None
    for name, value in weights.items():
        if value is not None:
            raise ValueError(f"{name}: expected its default under an objective of its own, got {value!r}")
    made = make_objective(objective, **_plain("objective_options", options))
    if made.needs_moments and not has_moments(latent):
        raise ValueError(f"objective: expected one for latent {latent.name!r}, got {made.name!r}, for Gaussian ones")
    if made.needs_standard_normal and not isinstance(prior, StandardPrior):
        raise ValueError(f"objective: expected one for prior {prior.name!r}, got {made.name!r}, for N(0, I)")
    return made


def has_moments(latent: Latent) -> bool:
    """Whether q(z | x) is a diagonal Gaussian."""
    return type(latent).moments is not Latent.moments


def config_of(part: str, module: Latent | Prior | Objective | None) -> dict[str, Any]:
    """Name and options that build the module again, as the arguments of `VAE`."""
    return (
        {part: None, f"{part}_options": None}
        if module is None
        else {part: module.name, f"{part}_options": module.options()}
    )


def is_own(module: Latent | Prior | Objective) -> bool:
    """Whether no config can name the module's class."""
    known: list[Mapping[str, type]] = [LATENTS, PRIORS, OBJECTIVES]
    return not any(names.get(getattr(module, "name", "")) is type(module) for names in known)


def _plain(name: str, options: Options) -> dict[str, Any]:
    if options is not None and not isinstance(options, Mapping):
        raise TypeError(f"{name}: expected None or a mapping of arguments, got {options!r}")
    return dict(options or {})
