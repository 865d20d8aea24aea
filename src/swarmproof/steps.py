"""The steps of a run, from a name to a run folder. The command line and the Python API share them.

Knows the order of the steps, but not their implementation. Imports nothing slow, so that a mistake
is reported at once.
"""

from __future__ import annotations

import multiprocessing
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swarmproof.config import MAX_SEEDS, ExperimentConfig, TrialConfig, load
from swarmproof.engines import capacity, carrying
from swarmproof.engines.place import Place, choose, started
from swarmproof.tracking.streams import require

if TYPE_CHECKING:
    from swarmproof.engines.events import OnEvent
    from swarmproof.engines.joining import Membership
    from swarmproof.records.folder import RunFolder
    from swarmproof.swarm.trial import Trial


@dataclass(frozen=True, slots=True)
class RunPlan:
    """A run that was checked and can start. Nothing has been written yet."""

    config: ExperimentConfig
    folder: Path
    place: Place
    resume: bool
    track: tuple[str, ...] = ()  # names of trackers
    latest: bool = False  # the folder was not named: the latest run of this experiment

    @property
    def heading(self) -> str:
        """One line: what is run, and where."""
        if not self.resume:
            return f"{self.config.name} in {self.folder}"
        which = ", its latest run (--out names another)" if self.latest else ""
        return f"resuming {self.config.name} in {self.folder}{which}"


def prepare(
    experiment: str,
    *,
    arms: Iterable[str] = (),
    overrides: Iterable[str] | Mapping[str, Any] = (),
    seeds: tuple[int, ...] | None = None,
    out: Path | None = None,
    resume: bool = False,
    engine: str = "local",
    address: str | None = None,
    jobs: int | None = None,
    track: Iterable[str] = (),
) -> RunPlan:
    """Read an experiment and check everything that can be checked without a model.

    Raises:
        ValueError: one line that names the mistake and the remedy.
    """
    if resume and out is not None and not out.is_dir():
        raise ValueError(f"there is no folder {out} to resume; leave out --resume to start a run")
    config = load(experiment, arms=arms, overrides=overrides, seeds=seeds)
    trackers = require(track)
    check(config)
    place = choose(engine, address, jobs)
    folder = out or default_folder(config, resume=resume)
    trials = [arm for arm in config.arms.values() for _ in config.seeds]
    capacity.require(trials, folder, place, resume=resume)
    return RunPlan(config, folder, place, resume, trackers, latest=resume and out is None)


def check(config: ExperimentConfig) -> None:
    """Check every arm: its plug-ins, its data, and that its models can be loaded.

    Raises:
        ValueError: one line that starts with the arm.
    """
    from swarmproof.swarm.assembly import check
    from swarmproof.zoo import hub

    for name, trial in config.arms.items():
        try:
            check(trial)
            for members in trial.cohorts:
                hub.reach(members.path, trial.models_key)
        except ValueError as error:
            raise ValueError(f"arm {name}: {error}") from None


def default_folder(config: ExperimentConfig, *, resume: bool) -> Path:
    """`runs/<experiment>-<n>`: the first free n, or the latest run when resuming.

    Raises:
        ValueError: there is no run to resume.
    """
    stem = re.sub(r"[^\w.-]+", "-", config.name)
    numbers = {
        int(path.name.removeprefix(f"{stem}-"))
        for path in Path("runs").glob(f"{stem}-*")
        if path.name.removeprefix(f"{stem}-").isdecimal()
    }
    if not resume:
        return Path("runs") / f"{stem}-{max(numbers, default=0) + 1}"
    if not numbers:
        raise ValueError(f"runs/ has no run of {config.name} to resume; leave out --resume")
    return Path("runs") / f"{stem}-{max(numbers)}"


def first_seeds(count: int) -> tuple[int, ...]:
    """0, 1, … `count` - 1.

    Raises:
        ValueError: `count` is less than 1 or too large.
    """
    if not 1 <= count <= MAX_SEEDS:
        raise ValueError(f"seeds: give a number from 1 to {MAX_SEEDS}, or a list of seeds")
    return tuple(range(count))


def require_processes(plan: RunPlan) -> None:
    """Check that the trials' processes can find all plug-ins. Commands do not need this check.

    Raises:
        ValueError: the caller is a script that would start itself again and again, or a plug-in
            is registered in this process only.
    """
    if plan.place.in_this_process:
        return
    if multiprocessing.current_process().daemon:
        raise ValueError(
            "this process may not start others, because it is a multiprocessing daemon; give "
            "jobs=0 to run the trials in it"
        )
    carried = carrying.Carried.of(plan.config.arms.values())
    local = plan.place.engine == "local"
    again = local and carrying.main_is_run_again()
    carried.require(main_is_run_again=again)
    if again:
        carrying.probe(carried)


def execute(
    plan: RunPlan,
    *,
    quiet: bool,
    on_start: Callable[[RunPlan], None] = lambda _: None,
    warn: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
) -> None:
    """Run every trial of a plan and write the summary.

    Args:
        quiet: show no progress.
        on_start: called when the folder exists and this process has locked it.
        warn: receives one line about a tracker that failed.

    Raises:
        ValueError, OSError: one line with the remedy; files written before stay valid.
        KeyboardInterrupt: the run was interrupted; it can be resumed.
    """
    from swarmproof.records.folder import CONFIG, RunFolder
    from swarmproof.records.shapes import read_config
    from swarmproof.tracking.following import following

    if plan.resume and (plan.folder / CONFIG).exists():
        read_config(plan.folder)  # damage is named before settings are compared
    folder = RunFolder.create(plan.folder, plan.config, resume=plan.resume)
    try:
        on_start(plan)
        warm_up(plan.config.arms.values(), plan.place, quiet=quiet)
        with following(plan.track, plan.folder, warn) as wrap:
            run_trials(
                _trials(folder), place=plan.place, resume=plan.resume, quiet=quiet, wrap=wrap
            )
        folder.write_summary()
    finally:
        folder.close()


def warm_up(configs: Iterable[TrialConfig], place: Place, *, quiet: bool) -> bool:
    """Make the warmed-up models of some trials, once for all of them; whether there are any.

    On a cluster there are none: each machine makes its own, and the parts of a trial compare them.
    """
    configs = list(configs)
    if not quiet and (note := capacity.slow(configs, place)):
        print(note, file=sys.stderr)
    warm = [config for config in configs if config.warmup.in_use and place.engine == "local"]
    if warm:
        from swarmproof.swarm import warmup

        warmup.prepare(warm, (lambda _: None) if quiet else (lambda line: print(line, flush=True)))
    return bool(warm)


def execute_nodes(
    plan: RunPlan, *, quiet: bool, on_start: Callable[[RunPlan], None] = lambda _: None
) -> None:
    """Run every trial of a plan by a process for each node, one trial after another.

    Args:
        quiet: show no progress.
        on_start: called when the folder exists and this process has locked it.

    Raises:
        ValueError, OSError: one line with the remedy; files written before stay valid.
        KeyboardInterrupt: the run was interrupted; it can be resumed.
    """
    from rich.console import Console

    from swarmproof.engines import nodes
    from swarmproof.records.folder import RunFolder
    from swarmproof.report.progress import Progress

    for name, trial in plan.config.arms.items():
        try:
            nodes.check(trial)
        except ValueError as error:
            raise ValueError(f"arm {name}: {error}") from None
    folder = RunFolder.create(plan.folder, plan.config, resume=plan.resume)
    try:
        on_start(plan)
        swarms = [nodes.NodeTrials.of(trial, folder.path / "nodes") for trial in _trials(folder)]
        shown = [trial for swarm in swarms for trial in swarm.nodes]
        jobs = max(len(swarm.nodes) for swarm in swarms)
        with Progress(shown, jobs=jobs, console=Console(), quiet=quiet) as progress:
            for swarm in swarms:
                nodes.run_swarm(swarm, resume=plan.resume, on_event=progress.on_event)
        folder.write_summary()
    finally:
        folder.close()


def execute_node(
    membership: Membership, number: int, path: Path, links: dict[str, Any], *, quiet: bool
) -> None:
    """Take part in a swarm as one node, or continue to.

    Args:
        membership: the swarm.
        number: of the node.
        path: its run folder.
        links: where it listens, which peers it knows, its key.
        quiet: show no progress.

    Raises:
        ValueError, OSError: one line with the remedy; files written before stay valid.
        KeyboardInterrupt: the same call continues.
    """
    from swarmproof.records.folder import RunFolder

    arm, seed = membership.file.arm, membership.file.seed
    folder = RunFolder.create(path, membership.config, resume=True)
    try:
        trial = membership.trial(number, folder.trial_folder(arm, seed), folder.path, links)
        run_trials([trial], place=choose("local", None, 0), resume=True, quiet=quiet)
        folder.write_summary()
    finally:
        folder.close()


def run_trials(
    trials: Sequence[Trial],
    *,
    place: Place,
    resume: bool,
    quiet: bool,
    wrap: Callable[[OnEvent], OnEvent] = lambda on_event: on_event,
) -> None:
    """Run trials and show their progress.

    Args:
        wrap: receives the function that shows an event; returns the function to call instead.
    """
    # Ray takes many seconds to start, so do not start it if there is nothing to run.
    if not trials:
        return
    if resume and place.engine != "ray":
        from swarmproof.engines import by_cohort

        by_cohort.refuse_begun(trials)
    from rich.console import Console

    from swarmproof.report.progress import Progress

    with (
        started(place, trials) as (run, at_once),
        Progress(trials, jobs=at_once, console=Console(), quiet=quiet) as progress,
    ):
        run(trials, resume=resume, on_event=wrap(progress.on_event))


def _trials(folder: RunFolder) -> list[Trial]:
    from swarmproof.swarm.trial import Trial

    config = folder.config
    # Seed by seed, so that a run that is stopped early has complete sets of arms.
    return [
        Trial(config.name, arm, seed, trial, folder.trial_folder(arm, seed))
        for seed in config.seeds
        for arm, trial in config.arms.items()
    ]
