"""How a trial stopped short: as a value that crosses processes, and as the error it stands for.

Knows no engine.
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
    """The last word of a process whose trial did not finish."""

    error: ValueError | OSError | None  # a mistake of the user's or the machine's
    traceback: str

    def as_error(self, trial: Trial) -> Exception:
        """What the engine raises."""
        return self.error or TrialCrashedError(f"{name(trial)}\n\n{self.traceback}")


class Caught:
    """A context that keeps the exception that ends it.

    What asks the process itself to stop (Ctrl-C, the end of a generator) passes through.
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
    """A trial in the words of a message."""
    return f"{trial.experiment}, arm {trial.arm}, seed {trial.seed}"


def _plain(error: BaseException) -> ValueError | OSError | None:
    """The error without what may not survive pickling: subclasses, responses, causes."""
    if isinstance(error, OSError):
        if error.errno is None:
            return OSError(str(error))
        return OSError(error.errno, error.strerror, error.filename)
    return ValueError(str(error)) if isinstance(error, ValueError) else None
