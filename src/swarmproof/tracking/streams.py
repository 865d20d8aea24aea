"""The trackers, and how a trial is opened in each. Their packages are imported on first use.

Knows the interfaces of the trackers, but not when a round is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from swarmproof.registry import did_you_mean


@dataclass(frozen=True, slots=True)
class Subject:
    """What a tracker is told about a trial."""

    experiment: str
    run: Path  # the run folder
    run_key: str  # tells runs in folders of the same name apart
    arm: str
    seed: int
    config: Mapping[str, Any]
    first_round: int  # of this process; an earlier one may have sent it and more

    @property
    def group(self) -> str:
        """A name for the run, the same when it is resumed."""
        return f"{self.run.resolve().name}-{self.run_key}"

    @property
    def name(self) -> str:
        """A name for the trial, the same when it is resumed."""
        return f"{self.group}-{self.arm}-seed-{self.seed}"


class Stream(Protocol):
    """A trial that is open at a tracker."""

    def log(self, round: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class _TensorBoard:
    """Event files in `RUN/tensorboard/ARM/seed-N`."""

    def __init__(self, subject: Subject) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        folder = subject.run / "tensorboard" / subject.arm / f"seed-{subject.seed}"
        # Its reader then drops the rounds that an earlier process had sent and lost.
        self._writer = SummaryWriter(folder, purge_step=subject.first_round)

    def log(self, round: int, values: Mapping[str, float]) -> None:
        for key, value in values.items():
            self._writer.add_scalar(key, value, round)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class _Trackio:
    """A run in trackio's local database; its environment variables say where that is."""

    def __init__(self, subject: Subject) -> None:
        import trackio
        from trackio.sqlite_storage import SQLiteStorage

        # Rounds that are played again have the same numbers, and would be there twice.
        sent = SQLiteStorage.get_max_step_for_run(subject.experiment, subject.name)
        self._next = 0 if sent is None else sent + 1
        self._run = trackio.init(
            project=subject.experiment,
            name=subject.name,
            group=subject.group,
            config={"arm": subject.arm, "seed": subject.seed, **subject.config},
            resume="allow",
        )

    def log(self, round: int, values: Mapping[str, float]) -> None:
        if round >= self._next:
            self._run.log(dict(values), step=round)

    def close(self) -> None:
        self._run.finish()


class _Wandb:
    """A W&B run; its environment variables say where to, and whether offline."""

    def __init__(self, subject: Subject) -> None:
        import wandb

        self._run = wandb.init(
            project=subject.experiment,
            id=subject.name,
            name=subject.name,
            group=subject.group,
            config={"arm": subject.arm, "seed": subject.seed, **subject.config},
            dir=subject.run,
            resume="allow",
            reinit="create_new",  # several trials are open at once
            settings=wandb.Settings(console="off", quiet=True),
        )

    def log(self, round: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=round)

    def close(self) -> None:
        self._run.finish()


OPEN: dict[str, Callable[[Subject], Stream]] = {
    "tensorboard": _TensorBoard,
    "trackio": _Trackio,
    "wandb": _Wandb,
}


def require(names: Iterable[str]) -> tuple[str, ...]:
    """The names, each once, if their packages are installed.

    Raises:
        ValueError: a tracker is unknown, or its package is missing; names the remedy.
    """
    found = tuple(dict.fromkeys(names))
    for name in found:
        if name not in OPEN:
            raise ValueError(f"--track {name!r:.60}{did_you_mean(name[:60], OPEN)}")
        if find_spec(name) is None:
            raise ValueError(
                f"--track {name} needs the package {name}; pip install 'swarmproof[{name}]'"
            )
    return found
