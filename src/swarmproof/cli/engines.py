"""Where the trials of a command run, and what is shown meanwhile. Knows no command."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from swarmproof.registry import did_you_mean

if TYPE_CHECKING:
    from swarmproof.engines.events import OnEvent
    from swarmproof.swarm.trial import Trial

ENGINES = ("local", "ray")

Engine = Annotated[str, typer.Option(metavar="[local|ray]", help="This machine, or a Ray cluster.")]
Address = Annotated[
    str | None,
    typer.Option(help="HOST:PORT of the Ray cluster.  [default: one on this machine]"),
]
Jobs = Annotated[
    int | None,
    typer.Option(min=1, help="Trials at once.  [default: by the cores, or by the cluster]"),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]


class _RunTrials(Protocol):
    def __call__(self, trials: Sequence[Trial], *, resume: bool, on_event: OnEvent) -> None: ...


@dataclass(frozen=True, slots=True)
class Place:
    """A choice of engine that can work."""

    engine: str
    address: str | None
    jobs: int | None  # by the engine if None


def choose(engine: str, address: str | None, jobs: int | None) -> Place:
    """Find what would stop the engine, before anything is written.

    Raises:
        ValueError: no such engine, an address for one that has none, Ray is not installed, or its
            cluster does not answer.
    """
    if engine not in ENGINES:
        raise ValueError(f"--engine {engine!r}{did_you_mean(engine, ENGINES)}")
    if engine == "ray":
        from swarmproof.engines import on_ray

        on_ray.require(address)
    elif address is not None:
        raise ValueError("--address is of a Ray cluster; give --engine ray too, or leave it out")
    return Place(engine, address, jobs)


def run_all(
    trials: Sequence[Trial],
    *,
    place: Place,
    resume: bool,
    quiet: bool,
    wrap: Callable[[OnEvent], OnEvent] = lambda on_event: on_event,
) -> None:
    """Run trials and show it; `wrap` puts something of its own around what shows an event."""
    # Ray takes many seconds to start; for nothing, where all is done.
    if not trials:
        return
    from rich.console import Console

    from swarmproof.report.progress import Progress

    with (
        _started(place, trials) as (run, at_once),
        Progress(trials, jobs=at_once, console=Console(), quiet=quiet) as progress,
    ):
        run(trials, resume=resume, on_event=wrap(progress.on_event))


@contextmanager
def _started(place: Place, trials: Sequence[Trial]) -> Iterator[tuple[_RunTrials, int]]:
    """The engine, ready to run within the context, and how many trials it will run at once."""
    if place.engine == "ray":
        from swarmproof.engines import on_ray

        with on_ray.connected(place.address):
            # Without --jobs all are handed over, so that a cluster that grows takes more.
            run = functools.partial(on_ray.run_trials, jobs=place.jobs)
            yield run, min(on_ray.room(trials), place.jobs or len(trials))
        return
    from swarmproof.engines import local

    # Two trials rarely fit on one GPU.
    on_gpu = any(trial.config.model.device != "cpu" for trial in trials)
    jobs = place.jobs or (1 if on_gpu else local.default_jobs(len(trials)))
    yield functools.partial(local.run_trials, jobs=jobs), jobs
