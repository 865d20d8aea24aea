"""`board`: attack x guard x setting, and entries. The steps are in the package `board`."""

from __future__ import annotations

import functools
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from swarmproof import steps
from swarmproof.cli.common import INTERRUPTED, Address, Engine, Jobs, Quiet, Settings, parse_seeds
from swarmproof.engines.local import default_jobs
from swarmproof.engines.place import choose

app = typer.Typer(
    help="Attacks x guards x settings, sorted by the worst case.", invoke_without_command=True
)
_UNCONFIRMED = 1  # exit code of a check that leaves a claim a claim


_Seeds = Annotated[
    str, typer.Option(help="How many (3 is 0, 1, 2), or which: 0,1,5 (4, is 4 alone).")
]
_Rounds = Annotated[
    int | None, typer.Option(min=1, help="Of every trial.", show_default="the lists'")
]
_Only = Annotated[str | None, typer.Option(metavar="A,B", help="Only these.", show_default="all")]
_Lists = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A TOML with other lists.", show_default="the shipped ones"),
]
_Out = Annotated[Path, typer.Option(help="The folder of all cells and trials.")]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Check, and show what it would take.")]


@app.callback()
def board(
    context: typer.Context,
    seeds: _Seeds = "1",
    rounds: _Rounds = None,
    attacks: _Only = None,
    guards: _Only = None,
    settings: _Only = None,
    set_: Settings = None,
    lists: _Lists = None,
    out: _Out = Path("runs/board"),
    engine: Engine = "local",
    address: Address = None,
    jobs: Jobs = None,
    quiet: Quiet = False,
    dry_run: _DryRun = False,
) -> None:
    """Run the cells of the board that are missing, and write its page.

    What was run before is kept: with more seeds, attacks or guards, only what is missing is run.
    """
    if context.invoked_subcommand is not None:
        return
    from swarmproof.board import command, runner
    from swarmproof.board.lists import read
    from swarmproof.reproduce.store import Store

    place = choose(engine, address, jobs)
    wanted = command.Wanted(attacks, guards, settings)
    plan = command.plan(
        read(lists), wanted, parse_seeds(seeds) or (), out, rounds=rounds, overrides=set_ or ()
    )

    def at_once(count: int) -> int:
        return jobs or (1 if jobs == 0 else default_jobs(count))

    if dry_run:
        waiting = runner.needed(plan.planned, out)
        print("\n".join(command.told(plan, waiting, at_once)))
        return
    with Store(out) as store:
        waiting = runner.needed(plan.planned, out)
        print("\n".join(command.told(plan, waiting, at_once)))
        runner.refresh(plan.kept, store)
        write = functools.partial(command.write, plan)
        keep = functools.partial(runner.keeper, plan.planned, store, on_cell=write)
        try:
            trials = runner.begin(waiting, store)
            if steps.warm_up((trial.config for trial in trials), place, quiet=quiet):
                runner.needed(plan.planned, out)  # before hours are spent on another start
            steps.run_trials(trials, place=place, resume=True, quiet=quiet, wrap=keep)
            for planned in plan.planned:
                runner.finish(planned, store)
        except KeyboardInterrupt:
            again = shlex.join(["swarmproof", *sys.argv[1:]])
            print(f"interrupted; continue with: {again}", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None
        print(f"board: {write()}")


@app.command()
def submit(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A finished run folder, or a cell of the board.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="The entry to write.")],
) -> None:
    """Pack settings, versions, seeds, numbers and hashes of a run into an entry."""
    from swarmproof.board import entry
    from swarmproof.records.folder import write_json

    found = entry.pack(run)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, found)
    print(f"{len(found['trials'])} trials in {out}")


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="An entry.")],
    seed: Annotated[
        int | None, typer.Option(help="The seed to run.", show_default="the entry's first")
    ] = None,
    jobs: Jobs = None,
    quiet: Quiet = False,
) -> None:
    """Run one seed of an entry again: reproduced, agrees or claimed (exit code 1)."""
    from swarmproof.board import checking, entry

    found = entry.read(file)
    chosen = checking.seed_of(found, seed)
    steps.check(found.config)
    place = choose("local", None, jobs)
    with tempfile.TemporaryDirectory(prefix="swarmproof-board-") as folder:
        trials = checking.trials(found, chosen, Path(folder))
        steps.run_trials(trials, place=place, resume=False, quiet=quiet)
        result = checking.compare(found, trials)
    print(f"{result.word}: {found.experiment.name}, seed {chosen}, {len(trials)} trials")
    for reason in result.reasons:
        print(f"  {reason}")
    if result.word == "claimed":
        raise typer.Exit(_UNCONFIRMED)
