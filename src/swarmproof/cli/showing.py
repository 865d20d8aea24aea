"""`list`, `explain` and `theory`: what is available, and what follows without a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from swarmproof.cli import catalogue
from swarmproof.registry import did_you_mean


def theory(
    group_size: Annotated[
        list[int] | None,
        typer.Option(help="Completions per problem (repeatable).", show_default="12 16 24 32"),
    ] = None,
    accuracy: Annotated[
        float,
        typer.Option(help="Share of right answers among honest completions, for the table."),
    ] = 0.0,
    variance: Annotated[
        float, typer.Option(help="Variance of normal honest rewards, for the figure.")
    ] = 0.25,
    out: Annotated[Path, typer.Option(help="The folder of the figure.")] = Path(),
) -> None:
    """Show what a share of poisoned completions is worth: a table, theory.png and theory.svg."""
    from rich.console import Console

    from swarmproof.report import theory

    sizes = group_size or theory.GROUP_SIZES
    shown = theory.table(sizes, accuracy)
    drawn = theory.draw(out, sizes, variance)
    Console().print(shown)
    print(f"figure: {', '.join(str(picture) for picture in drawn)}")


def explain(
    preset: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="Which preset of defences.", show_default="all, a line each"
        ),
    ] = None,
) -> None:
    """Explain a preset of defences: what it assumes, what it costs, what it does not stop."""
    print("\n".join(catalogue.explain(preset) if preset else catalogue.describe("presets")))


def list_(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar=f"[{'|'.join(catalogue.KINDS)}]", help="What to list.", show_default="all"
        ),
    ] = None,
) -> None:
    """Show what is available, with parameters and defaults."""
    if kind is not None and kind not in catalogue.KINDS:
        raise ValueError(f"nothing is called {kind!r}{did_you_mean(kind, catalogue.KINDS)}")
    for each in [kind] if kind is not None else catalogue.KINDS:
        print("\n".join(catalogue.describe(each)))
