"""`reproduce`: the figures of the paper. The steps are in the package `reproduce`."""

from __future__ import annotations

import functools
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from swarmproof import steps
from swarmproof.cli.common import INTERRUPTED, Address, Engine, Jobs, Quiet, parse_seeds
from swarmproof.engines import capacity
from swarmproof.engines.place import choose

_Figures = Annotated[
    list[str],
    typer.Argument(help="all, or some of fig3a … fig16, table1: `swarmproof list figures`."),
]
_Scale = Annotated[
    str,
    typer.Option(
        metavar="[tiny|small|paper]", help="The zoo's models, SmolLM2-135M, or the paper's models."
    ),
]
_Seeds = Annotated[
    str, typer.Option(help="How many (3 is 0, 1, 2), or which: 0,1,5 (4, is 4 alone).")
]
_Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a setting of every trial (repeatable).",
        show_default=False,
    ),
]
_Out = Annotated[Path, typer.Option(help="The folder of all trials and figures.")]
_From = Annotated[
    list[Path] | None,
    typer.Option(
        "--from",
        metavar="DIR",
        help="Take over the trials of this run (repeatable).",
        show_default="none",
    ),
]
_Resume = Annotated[
    bool,
    typer.Option(
        "--resume/--restart",
        help="Continue unfinished trials, or start them anew; finished ones are kept.",
    ),
]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Check, and show what it would take.")]
_Export = Annotated[
    Path | None,
    typer.Option(help="Also write DIR/SCALE/FIGURE.json.", metavar="DIR", show_default="none"),
]


def reproduce(
    figure: _Figures,
    scale: _Scale = "tiny",
    seeds: _Seeds = "1",
    set_: _Settings = None,
    out: _Out = Path("runs/reproduce"),
    from_: _From = None,
    resume: _Resume = True,
    engine: Engine = "local",
    address: Address = None,
    jobs: Jobs = None,
    quiet: Quiet = False,
    dry_run: _DryRun = False,
    export: _Export = None,
) -> None:
    """Run what the paper's figures and table need, draw them, and check their criteria."""
    from rich.console import Console

    from swarmproof.reproduce import command, runner
    from swarmproof.reproduce.store import Store, require_same_inputs
    from swarmproof.reproduce.timing import Timing

    chosen = command.choose(figure, scale)
    plan = runner.plan(chosen, parse_seeds(seeds) or (), set_ or ())
    if dry_run:
        with Console(stderr=True).status("timing") as status:
            timing = Timing(lambda config: status.update(f"timing {config.attack['name']}"))
            for line in command.dry_run(plan, timing, jobs):
                print(line)
        return
    steps.check(plan.as_experiment())
    place = choose(engine, address, jobs)
    try:
        with Store(out) as store:
            for folder in from_ or ():
                print(f"{len(store.take(folder, plan.configs))} trials taken over from {folder}")
            trials = runner.missing(plan, store, resume=resume)
            capacity.require([trial.config for trial in trials], out, place, resume=resume)
            print(f"{len(plan.trials)} trials, {len(trials)} of them to run, in {out}")
            if steps.warm_up((trial.config for trial in trials), place, quiet=quiet):
                require_same_inputs(out, plan.configs)  # before hours are spent on another start
            keep = functools.partial(runner.keeper, plan, store)
            steps.run_trials(trials, place=place, resume=resume, quiet=quiet, wrap=keep)
            found = command.finish(plan, store, export, quiet=quiet)
    except KeyboardInterrupt:
        # With --restart, what was done until now would be done again.
        again = shlex.join(["swarmproof", *(a for a in sys.argv[1:] if a != "--restart")])
        print(f"interrupted; continue with: {again}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    Console().print(command.table(plan.figures, found))
    print(f"figures: {out / scale}")
