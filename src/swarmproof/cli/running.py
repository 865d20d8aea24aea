"""`run` and `report`: an experiment from its TOML to its report.

Knows the order of a run's steps, none of their insides.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swarmproof.cli.common import INTERRUPTED, Settings, check, parse_seeds
from swarmproof.cli.engines import Address, Engine, Jobs, Place, Quiet, choose, run_all
from swarmproof.config import ExperimentConfig, load

if TYPE_CHECKING:
    from swarmproof.records.folder import RunFolder


def run(
    experiment: Annotated[
        str, typer.Argument(help="A shipped experiment, or a path that ends in .toml.")
    ] = "text-horizontal",
    arm: Annotated[
        list[str] | None, typer.Option(help="Run only this arm (repeatable).", show_default=False)
    ] = None,
    set_: Settings = None,
    seeds: Annotated[
        str | None, typer.Option(help="How many (3 is 0, 1, 2), or which: 0,1,5 (4, is 4 alone).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder.  [default: runs/EXPERIMENT-N]")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an earlier run.")] = False,
    engine: Engine = "local",
    address: Address = None,
    jobs: Jobs = None,
    quiet: Quiet = False,
) -> None:
    """Run an experiment: every arm with every seed, then the report."""
    config = load(experiment, arms=arm or (), overrides=set_ or (), seeds=parse_seeds(seeds))
    check(config)
    place = choose(engine, address, jobs)
    path = out or default_folder(config, resume=resume)
    from swarmproof.records.folder import RunFolder

    folder = RunFolder.create(path, config, resume=resume)
    try:
        print(f"{config.name} in {path}")
        _run_trials(folder, place=place, resume=resume, quiet=quiet)
        folder.write_summary()
    except KeyboardInterrupt:
        print(f"interrupted; go on with: {_resume_command(path)}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    finally:
        folder.close()
    _report([path], path)


def report(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Run folders; several share one page.")
    ],
    export: Annotated[
        Path | None, typer.Option(help="Also write all numbers, config and versions to this JSON.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The folder for the files.  [default: DIR, or report-DIR+DIR...]"),
    ] = None,
) -> None:
    """Draw the curves and the report of run folders again, and show their table."""
    from swarmproof.records.folder import RunFolder
    from swarmproof.report import contents

    if export is not None and len(folders) > 1:
        raise ValueError("--export writes the numbers of one run; give a single folder")
    names = contents.names(folders)
    for folder in folders:
        opened = RunFolder.open(folder)
        # A run that was killed has none yet; what it did so far is worth a report.
        opened.write_summary()
        if export is not None:
            opened.export(export)
        opened.close()
    joined = Path("report-" + "+".join(name.replace("/", "-") for name in names))
    _report(folders, out or (folders[0] if len(folders) == 1 else joined))


def _run_trials(folder: RunFolder, *, place: Place, resume: bool, quiet: bool) -> None:
    from swarmproof.swarm.trial import Trial

    config = folder.config
    # Seed by seed, so that a run that is stopped early has compared whole sets of arms.
    trials = [
        Trial(config.name, arm, seed, trial, folder.trial_folder(arm, seed))
        for seed in config.seeds
        for arm, trial in config.arms.items()
    ]
    run_all(trials, place=place, resume=resume, quiet=quiet)


def _report(folders: Sequence[Path], out: Path) -> None:
    from swarmproof.records.folder import load_run
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


def default_folder(config: ExperimentConfig, *, resume: bool) -> Path:
    """`runs/<experiment>-<n>`: the first free n, or the latest run when resuming."""
    stem = re.sub(r"[^\w.-]+", "-", config.name)
    numbers = {
        int(path.name.removeprefix(f"{stem}-"))
        for path in Path("runs").glob(f"{stem}-*")
        if path.name.removeprefix(f"{stem}-").isdecimal()
    }
    if not resume:
        return Path("runs") / f"{stem}-{max(numbers, default=0) + 1}"
    if not numbers:
        raise ValueError(f"runs/ holds no run of {config.name} to go on with; leave out --resume")
    return Path("runs") / f"{stem}-{max(numbers)}"


def _resume_command(path: Path) -> str:
    words = [word for word in sys.argv[1:] if word != "--resume"]
    if not any(word == "--out" or word.startswith("--out=") for word in words):
        words += ["--out", str(path)]
    return shlex.join(["swarmproof", *words, "--resume"])
