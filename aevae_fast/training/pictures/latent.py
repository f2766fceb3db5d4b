"""Pictures of training with a likelihood: reconstruction and KL in nats an image."""

from matplotlib.figure import Figure

from .canvas import BLUE, FONT, INK, ORANGE, curve, over_steps, plain_numbers

_TITLES = {"reconstruction_loss": "Reconstruction, -log p(x | z)", "kl": "KL", "elbo": "-ELBO"}


def draw_likelihood_curves(train: dict[str, list[float]], held_out: dict[str, list[float]]) -> Figure:
    """Reconstruction, and of a VAE the KL and their sum, over the steps; nats an image.

    Args:
        train: `step`, `reconstruction_loss` and perhaps `kl`, from training batches.
        held_out: the same from held-out images, and `elbo` where there is a KL.
    """
    named = [name for name in _TITLES if name in held_out]
    figure = Figure(figsize=(3.3 * len(named) + 0.6 * (len(named) == 1), 3.3), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(named), squeeze=False)[0], named, strict=True):
        trained = _minus_elbo(train) if name == "elbo" else train.get(name, [])
        measured = [-value for value in held_out[name]] if name == "elbo" else held_out[name]
        curve(axes, train.get("step", []), trained, BLUE, "training batches", smooth=True)
        curve(axes, held_out["step"], measured, ORANGE, "held-out images")
        over_steps(axes, _TITLES[name])
        if name != "kl" and min([*trained, *measured], default=0) > 0:  # a density can be above 1, its -log below 0
            plain_numbers(axes)
        axes.set_ylabel("nats an image", color=INK)
        axes.legend(frameon=False, fontsize=FONT - 1)
    return figure


def _minus_elbo(train: dict[str, list[float]]) -> list[float]:
    return [loss + kl for loss, kl in zip(train.get("reconstruction_loss", []), train.get("kl", []), strict=True)]
