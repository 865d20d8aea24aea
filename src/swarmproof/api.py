"""The Python API: run an experiment, and look at a run. Both as a notebook wants it.

`import swarmproof` gives `run`, `load_run` and `Run` from here. Imports neither torch nor pandas
until a run is started or read. The steps of a run are in `steps.py`.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swarmproof import steps
from swarmproof.engines import carrying

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
        """Whether every trial has played all its rounds."""
        return bool(self.table()["finished"].all())

    def table(self) -> pd.DataFrame:
        """The final values, one row per arm, with 95 % intervals as `…_low` and `…_high`.

        Columns (the index is the arm; a value that is not there is NaN):

        - `seeds`, `rounds`: how many seeds have started, and the rounds that the longest has done;
        - `finished`: every seed has done all its rounds;
        - `asr`: attack success, a share, or a ratio to the first round where `asr_unit` is
          `ratio`; `asr_wide` by the attack's wider measure, where it has one;
        - `accuracy_first`, `accuracy`: mean reward of the honest nodes, first and final;
        - `length_first`, `length`: their mean length in tokens;
        - `heldout_accuracy`, `heldout_asr`: on held-out problems;
        - `poisoned`, `poisoned_refused`: how many completions came from malicious nodes, and the
          share of them that was refused; `honest`, `honest_refused`: the same for honest nodes;
        - `seconds`: wall time of a trial.

        A final value is the mean over the last 10 rounds. Its interval is over seeds, or over
        those rounds if there is one seed.
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
        if found is None:  # no round was played
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
) -> dict[str, float | None]:
    low, high = ends
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def load_run(path: str | os.PathLike[str], *, with_completions: bool = True) -> Run:
    """Read a run folder, finished or not.

    Plug-ins that the run used need not be installed. The torn tail that a killed process leaves
    in a file is not read.

    Args:
        path: the run folder.
        with_completions: read the completions too, which takes most of the time; without them
            their frame is empty.

    Raises:
        ValueError: `path` is not a run folder, it has no summary yet, or a file is damaged.
    """
    from swarmproof.records import folder

    path = Path(path)
    found = folder.load_run(path, with_completions=with_completions)
    return Run(path, found.summary, found.config, found.rounds, found.completions, found.timings)


def run(
    experiment: str | os.PathLike[str] = "text-horizontal",
    arms: str | Sequence[str] | None = None,
    set: Mapping[str, Any] | None = None,
    seeds: int | Sequence[int] | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    jobs: int | None = None,
    *,
    quiet: bool = False,
    engine: str = "local",
    address: str | None = None,
) -> Run:
    """Run an experiment: every arm with every seed.

    A script must call this under `if __name__ == "__main__":`, as the trials' processes import
    the script. `jobs=0` needs no such line and no process: the trials run here, one after another.
    Use it for plug-ins that are defined in a notebook, and for a debugger.

    For example:

        found = swarmproof.run("text-horizontal", arms=["attack", "logit"], seeds=3,
                               set={"rounds": 30, "attack.phrase": "Trust me"})
        found.table()[["asr", "asr_low", "asr_high"]]

    Args:
        experiment: a shipped one (`swarmproof list experiments`), or a path that ends in .toml.
        arms: run only these; all if None.
        set: settings laid on every arm, with dotted keys or nested tables, or both; see
            docs/settings.md.
        seeds: how many (3 is 0, 1 and 2), or a list of which; those of the file if None.
        out: the run folder; `runs/EXPERIMENT-N` with the next free number if None.
        resume: continue the run in `out`, or the latest one of this experiment.
        jobs: trials at once; 0: in this process; None: as many as there are cores.
        quiet: print nothing.
        engine: `local` (this machine) or `ray`.
        address: HOST:PORT of a Ray cluster.

    Raises:
        ValueError: a setting, the data, a model or the folder is wrong; one line with the remedy.
        OSError: the machine failed, for example because the disk is full.
    """
    if jobs != 0:
        carrying.refuse_in_a_child_that_imports_main()
    plan = steps.prepare(
        os.fspath(experiment),
        arms=(arms,) if isinstance(arms, str) else arms or (),
        overrides=set or {},
        seeds=_seeds(seeds),
        out=None if out is None else Path(out),
        resume=resume,
        engine=engine,
        address=address,
        jobs=jobs,
    )
    steps.require_processes(plan)
    steps.execute(plan, quiet=quiet, on_start=_silent if quiet else _announce)
    return load_run(plan.folder)


def _seeds(seeds: int | Sequence[int] | None) -> tuple[int, ...] | None:
    if isinstance(seeds, bool):
        raise ValueError(f"seeds is {seeds}; give how many (3), or a list of which ([0, 5])")  # noqa: TRY004
    if isinstance(seeds, int):
        return steps.first_seeds(seeds)
    # `index`: NumPy's integers too.
    return None if seeds is None else tuple(map(operator.index, seeds))


def _announce(plan: steps.Plan) -> None:
    print(f"{plan.config.name} in {plan.folder}")


def _silent(_: steps.Plan) -> None:
    pass
