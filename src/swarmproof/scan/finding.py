"""What a check found, and how often it finds the same on honest data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["high", "medium", "low"]


@dataclass(frozen=True, slots=True)
class FalseAlarms:
    """How often a check fires on honest completions: never left out of a finding."""

    fired: int  # honest completions, or files, on which it fired
    of: int
    unit: str  # what is counted: completions, groups, steps, files
    source: str  # where they come from: "steps 0 to 4 of the file", "honest.jsonl", "shipped: …"


@dataclass(frozen=True, slots=True)
class Mark:
    """A piece of a completion that a check points at."""

    id: str  # of the rollout
    start: int  # characters of its text, end not included
    end: int


@dataclass(frozen=True, slots=True)
class Finding:
    """One pattern, and the completions that show it."""

    check: str
    severity: Severity
    summary: str  # one line, what was found, with the count
    ids: tuple[str, ...]  # all completions that show it, which a user would drop
    marks: tuple[Mark, ...]  # in some of them, enough to look at
    since: int | None  # the first step that shows it, where the file has steps
    strength: str  # how strong, in words with numbers: "in 91 % of rewarded, 0 of 240 others"
    p_value: float | None  # corrected for all that the check looked at, where it is a test
    false_alarms: FalseAlarms
    senders: tuple[str, ...] = ()  # whom it points at; never the victim of a copy
