"""`run` and `report`: an experiment from its TOML to its report.

The steps of a run are in `steps.py`; here they are shown.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from swarmproof import steps
from swarmproof.cli import tables
from swarmproof.cli.common import (
    INTERRUPTED,
    Address,
    Engine,
    Jobs,
    Quiet,
    Settings,
    parse_seeds,
)
from swarmproof.config import load
from swarmproof.engines import capacity


def run(
    experiment: Annotated[
        str, typer.Argument(help="A shipped experiment, or a path that ends in .toml.")
    ] = "text-horizontal",
    arm: Annotated[
        list[str] | None,
        typer.Option(help="Run only this arm (repeatable).", show_default="all"),
    ] = None,
    set_: Settings = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            help="How many (3 is 0, 1, 2), or which: 0,1,5 (4, is 4 alone).",
            show_default="the file's",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder.", show_default="runs/EXPERIMENT-N")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an earlier run.")] = False,
    engine: Engine = "local",
    address: Address = None,
    jobs: Jobs = None,
    quiet: Quiet = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Show what memory and disk it needs, and run nothing.")
    ] = False,
    track: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Also send each round to tensorboard, trackio or wandb (repeatable).",
            show_default="none",
        ),
    ] = None,
) -> None:
    """Run an experiment: every arm with every seed, then the report."""
    if plan:
        config = load(experiment, arms=arm or (), overrides=set_ or (), seeds=parse_seeds(seeds))
        print("\n".join(capacity.lines(config.arms, len(config.seeds))))
        return
    prepared = steps.prepare(
        experiment,
        arms=arm or (),
        overrides=set_ or (),
        seeds=parse_seeds(seeds),
        out=out,
        resume=resume,
        engine=engine,
        address=address,
        jobs=jobs,
        track=track or (),
    )
    try:
        steps.execute(prepared, quiet=quiet, on_start=_announce)
    except KeyboardInterrupt:
        command = resume_command(prepared.folder)
        print(f"interrupted; continue with: {command}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    show_report([prepared.folder], prepared.folder)


def report(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Run folders; several share one page.")
    ],
    export: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also write the numbers: .json (all, with config and versions), .csv, .md or "
            ".tex.",
            show_default="none",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The folder for the files.", show_default="DIR, or report-DIR+DIR… for several"
        ),
    ] = None,
) -> None:
    """Draw the curves and the report of run folders again, and show their table."""
    from swarmproof.records.folder import RunFolder
    from swarmproof.report import contents

    if export is not None and len(folders) > 1:
        raise ValueError("--export writes the numbers of one run; give a single folder")
    if export is not None:
        tables.require_suffix(export)
    names = contents.names(folders)
    for folder in folders:
        opened = RunFolder.open(folder)
        # A run that was killed has none yet; what it did so far is worth a report.
        opened.write_summary()
        if export is not None:
            tables.export(opened, export)
        opened.close()
    joined = Path("report-" + "+".join(name.replace("/", "-") for name in names))
    show_report(folders, out or (folders[0] if len(folders) == 1 else joined))


def _announce(plan: steps.RunPlan) -> None:
    print(plan.heading)


def show_report(folders: Sequence[Path], out: Path) -> None:
    """Write the report of run folders, and show its table."""
    from swarmproof.records.run import load_run
    from swarmproof.report import contents, curves, html, terminal

    runs = {
        name: load_run(folder)
        for name, folder in zip(contents.names(folders), folders, strict=True)
    }
    found = contents.of_runs(runs)
    out.mkdir(parents=True, exist_ok=True)
    drawn = curves.draw(found.run, out)
    page = html.write(found, out)
    terminal.show(found)
    print(f"report: {page}")
    print(f"curves: {', '.join(str(picture) for picture in drawn)}")


def resume_command(path: Path) -> str:
    """The command that continues an interrupted run."""
    words = [word for word in sys.argv[1:] if word != "--resume"]
    if not any(word == "--out" or word.startswith("--out=") for word in words):
        words += ["--out", str(path)]
    return shlex.join(["swarmproof", *words, "--resume"])
