"""`zoo list` and `zoo build`: the models that ship with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from swarmproof.cli.common import MAX_SEED

app = typer.Typer(no_args_is_help=True, help="The tiny models that ship with the package.")


@app.command("list")
def zoo_list() -> None:
    """Show the models that ship with the package."""
    from swarmproof import zoo

    for name in zoo.names():
        print(f"{name}  {zoo.path(name)}")


@app.command("build")
def zoo_build(
    name: Annotated[str, typer.Argument(help="A model of the zoo.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    seed: Annotated[
        int, typer.Option(min=0, max=MAX_SEED, help="Of the weights, the data and their order.")
    ] = 0,
) -> None:
    """Train a model of the zoo again, from its recipe."""
    from swarmproof import pretraining

    pretraining.build(name, out, seed=seed)
