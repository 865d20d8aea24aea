"""What runs on a node of a Ray cluster: one attempt at a trial, as a generator of what it says.

Knows no Ray. Two attempts may be alive at once, when the cluster has given up a node that still
works; so each takes the lock of the trial's folder, and the driver's token in that file tells
whether this is the driver's folder, and whether this is the latest attempt.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from swarmproof.engines.endings import Caught, Stopped

if TYPE_CHECKING:
    from swarmproof.swarm.trial import Trial
    from swarmproof.types import RoundRecord

LOCK = ".attempt"

# A file server frees the lock of a machine that is gone after its lease, 90 s with NFS.
_SECONDS_TO_WAIT = 180.0
_SECONDS_BETWEEN = 0.1


class Play(Protocol):
    """What an attempt does with its trial."""

    def __call__(self, trial: Trial, *, resume: bool) -> Iterator[tuple[RoundRecord, float]]: ...


@dataclass(frozen=True, slots=True)
class Begun:
    """The folder is this attempt's, and no older run's checkpoint is in it."""


@dataclass(frozen=True, slots=True)
class Round:
    record: RoundRecord
    seconds: float


@dataclass(frozen=True, slots=True)
class Done:
    pass


Said = Begun | Round | Done | Stopped


def attempt(
    trial: Trial, fresh: bool, token: str, directory: str, play: Play | None
) -> Iterator[Said]:
    """Play a trial to its end; the last value is `Done`, or `Stopped` after an error.

    Args:
        trial: its folder is absolute.
        fresh: a checkpoint in the folder is of another run, and is removed.
        token: what the driver wrote into the lock file for this attempt.
        directory: the driver's, from which relative paths in the config start.
        play: `experiment.play_trial` if None.
    """
    with Caught() as caught, _owned(trial.folder, token):
        # A cluster may share the run's folder and not this one; then only whole paths work.
        with contextlib.suppress(OSError):
            os.chdir(directory)
        from swarmproof.swarm.checkpoint import CHECKPOINT
        from swarmproof.swarm.trial import play_trial

        if fresh:
            (trial.folder / CHECKPOINT).unlink(missing_ok=True)
        yield Begun()
        for record, seconds in (play or play_trial)(trial, resume=True):
            yield Round(record, seconds)
    yield caught.stopped or Done()


@contextmanager
def _owned(folder: Path, token: str) -> Iterator[None]:
    """The folder is this process's alone within the context.

    Raises:
        ValueError: it is not the folder that the driver sees, or another attempt does not end.
    """
    try:
        file = (folder / LOCK).open("r+b")  # never made here, and writable, as NFS wants it
    except (FileNotFoundError, NotADirectoryError):
        raise _not_shared(folder) from None
    with file:
        _wait_for_lock(file, folder)
        # Read under the lock: what a file server's client remembered is then read anew.
        if file.read() != token.encode():
            raise _not_shared(folder)
        yield


def _wait_for_lock(file: BinaryIO, folder: Path) -> None:
    deadline = time.monotonic() + _SECONDS_TO_WAIT
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise ValueError(
                    f"another process still works in {folder}, perhaps on a node that the cluster "
                    "has given up; stop it, and go on with --resume"
                ) from None
            time.sleep(_SECONDS_BETWEEN)
        else:
            return


def _not_shared(folder: Path) -> ValueError:
    return ValueError(
        f"the node {socket.gethostname()} of the Ray cluster does not see the folder {folder} of "
        "this run; choose one with --out on a file system that all nodes share"
    )
