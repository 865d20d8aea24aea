"""What a report says: of one run, or of several side by side.

Several runs become one, whose arms are called `FOLDER: ARM`. Everything that compares arms or reads
a config is computed for each run by itself before that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarmproof.records.run import Run
from swarmproof.report import beginnings, expectation, states
from swarmproof.report.headline import headline


@dataclass(frozen=True, slots=True)
class Contents:
    """A run with all the words about it."""

    run: Run
    title: str
    states: Mapping[str, str]  # arm -> how far it is if unfinished, else empty
    notes: Sequence[str]  # what the nodes start from, changed settings, the file's expectation
    headline: Mapping[str, str]  # arm -> what was measured
    configs: Mapping[str, Any]  # as they were written, by the name of the run


def of_run(run: Run) -> Contents:
    """The report of one run."""
    told = states.of_arms(run)
    return Contents(
        run=run,
        title=run.config.get("title") or run.summary["experiment"],
        states=told,
        notes=[*beginnings.notes(run), *expectation.notes(run.config, told)],
        headline=headline(run.summary, run.config, told),
        configs={run.summary["experiment"]: run.config},
    )


def of_runs(runs: Mapping[str, Run]) -> Contents:
    """The report of several runs by name; of a single one, the same as `of_run`."""
    if len(runs) == 1:
        return of_run(next(iter(runs.values())))
    parts = {name: of_run(run) for name, run in runs.items()}
    return Contents(
        run=_merged(runs),
        title=", ".join(parts),
        states=_named({name: part.states for name, part in parts.items()}),
        notes=[
            f"{name}: {note}"
            for name, part in parts.items()
            for note in (f"{part.title}.", *part.notes)
        ],
        headline=_named({name: part.headline for name, part in parts.items()}),
        configs={name: run.config for name, run in runs.items()},
    )


def names(paths: Sequence[Path]) -> list[str]:
    """A name for each folder: its own, with as many of its parents as tell it from the others.

    Raises:
        ValueError: a folder is given twice.
    """
    parts = [path.resolve().parts for path in paths]
    for i, path in enumerate(paths):
        if parts[i] in parts[:i]:
            raise ValueError(f"{path} is given twice; name each run folder once")
    for depth in range(1, max(map(len, parts)) + 1):
        found = ["/".join(part[-depth:]) for part in parts]
        if len(set(found)) == len(found):
            return found
    raise AssertionError("different paths have different parts")


def _merged(runs: Mapping[str, Run]) -> Run:
    import pandas as pd

    def joined(frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
        return pd.concat(
            [
                frame.assign(arm=f"{name}: " + frame["arm"].astype(str))
                for name, frame in frames.items()
            ],
            ignore_index=True,
        )

    title = ", ".join(runs)
    arms = _named({name: run.summary["arms"] for name, run in runs.items()})
    trials = _named({name: run.config["arms"] for name, run in runs.items()})
    seeds = sorted({seed for run in runs.values() for seed in run.config["seeds"]})
    return Run(
        Path(title),
        {"experiment": title, "claim": "", "arms": arms},
        {"name": title, "title": title, "claim": "", "seeds": seeds, "arms": trials},
        rounds=joined({name: run.rounds for name, run in runs.items()}),
        completions=joined({name: run.completions for name, run in runs.items()}),
        timings=joined({name: run.timings for name, run in runs.items()}),
    )


def _named(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        f"{name}: {arm}": value for name, table in tables.items() for arm, value in table.items()
    }
