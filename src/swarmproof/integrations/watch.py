"""A guard as every adapter uses it: each batch inspected once, then counted and written down."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from swarmproof.guard.guard import Guard
from swarmproof.integrations.ledger import ADMISSION, Ledger
from swarmproof.integrations.rows import TrainerRow, columns, inspect
from swarmproof.integrations.sidecar import Sidecar
from swarmproof.types import Sample

OnError = Literal["stop", "monitor"]
_log = logging.getLogger("swarmproof")


@dataclass(frozen=True, slots=True)
class Treatment:
    """What becomes of one completion."""

    votes: bool = True  # it counts in its group's mean
    trains: bool = True  # its tokens have a gradient
    zeroed: bool = False  # it earns nothing: `defenses.senders.nothing`
    weight: float = 1.0  # in [0, 1], in the mean and in the loss
    token_credit: tuple[float, ...] | None = None  # multiplies each token's advantage


LEFT_OUT = Treatment(votes=False, trains=False)


@dataclass(frozen=True, slots=True)
class Seen:
    """A batch after its inspection, in the order of its rows."""

    treatments: Sequence[Treatment]
    columns: Sequence[Mapping[str, Any]]  # for the trainer's log
    failed: bool = False  # the guard crashed, and nothing was refused

    @property
    def refused_share(self) -> float:
        return sum(bool(row["guard/refused"]) for row in self.columns) / max(1, len(self.columns))


@dataclass(slots=True)
class Watch:
    """A guard with what is kept of its verdicts. Not safe for threads.

    Args:
        guard: the guard, with its state.
        ledger: counts by sender.
        sidecar: a file for all verdicts.
        on_error: `stop`: an exception of the guard stops the run. `monitor`: it is logged, and that
            batch passes as it came.
    """

    guard: Guard
    ledger: Ledger | None = None
    sidecar: Sidecar | None = None
    on_error: OnError = "stop"
    round: int = 0  # of the next inspection; each has its own

    def __post_init__(self) -> None:
        if self.on_error not in ("stop", "monitor"):
            raise ValueError(f"on_error = {self.on_error!r:.60}; it is 'stop' or 'monitor'")

    def look(self, rows: Sequence[TrainerRow], step: int | None = None) -> Seen:
        """Inspect a batch.

        Args:
            rows: all completions of it.
            step: the trainer's step; the number of batches so far if None.
        """
        self.round = max(self.round, step or 0)
        at = self.round if step is None else step
        samples, error = self._inspect(rows)
        self.round += 1
        told = [_columns(row, sample, error) for row, sample in zip(rows, samples, strict=True)]
        if self.ledger is not None:
            self.ledger.record(rows, samples, at)
        if self.sidecar is not None:
            self.sidecar.write(rows, told, at)
        if error:
            treatments = [LEFT_OUT if row.malformed else Treatment() for row in rows]
        else:
            treatments = [self._treatment(sample) for sample in samples]
        return Seen(treatments, told, bool(error))

    def _inspect(self, rows: Sequence[TrainerRow]) -> tuple[list[Sample | None], str]:
        if self.on_error == "stop":
            return inspect(self.guard, rows, self.round), ""
        try:
            return inspect(self.guard, rows, self.round), ""
        except Exception as error:  # noqa: BLE001 - asked for by `monitor`; a defence is third-party code
            why = f"the guard failed: {' '.join(f'{type(error).__name__}: {error}'.split())}"[:500]
            _log.exception("%s; this batch is trained on as it came (on_error = 'monitor')", why)
            return [None] * len(rows), why

    def _treatment(self, sample: Sample | None) -> Treatment:
        if sample is None:
            return LEFT_OUT
        effect = self.guard.rules.effect(sample.verdicts, sample.completion.node)
        return Treatment(
            votes=sample.kept,
            trains=sample.loss_weight > 0,
            zeroed=effect.zeroed,
            weight=sample.weight,
            token_credit=sample.token_credit,
        )

    def state_dict(self) -> dict[str, Any]:
        """The state of guard and ledger, as plain JSON values."""
        ledger = {} if self.ledger is None else {"ledger": self.ledger.state_dict()}
        return {"round": self.round, "guard": self.guard.state_dict(), **ledger}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`.

        Raises:
            ValueError: the state does not fit.
        """
        if not isinstance(state.get("round"), int) or not isinstance(state.get("guard"), Mapping):
            raise ValueError("the state of a watch has a number `round` and a table `guard`")  # noqa: TRY004 - from a file
        self.guard.load_state_dict(state["guard"])
        if self.ledger is not None and "ledger" in state:
            self.ledger.load_state_dict(state["ledger"])
        self.round = state["round"]


def _columns(row: TrainerRow, sample: Sample | None, error: str) -> dict[str, Any]:
    told = dict(columns(sample))
    if row.malformed:
        told |= {
            "guard/refused": True,
            "guard/defence": ADMISSION,
            "guard/reason": row.malformed,
        }
    elif error:
        told |= {"guard/reason": error}
    if told["guard/reward"] is None:
        told["guard/reward"] = row.reward
    return told
