"""The Python API to run an experiment, for example in a notebook. `swarmproof.run` is this `run`.

Imports neither torch nor pandas until a run is started. The steps of a run are in `steps.py`.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swarmproof import steps
from swarmproof.engines import carrying

if TYPE_CHECKING:
    from swarmproof.records.run import Run


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
    track: str | Sequence[str] = (),
) -> Run:
    """Run an experiment: every arm with every seed.

    A script must call this under `if __name__ == "__main__":`, as the trials' processes import it.
    `jobs=0` needs no such line: the trials run here, one after another. Use it for plug-ins that
    are defined in a notebook, and for a debugger. For example:

        found = swarmproof.run("text-horizontal", arms=["attack", "logit"], seeds=3,
                               set={"rounds": 30, "attack.phrase": "Trust me"})
        found.table()[["asr", "asr_low", "asr_high"]]

    Args:
        experiment: a shipped one (`swarmproof list experiments`), or a path that ends in .toml.
        arms: run only these; all if None.
        set: settings that override those of every arm (docs/settings.md); keys may have dots.
        seeds: number of seeds (3 is 0, 1 and 2), or a list of seeds; those of the file if None.
        out: the run folder; `runs/EXPERIMENT-N` with the next free number if None.
        resume: continue the run in `out`, or the latest one of this experiment.
        jobs: number of parallel trials; 0: in this process; None: one per core.
        quiet: print nothing.
        engine, address: `local` (this machine), or `ray` and HOST:PORT of its cluster.
        track: also send each round to these: `tensorboard`, `trackio`, `wandb`.

    Raises:
        ValueError, OSError: a setting, the data, a model or the folder is wrong (one line with the
            remedy), or the machine failed.
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
        track=(track,) if isinstance(track, str) else track,
    )
    steps.require_processes(plan)
    steps.execute(plan, quiet=quiet, on_start=_silent if quiet else _announce)
    return _load(plan.folder)


def _load(folder: Path) -> Run:
    from swarmproof.records.run import load_run

    return load_run(folder)


def _seeds(seeds: int | Sequence[int] | None) -> tuple[int, ...] | None:
    if isinstance(seeds, bool):
        raise ValueError(f"seeds is {seeds}; give a number (3), or a list of seeds ([0, 5])")  # noqa: TRY004
    if isinstance(seeds, int):
        return steps.first_seeds(seeds)
    # `index` also accepts NumPy integers.
    return None if seeds is None else tuple(map(operator.index, seeds))


def _announce(plan: steps.RunPlan) -> None:
    print(plan.heading)


def _silent(_: steps.RunPlan) -> None:
    pass
