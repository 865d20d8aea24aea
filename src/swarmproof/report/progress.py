"""The display of a running experiment: one row per arm, or plain lines without a terminal.

Knows only the events of an engine; it reads no file and computes no final number.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from swarmproof.engines.events import Event, Finished, Restarted, RoundDone, Started

if TYPE_CHECKING:
    from swarmproof.swarm.trial import Trial
    from swarmproof.types import RoundRecord

Key = tuple[str, int]  # arm, seed

PLAIN_EVERY = 10  # iterations
_MANY = 12  # arms, beyond which only those that run are shown
_RECENT = 10  # rounds that the pace is measured over: later rounds are often faster


@dataclass(slots=True)
class _TrialState:
    """The progress of one trial."""

    rounds: int  # planned
    done: int = 0
    running: bool = False
    finished: bool = False
    latest: dict[str, RoundRecord] = field(default_factory=dict)  # by cohort
    accuracy: dict[str, float] = field(default_factory=dict)  # the last measured one
    asr: dict[str, float] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    poisoned: int = 0
    poisoned_refused: int = 0
    honest: int = 0
    honest_refused: int = 0

    def add(self, record: RoundRecord, seconds: float) -> None:
        if record.round >= self.done:  # the first cohort of its round
            self.seconds.append(seconds)
        self.done = record.round + 1
        self.latest[record.cohort] = record
        if record.heldout_accuracy is not None:
            self.accuracy[record.cohort] = record.heldout_accuracy
        if record.asr is not None:
            self.asr[record.cohort] = record.asr
        self.poisoned += record.poisoned
        self.poisoned_refused += record.poisoned_refused
        self.honest += record.honest
        self.honest_refused += record.honest_refused


@contextmanager
def telling(first: str, *, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """A function that shows on stderr what is done now: one line of a terminal, or line by line."""
    console = Console(stderr=True, quiet=quiet)
    if console.is_terminal:
        with console.status(first) as status:
            yield lambda line: status.update(escape(line))
    else:
        yield lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True)


class Progress:
    """Shows events. A context manager, because a live display must be stopped.

    Args:
        trials: all trials of the run, in order.
        jobs: how many run at once; used to estimate the time left.
        console: where to show it: rows on a terminal, plain lines elsewhere.
        quiet: show nothing.
    """

    def __init__(
        self, trials: Sequence[Trial], *, jobs: int, console: Console, quiet: bool = False
    ) -> None:
        self._trials = {(t.arm, t.seed): _TrialState(t.config.rounds) for t in trials}
        self._arms = list(dict.fromkeys(t.arm for t in trials))
        self._jobs = jobs
        self._console = console
        self._quiet = quiet
        self._printed = dict.fromkeys(self._arms, 0)
        self._live: Live | None = None
        if console.is_terminal and not quiet:
            self._live = Live(
                console=console, get_renderable=self._table, refresh_per_second=2, transient=False
            )

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def on_event(self, event: Event) -> None:
        state = self._trials[event.trial.arm, event.trial.seed]
        match event:
            case Started():
                state.running = True
            case RoundDone():
                state.add(event.record, event.seconds)
            case Restarted():
                self._print_restart(event)
            case Finished():
                state.running, state.finished = False, True
        if not self._live and not self._quiet:
            self._print_when_due(event.trial.arm)

    def _print_when_due(self, arm: str) -> None:
        states = self._of(arm)
        done, rounds = _iterations(states)
        due = done - done % PLAIN_EVERY if done < rounds else rounds
        if due > self._printed[arm]:
            self._printed[arm] = due
            cells = dict(zip(_COLUMNS, self._cells(arm), strict=True))
            text = ", ".join(f"{name} {value}" for name, value in cells.items() if value)
            self._console.print(f"{arm}: {text}", highlight=False, soft_wrap=True)

    def _print_restart(self, event: Restarted) -> None:
        if not self._quiet:
            text = f"{event.trial.arm}, seed {event.trial.seed}: {event.reason}; started again"
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _table(self) -> Table:
        every = [(arm, self._of(arm)) for arm in self._arms]
        # A table longer than the screen is cut off, perhaps at an arm that is running.
        few = len(every) <= _MANY
        shown = [(a, s) for a, s in every if few or any(state.running for state in s)]
        cells = {arm: dict(zip(_COLUMNS, self._cells(arm), strict=True)) for arm, _ in shown}
        columns, bar = _fitting(cells, self._console.width)
        table = Table(box=None, pad_edge=False)
        table.add_column("arm", overflow="fold")
        if bar:
            table.add_column("")
        for name in columns:
            table.add_column(name, justify="right", no_wrap=True)
        for arm, states in shown:
            done, rounds = _iterations(states)
            bars = [ProgressBar(rounds, done, width=_BAR)] if bar else []
            table.add_row(Text(arm), *bars, *(cells[arm][name] for name in columns))
        table.caption = self._caption(few)
        table.caption_justify = "left"
        return table

    def _caption(self, few: bool) -> str | None:
        left = max(self._seconds_left().values(), default=None)
        done = sum(state.finished for state in self._trials.values())
        trials = "" if few else f"{done} of {len(self._trials)} trials done, "
        return f"{trials}{_duration(left)} left in all" if left else None

    def _cells(self, arm: str) -> list[str]:
        """The values of `_COLUMNS`; an empty text where nothing is known yet."""
        states = self._of(arm)
        done, rounds = _iterations(states)
        lengths = [record.length for state in states for record in state.latest.values()]
        left = max((s for key, s in self._seconds_left().items() if key[0] == arm), default=None)
        return [
            f"{done}/{rounds}"
            + (f" ({len(states)} seeds, {states[0].rounds} each)" if len(states) > 1 else ""),
            _percent(value for state in states for value in state.asr.values()),
            f"{fmean(lengths):.0f}" if lengths else "",
            _percent(value for state in states for value in state.accuracy.values()),
            _share(states, lambda s: s.poisoned_refused, lambda s: s.poisoned),
            _share(states, lambda s: s.honest_refused, lambda s: s.honest),
            _duration(left) if left else "",
        ]

    def _of(self, arm: str) -> list[_TrialState]:
        return [state for key, state in self._trials.items() if key[0] == arm]

    def _seconds_left(self) -> dict[Key, float]:
        """Seconds until each unfinished trial ends; empty until a pace is known.

        Waiting trials are assigned to slots in the order in which slots become free.
        """
        paces = {
            key: fmean(state.seconds[-_RECENT:])
            for key, state in self._trials.items()
            if state.seconds
        }
        if not paces:
            return {}
        usual = fmean(paces.values())
        need = {
            key: (state.rounds - state.done) * paces.get(key, usual)
            for key, state in self._trials.items()
            if not state.finished
        }
        ends = {key: need[key] for key in need if self._trials[key].running}
        slots = list(ends.values())[: self._jobs]
        slots += [0.0] * (self._jobs - len(slots))
        heapq.heapify(slots)
        for key in need:
            if key not in ends:
                ends[key] = slots[0] + need[key]
                heapq.heapreplace(slots, ends[key])
        return ends


_COLUMNS = (
    "iteration",
    "attack success",
    "length",
    "held-out accuracy",
    "refused poisoned",
    "refused honest",
    "time left",
)
# Columns that a narrow terminal does without, the first one first; the arm's name always stays.
_OPTIONAL = ("length", "held-out accuracy", "refused honest", "refused poisoned", "time left",
             "attack success")  # fmt: skip
_BAR = 16  # characters
_BETWEEN = 2  # between columns


def _fitting(cells: Mapping[str, Mapping[str, str]], width: int) -> tuple[list[str], bool]:
    """The columns that fit beside the arms' names, and whether the bar fits as well."""
    columns = list(_COLUMNS)
    name = max([len("arm"), *map(len, cells)])

    def needed() -> int:
        return name + sum(
            _BETWEEN + max([len(column), *(len(row[column]) for row in cells.values())])
            for column in columns
        )

    for column in _OPTIONAL:
        if needed() <= width:
            break
        columns.remove(column)
    return columns, needed() + _BETWEEN + _BAR <= width


def _iterations(states: Sequence[_TrialState]) -> tuple[int, int]:
    """Iterations done and planned, summed over seeds.

    Seeds run one after another, so a mean would be that of no seed.
    """
    return sum(s.done for s in states), sum(s.rounds for s in states)


def _percent(values: Iterable[float]) -> str:
    values = list(values)
    return f"{100 * fmean(values):.0f} %" if values else ""


def _share(
    states: Sequence[_TrialState],
    count: Callable[[_TrialState], int],
    of: Callable[[_TrialState], int],
) -> str:
    total = sum(of(state) for state in states)
    # One decimal: a false-rejection rate of 0.4 % matters.
    return f"{100 * sum(count(state) for state in states) / total:.1f} %" if total else ""


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
