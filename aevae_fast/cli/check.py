"""`aevae-fast check`: are the operations right on this machine?"""

from typing import TYPE_CHECKING, Annotated, cast

import typer

if TYPE_CHECKING:
    from aevae_fast.functional import Impl


def check(
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, …; auto: cuda where there is one.")] = "auto",
    impl: Annotated[
        str | None, typer.Option(help="Force reference, portable or triton instead of what the device gets.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small shapes only: seconds instead of minutes.")] = False,
) -> None:
    """Hold every operation against its float64 reference on this device. Exit status 1 if one is wrong.

    Shapes, dtypes, layouts and data chosen to break a search: tiny codes, data at 1000 ± 0.01, duplicated codes, rows
    midway between two codes, a huge outlier, rows that are not finite; Gaussians in every parameterization, chunks of
    an encoder's output, priors, clamps, several samples; mixtures with weights, tiny σ, points far from all components.
    """
    import torch
    from rich.console import Console
    from rich.progress import track

    from ._check_table import result_table, verdict
    from ._checks import plan
    from ._result import Result

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        where = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device: expected cpu, cuda, cuda:1, … or auto, got {device!r}") from error
    if where.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: expected one that is here, got 'cuda', and PyTorch finds no CUDA device")
    console = Console()
    results: list[Result] = []
    for run in track(plan(quick, where), "Checking", console=console, transient=True):
        results += run(where, cast("Impl | None", impl))
    console.print(result_table(results, where, impl))
    console.print(verdict(results))
    if not all(result.passed for result in results):
        raise typer.Exit(1)
