"""`list` and `theory`: what there is to choose from, and what can be known without a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from swarmproof.cli import catalogue
from swarmproof.registry import did_you_mean


def theory(
    group_size: Annotated[
        list[int] | None,
        typer.Option(help="Completions of a problem (repeatable).  [default: 12 16 24 32]"),
    ] = None,
    accuracy: Annotated[
        float, typer.Option(help="Share of right answers among the honest ones, for the table.")
    ] = 0.0,
    variance: Annotated[
        float, typer.Option(help="Of normal honest rewards, for the picture.")
    ] = 0.25,
    out: Annotated[Path, typer.Option(help="The folder for the picture.")] = Path(),
) -> None:
    """Show what a share of poisoned completions is worth: a table, theory.png and theory.svg."""
    from rich.console import Console

    from swarmproof.report import theory

    sizes = group_size or theory.GROUP_SIZES
    shown = theory.table(sizes, accuracy)
    drawn = theory.draw(out, sizes, variance)
    Console().print(shown)
    print(f"figure: {', '.join(str(picture) for picture in drawn)}")


def list_(
    kind: Annotated[
        str | None, typer.Argument(metavar=f"[{'|'.join(catalogue.KINDS)}]", show_default=False)
    ] = None,
) -> None:
    """Show what there is to choose from, with parameters and defaults."""
    if kind is not None and kind not in catalogue.KINDS:
        raise ValueError(f"nothing is called {kind!r}{did_you_mean(kind, catalogue.KINDS)}")
    for each in [kind] if kind else catalogue.KINDS:
        print("\n".join(catalogue.describe(each)))
