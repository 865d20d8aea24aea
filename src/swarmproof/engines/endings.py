"""The early end of a trial: as a value that can be sent between processes, and as an exception.

This module knows no engine.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swarmproof.swarm.trial import Trial


class TrialCrashedError(RuntimeError):
    """A trial ended with a bug; the message holds its traceback."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """The last message of a process whose trial did not finish."""

    error: ValueError | OSError | None  # a mistake of the user or of the machine; None: a bug
    traceback: str

    def as_error(self, trial: Trial) -> Exception:
        """The exception that the engine raises."""
        return self.error or TrialCrashedError(f"{name(trial)}\n\n{self.traceback}")


class Caught:
    """A context that catches the exception that ends it, and stores it.

    Exceptions that stop the process itself (Ctrl-C, the end of a generator) pass through.
    """

    def __init__(self) -> None:
        self.stopped: Stopped | None = None

    def __enter__(self) -> Caught:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if isinstance(error, Exception):
            self.stopped = stopped_by(error)
        return self.stopped is not None


def stopped_by(error: BaseException) -> Stopped:
    return Stopped(_plain(error), "".join(traceback.format_exception(error)))


def name(trial: Trial) -> str:
    """The name of a trial in messages."""
    return f"{trial.experiment}, arm {trial.arm}, seed {trial.seed}"


def _plain(error: BaseException) -> ValueError | OSError | None:
    """A plain copy of the error, without parts that may not survive pickling."""
    if isinstance(error, OSError):
        if error.errno is None:
            return OSError(str(error))
        return OSError(error.errno, error.strerror, error.filename)
    return ValueError(str(error)) if isinstance(error, ValueError) else None
