"""A run folder in memory: data frames for a notebook, and a table of the results."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swarmproof.config import cohorts, quote
from swarmproof.records import summary
from swarmproof.records.folder import CONFIG, trial_folder
from swarmproof.records.shapes import read_config, read_summary
from swarmproof.records.streams import (
    COMPLETION_KEYS,
    as_row,
    read_completions,
    read_rounds,
    read_timings,
)
from swarmproof.types import RoundRecord

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Run:
    """A run folder, read into memory. `docs/metrics.md` explains every number."""

    path: Path
    summary: dict[str, Any]  # summary.json
    config: dict[str, Any]  # config.json
    rounds: pd.DataFrame  # one row per arm, seed, round and cohort
    completions: pd.DataFrame  # one row per completion
    timings: pd.DataFrame  # one row per arm, seed, round and step

    def __repr__(self) -> str:
        """One line: experiment, arms, seeds, rounds, finished or not, folder."""
        planned = sorted({arm["rounds"] for arm in self.config["arms"].values()})
        rounds = " or ".join(map(str, planned))
        num_trials = len(self.config["arms"]) * len(self.config["seeds"])
        done = sum(self._num_finished(arm) for arm in self.config["arms"])
        state = "finished" if done == num_trials else f"{done} of {num_trials} trials finished"
        return (
            f"Run({self.config['name']}, arms {', '.join(self.config['arms'])}, "
            f"seeds {', '.join(map(str, self.config['seeds']))}, {rounds} rounds, {state}, "
            f"in {self.path})"
        )

    @property
    def finished(self) -> bool:
        """Whether every trial has completed all its rounds."""
        return bool(self.table()["finished"].all())

    def table(self) -> pd.DataFrame:
        """The final values, one row per arm, with 95 % intervals as `…_low` and `…_high`.

        Columns (the index is the arm; a missing value is NaN):

        - `seeds`, `rounds`: number of seeds that have started, and most rounds done by any seed;
        - `finished`: every seed has done all its rounds;
        - `asr`: attack success, a share, or a ratio to the first round where `asr_unit` is
          `ratio`; `asr_wide` by the attack's wider measure, where it has one;
        - `accuracy_first`, `accuracy`: mean reward of the honest nodes, first and final;
        - `length_first`, `length`: their mean length in tokens;
        - `heldout_accuracy`, `heldout_asr`: on held-out problems;
        - `poisoned`, `poisoned_refused`: how many completions came from malicious nodes, and the
          share of them that was refused; `honest`, `honest_refused`: the same for honest nodes;
        - `seconds`: wall time of a trial.

        A final value is the mean over the last 10 rounds. Its interval is over seeds; with one
        seed there is none.
        """
        import pandas as pd

        rows = {arm: self._row(arm) for arm in self.config["arms"]}
        table = pd.DataFrame.from_dict(rows, orient="index", columns=list(_columns()))
        return table.rename_axis("arm")

    def _num_finished(self, arm: str) -> int:
        found = self.summary["arms"].get(arm)
        return len(found["seeds"]) - len(found["unfinished_seeds"]) if found else 0

    def _row(self, arm: str) -> dict[str, Any]:
        found = self.summary["arms"].get(arm)
        if found is None:  # no round was completed
            return {"seeds": 0, "rounds": 0, "finished": False}
        row: dict[str, Any] = {
            "seeds": len(found["seeds"]),
            "rounds": found["rounds"],
            "finished": self._num_finished(arm) == len(self.config["seeds"]),
            "asr_unit": found["asr"].get("unit", "share"),
            "accuracy_first": found["accuracy"]["first"],
            "length_first": found["length"]["first"],
            "seconds": found["seconds"],
        }
        for name, metric in (
            ("asr", found["asr"]),
            ("asr_wide", found.get("asr_wide")),
            ("accuracy", found["accuracy"]),
            ("length", found["length"]),
            ("heldout_accuracy", found["heldout"]["accuracy"]),
            ("heldout_asr", found["heldout"]["asr"]),
        ):
            if metric is not None:
                row |= _with_interval(name, metric["final"], metric["ci95"])
        for who in ("poisoned", "honest"):
            refused = found["refused"][who]
            row[who] = refused["of"]
            row |= _with_interval(f"{who}_refused", refused["rate"], refused["ci95"])
        return row


def _columns() -> Sequence[str]:
    def interval(name: str) -> tuple[str, ...]:
        return tuple(_with_interval(name, None, (None, None)))

    return (
        *("seeds", "rounds", "finished"),
        *interval("asr"),
        "asr_unit",
        *interval("asr_wide"),
        *("accuracy_first", *interval("accuracy")),
        *("length_first", *interval("length")),
        *interval("heldout_accuracy"),
        *interval("heldout_asr"),
        *("poisoned", *interval("poisoned_refused")),
        *("honest", *interval("honest_refused")),
        "seconds",
    )


def _with_interval(
    name: str, value: float | None, ends: Sequence[float | None]
) -> dict[str, float]:
    values = {name: value, f"{name}_low": ends[0], f"{name}_high": ends[1]}
    return {key: math.nan if number is None else number for key, number in values.items()}


def load_run(path: str | os.PathLike[str], *, with_completions: bool = True) -> Run:
    """Read a run folder, finished or not, into data frames.

    The incomplete end of a stream after a killed process is ignored. Plug-ins need not be
    installed: the config is returned as it was written.

    Args:
        with_completions: False leaves their frame empty; reading them takes most of the time.

    Raises:
        ValueError: not a run folder, no summary yet, or a file is damaged; names the remedy.
    """
    import pandas as pd

    path = Path(path)
    config, found = read_config(path), read_summary(path)
    rounds: list[dict[str, Any]] = []
    completions: list[dict[str, Any]] = []
    timings: list[dict[str, Any]] = []
    for arm, trial in config["arms"].items():
        nodes = {members.name: len(members.nodes) for members in cohorts.of_trial(trial)}
        for seed in config["seeds"]:
            folder = trial_folder(path, arm, seed)
            at = {"arm": arm, "seed": seed}
            records = read_rounds(folder)
            if unknown := {r.cohort for r in records} - nodes.keys():
                raise ValueError(
                    f"{folder} has rounds of {quote(min(unknown))}, and {path / CONFIG} has no "
                    "such model; put back a copy of that file, or make the run again"
                )
            # Taken from the summary, because the attack's plug-in may not be installed.
            told = found["arms"].get(arm, {}).get("asr", {})
            if told.get("unit") == "ratio":
                records = summary.length_growth(records)
            rounds += [at | as_row(r) | {"nodes": nodes[r.cohort]} for r in records]
            if with_completions:
                completions += [at | row for row in read_completions(folder)]
            for row in read_timings(folder):
                start = at | {"round": row["round"], "cohort": row["cohort"]}
                timings += [
                    start | {"step": step, "seconds": seconds, "cpu_seconds": row["cpu"][step]}
                    for step, seconds in row["seconds"].items()
                ]
    columns = ["arm", "seed", "round", "cohort"]
    return Run(
        path,
        found,
        config,
        rounds=pd.DataFrame(
            rounds, columns=[*columns[:2], *(f.name for f in fields(RoundRecord)), "nodes"]
        ),
        completions=pd.DataFrame(completions, columns=[*columns[:2], *COMPLETION_KEYS]),
        timings=pd.DataFrame(timings, columns=[*columns, "step", "seconds", "cpu_seconds"]),
    )
