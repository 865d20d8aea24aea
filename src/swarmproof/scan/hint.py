"""A finding before its false alarms and its texts are known: what a check gives to `screening`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from swarmproof.scan.corpus import Span
from swarmproof.scan.finding import FalseAlarms, Severity


@dataclass(frozen=True, slots=True)
class Hint:
    """One pattern, and the rows that show it."""

    check: str
    severity: Severity
    # One line. `{shown}` in it stands for what most of the completions show.
    summary: str
    rows: np.ndarray  # of the completions, ascending
    strength: str
    p_value: float | None = None
    senders: tuple[str, ...] = ()
    # What to mark in a text. None: nothing, it is about the whole completion.
    spans: Callable[[str], Sequence[Span]] | None = None
    # Whether a text of other data shows the same; None: it is about a file, a group or a sender.
    shows: Callable[[str], bool] | None = None
    # All rows that show the same, whoever wrote them and whatever they earn; None: `rows` are all.
    everywhere: np.ndarray | None = None
    # How often it is so in the first steps, where the check compares with these itself.
    first_steps: FalseAlarms | None = None
