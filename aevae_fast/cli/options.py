"""Options that several commands share, defined once."""

import inspect
from collections.abc import Callable, Collection
from functools import partial, wraps
from pathlib import Path
from typing import Annotated, Any

import typer

LARGEST_SEED = 2**63 - 1
MOST_STEPS, WIDEST_LATENT, WIDEST_LAYER = 10**9, 2**16, 2**12  # beyond any use, before what overflows or hangs
_DATA, _RUN = "Data", "Run"

Data = Annotated[
    str,
    typer.Option(help="mnist, digits, photos, sprites, a folder of images, or dSprites' .npz.", rich_help_panel=_DATA),
]
ImageSize = Annotated[
    int | None,
    typer.Option(
        help="Side of the images in pixels, for photos and sprites (default 32) and folders (default 64).",
        max=4096,
        rich_help_panel=_DATA,
    ),
]
LearningRate = Annotated[float, typer.Option("--lr", help="Learning rate (Adam).", rich_help_panel=_RUN)]
Schedule = Annotated[
    str,
    typer.Option(
        help="How the learning rate goes: constant, or cosine, down to 0 at the last step.", rich_help_panel=_RUN
    ),
]
BatchSize = Annotated[int, typer.Option(help="Images a step.", min=1, rich_help_panel=_RUN)]
Seed = Annotated[
    int,
    typer.Option(
        help="Decides weights, order of images, random numbers.", min=0, max=LARGEST_SEED, rich_help_panel=_RUN
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.", rich_help_panel=_RUN)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a run that is in the way.", rich_help_panel=_RUN)]

Trained = Annotated[Path, typer.Argument(help="Folder of a run, or of an exported model.")]
TrainedOn = Annotated[
    str | None,
    typer.Option(
        help="mnist, digits, photos, sprites, a folder of images, or dSprites' .npz; default: what the run was trained "
        "on."
    ),
]


def _with_suffix(picture: Path) -> Path:
    """What matplotlib would write for a name without one."""
    return picture if picture.suffix else picture.with_suffix(".png")


Picture = Annotated[Path, typer.Option(help="Picture to write (PNG).", dir_okay=False, callback=_with_suffix)]


_OUTPUT = """

Everything lands in the output folder: metrics.json, pictures/, model/ (safetensors), logs/ (TensorBoard) and
checkpoints/. Stop with Ctrl-C at any time and go on with --resume.
"""


def _training(
    data: Data = "mnist",
    image_size: ImageSize = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for everything that comes of it; default: runs/MODEL-DATA.", rich_help_panel=_RUN),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Optimizer steps; default: 2000.", max=MOST_STEPS, rich_help_panel=_RUN)
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(help="Passes over the data, instead of --steps.", rich_help_panel=_RUN)
    ] = None,
    batch_size: BatchSize = 64,
    learning_rate: LearningRate = 1e-3,
    schedule: Schedule = "constant",
    seed: Seed = 0,
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help="32-true, bf16-mixed or 16-mixed.", rich_help_panel=_RUN)] = "32-true",
    workers: Annotated[
        int, typer.Option(help="Processes that load images; for large folders.", max=256, rich_help_panel=_RUN)
    ] = 0,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Go on with the run in this folder; only --steps/--epochs, --device may differ.", rich_help_panel=_RUN
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """The options of every training command; only the signature counts."""


def flowing(text: str | None) -> str:
    """The paragraphs of a docstring without its line breaks, for a screen of any width."""
    paragraphs = inspect.cleandoc(text or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def with_training_options(
    command: Callable[..., None] | None = None, *, without: Collection[str] = ()
) -> Callable[..., Any]:
    """`command`, which takes a context first and then options of its own, with those of every training command behind,
    but for those named in `without`.

    The values are in `context.params`, and are not passed on.
    """
    if command is None:
        return partial(with_training_options, without=without)
    own, shared = (inspect.signature(function, eval_str=True) for function in (command, _training))

    @wraps(command)
    def with_all(context: typer.Context, **values: Any) -> None:
        command(context)

    behind = [parameter for name, parameter in shared.parameters.items() if name not in without]
    parameters = [*own.parameters.values(), *behind]
    with_all.__signature__ = own.replace(  # type: ignore[attr-defined]
        parameters=[parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    )
    with_all.__doc__ = flowing(inspect.cleandoc(command.__doc__ or "") + _OUTPUT)
    with_all.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_all
