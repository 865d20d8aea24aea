"""A trial in parts, one for each cohort, for workers of their own; and the trial again from them.

The parts exchange the messages of a round in a folder that all workers share, as processes of one
swarm do. So a part that was lost resumes from its checkpoint and finds there what the others have
sent. Each part compares what it starts from with the others. Knows no engine.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from swarmproof.engines.events import Event, Finished, OnEvent, Restarted, RoundDone, Started
from swarmproof.swarm.trial import Trial

if TYPE_CHECKING:
    from swarmproof.types import NodeId

PARTS = "cohorts"  # folder in that of the trial, until the trial is finished

# The exchange's longest. How long a lost part is waited for is the engine's business.
_SECONDS_TO_WAIT = 86_400.0


def parts_of(trial: Trial) -> tuple[Trial, ...]:
    """The trial as each of its cohorts plays it, in their order; empty if it cannot be split.

    Malicious nodes are with the first cohort, whose model they hold. A trial cannot be split if
    its attack reads what honest nodes send in the same round, or if its messages take another way
    than through memory.
    """
    from swarmproof import registry
    from swarmproof.attacks import Attack

    config = trial.config
    if len(config.cohorts) == 1 or config.exchange["name"] != "memory":
        return ()
    if config.swarm.malicious and registry.build(Attack, config.attack).sees_others:
        return ()
    root = trial.folder / PARTS
    exchange = {
        **config.exchange,
        "name": "folder",
        "path": str((root / "exchange").absolute()),
        "deadline": _SECONDS_TO_WAIT,
    }
    names = [f"{place}-{members.name}" for place, members in enumerate(config.cohorts)]
    folders = tuple((root / name).absolute() for name in names)
    shared = config.model_copy(update={"exchange": exchange})
    honest = config.swarm.nodes - config.swarm.malicious
    malicious: tuple[NodeId, ...] = tuple(range(honest, config.swarm.nodes))
    return tuple(
        replace(
            trial,
            arm=f"{trial.arm}, {members.name}",
            config=shared,
            folder=folders[place],
            local=(*members.nodes, *(malicious if place == 0 else ())),
            beside=(*folders[:place], *folders[place + 1 :]),
        )
        for place, members in enumerate(config.cohorts)
    )


def is_whole(trial: Trial) -> bool:
    """Whether the trial has a checkpoint of all its cohorts, so that it resumes in one piece."""
    from swarmproof.swarm.checkpoint import CHECKPOINT

    return (trial.folder / CHECKPOINT).exists()


def is_begun(parts: Sequence[Trial]) -> bool:
    """Whether a part has a checkpoint."""
    return any(is_whole(part) for part in parts)


def refuse_begun(trials: Sequence[Trial]) -> None:
    """Refuse to resume trials in one piece that were begun in parts.

    Raises:
        ValueError: one was; nothing of it would be continued.
    """
    for trial in trials:
        if not is_whole(trial) and is_begun(parts_of(trial)):
            raise ValueError(
                f"{trial.folder} was begun on a Ray cluster with a worker for each model; resume "
                f"it with --engine ray, or delete {trial.folder / PARTS} to start it anew"
            )


def discard(trial: Trial) -> None:
    """Remove what an earlier run left, from which nothing may continue."""
    from swarmproof.swarm.checkpoint import CHECKPOINT

    shutil.rmtree(trial.folder / PARTS, ignore_errors=True)
    (trial.folder / CHECKPOINT).unlink(missing_ok=True)


@dataclass(slots=True)
class Joined:
    """The events of a trial from those of its parts, in the order of a trial in one piece."""

    trial: Trial
    parts: tuple[Trial, ...]
    on_event: OnEvent
    _started: bool = False
    _num_finished: int = 0
    _ahead: dict[str, deque[RoundDone]] = field(default_factory=dict)  # by cohort

    def __call__(self, event: Event) -> None:
        match event:
            case Started():
                if not self._started:
                    self._started = True
                    self.on_event(Started(self.trial))
            case RoundDone():
                self._ahead.setdefault(event.record.cohort, deque()).append(event)
                self._tell_rounds()
            case Restarted():
                self.on_event(Restarted(self.trial, f"{event.trial.arm}: {event.reason}"))
            case Finished():
                self._num_finished += 1
                if self._num_finished == len(self.parts):
                    put_together(self.trial, self.parts)
                    self.on_event(Finished(self.trial))

    def _tell_rounds(self) -> None:
        """Pass on each round that all cohorts have finished."""
        names = [members.name for members in self.trial.config.cohorts]
        while all(self._ahead.get(name) for name in names):
            for name in names:
                done = self._ahead[name].popleft()
                self.on_event(RoundDone(self.trial, done.record, done.seconds))


def put_together(trial: Trial, parts: Sequence[Trial]) -> None:
    """Write the trial's streams and checkpoint from those of its parts, and remove the parts.

    The checkpoint is last: before it, the parts still hold everything.

    Raises:
        ValueError: a part's checkpoint is damaged.
        OSError: the folder cannot be written.
    """
    from swarmproof.records import merging
    from swarmproof.swarm import checkpoint, identity, warmup

    folders = [part.folder for part in parts]
    merging.merge(folders, trial.folder)
    for name in (identity.FINGERPRINTS, warmup.WARMUP):
        if (folders[0] / name).exists():
            shutil.copyfile(folders[0] / name, trial.folder / name)
    checkpoint.join(folders, trial.folder)
    shutil.rmtree(trial.folder / PARTS, ignore_errors=True)
