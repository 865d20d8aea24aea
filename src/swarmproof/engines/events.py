"""The events of an engine while trials run. Knows no process, no display and no model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swarmproof.swarm.trial import Trial
    from swarmproof.types import RoundRecord


@dataclass(frozen=True, slots=True)
class Started:
    trial: Trial


@dataclass(frozen=True, slots=True)
class RoundDone:
    trial: Trial
    record: RoundRecord
    seconds: float  # wall-clock of the whole round


@dataclass(frozen=True, slots=True)
class Restarted:
    """The machine of a running trial was lost. The trial resumes elsewhere from its checkpoint."""

    trial: Trial
    reason: str  # one line


@dataclass(frozen=True, slots=True)
class Finished:
    trial: Trial


Event = Started | RoundDone | Restarted | Finished
OnEvent = Callable[[Event], None]
