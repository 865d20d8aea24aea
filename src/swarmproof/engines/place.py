"""Where trials run: in this process, in processes of this machine, or on a Ray cluster.

Knows how an engine is chosen and started; no command and no display.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from swarmproof.engines.carrying import Carried
from swarmproof.registry import did_you_mean

if TYPE_CHECKING:
    from swarmproof.engines.events import OnEvent
    from swarmproof.swarm.trial import Trial

ENGINES = ("local", "ray")


class RunTrials(Protocol):
    """Runs trials on an engine that was started."""

    def __call__(self, trials: Sequence[Trial], *, resume: bool, on_event: OnEvent) -> None: ...


@dataclass(frozen=True, slots=True)
class Place:
    """An engine that can work."""

    engine: str
    address: str | None
    jobs: int | None  # trials at once; 0: in this process; None: the engine decides

    @property
    def in_this_process(self) -> bool:
        return self.jobs == 0


def choose(engine: str, address: str | None, jobs: int | None) -> Place:
    """Check a choice of engine before anything is written.

    Raises:
        ValueError: the engine is unknown, it has no address, Ray is not installed, or its cluster
            does not answer.
    """
    if engine not in ENGINES:
        raise ValueError(f"--engine {engine!r}{did_you_mean(engine, ENGINES)}")
    if jobs is not None and jobs < 0:
        raise ValueError(f"jobs is {jobs}; give 1 or more, or 0 to run in this process")
    if engine == "ray":
        if jobs == 0:
            raise ValueError("with the engine ray, jobs must be at least 1, or left out")
        from swarmproof.engines import on_ray

        on_ray.require(address)
    elif address is not None:
        raise ValueError("--address is for a Ray cluster; add --engine ray, or leave it out")
    return Place(engine, address, jobs)


@contextmanager
def started(place: Place, trials: Sequence[Trial]) -> Iterator[tuple[RunTrials, int]]:
    """Start the engine for the time of the context.

    Yields:
        what runs the trials, and how many of them run at once.

    Raises:
        ValueError: the engine's processes cannot know a plug-in that the trials use.
    """
    carried = Carried.of(trial.config for trial in trials)
    if place.engine == "ray":
        from swarmproof.engines import on_ray, ray_nodes

        with on_ray.connected(place.address):
            # Without --jobs Ray gets all trials, so that a cluster that grows takes more.
            play = carried.play if carried.plugins else None
            run = functools.partial(on_ray.run_trials, jobs=place.jobs, play=play)
            yield run, min(ray_nodes.room(trials), place.jobs or len(trials))
    elif place.in_this_process:
        from swarmproof.engines import here

        yield here.run_trials, 1
    else:
        from swarmproof.engines import local

        # Two trials rarely fit on one GPU.
        on_gpu = any(trial.config.model.device != "cpu" for trial in trials)
        jobs = place.jobs or (1 if on_gpu else local.default_jobs(len(trials)))
        work = carried.run if carried.plugins else None
        yield functools.partial(local.run_trials, jobs=jobs, run_trial=work), jobs
