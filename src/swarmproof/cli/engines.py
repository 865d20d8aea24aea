"""Where the trials of a command run, and what is shown meanwhile. Knows no command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from swarmproof.registry import did_you_mean

if TYPE_CHECKING:
    from swarmproof.engines.events import OnEvent
    from swarmproof.experiment import Trial

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
    run = _on_ray if place.engine == "ray" else _on_this_machine
    # Ray takes many seconds to start; for nothing, where all is done.
    if trials:
        run(trials, place, resume, quiet, wrap)


def _on_this_machine(
    trials: Sequence[Trial],
    place: Place,
    resume: bool,
    quiet: bool,
    wrap: Callable[[OnEvent], OnEvent],
) -> None:
    from rich.console import Console

    from swarmproof.engines.local import default_jobs, run_trials
    from swarmproof.report.progress import Progress

    # Two trials rarely fit on one GPU.
    on_gpu = any(trial.config.model.device != "cpu" for trial in trials)
    jobs = place.jobs or (1 if on_gpu else default_jobs(len(trials)))
    with Progress(trials, jobs=jobs, console=Console(), quiet=quiet) as progress:
        run_trials(trials, jobs=jobs, resume=resume, on_event=wrap(progress.on_event))


def _on_ray(
    trials: Sequence[Trial],
    place: Place,
    resume: bool,
    quiet: bool,
    wrap: Callable[[OnEvent], OnEvent],
) -> None:
    from rich.console import Console

    from swarmproof.engines import on_ray
    from swarmproof.report.progress import Progress

    with on_ray.connected(place.address):
        at_once = min(on_ray.room(trials), place.jobs or len(trials))
        with Progress(trials, jobs=at_once, console=Console(), quiet=quiet) as progress:
            on_event = wrap(progress.on_event)
            on_ray.run_trials(trials, jobs=place.jobs, resume=resume, on_event=on_event)
