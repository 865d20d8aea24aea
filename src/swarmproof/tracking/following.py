"""Follows the events of a run, and sends each round to the trackers.

A tracker that fails is told once and left out. The run and its records do not depend on it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from swarmproof.engines.endings import Caught
from swarmproof.engines.events import Event, Finished, OnEvent, RoundDone
from swarmproof.records.folder import read_json, write_json
from swarmproof.tracking.streams import OPEN, Stream, Subject
from swarmproof.types import RoundRecord

KEY = "tracking.json"


def values_of(record: RoundRecord, seconds: float, *, by_cohort: bool) -> dict[str, float]:
    """The numbers of a round by name, as docs/metrics.md names them.

    Those of `by_defense` are `by_defense/NAME/KEY`. What was not measured is left out. Where there
    are several models, the model's name comes first.
    """
    start = f"{record.cohort}/" if by_cohort else ""
    found: dict[str, Any] = {
        field.name: getattr(record, field.name) for field in fields(record) if field.name != "round"
    }
    found |= {
        f"by_defense/{name}/{key}": count
        for name, counts in record.by_defense.items()
        for key, count in counts.items()
    }
    found["seconds"] = seconds
    return {
        start + key: float(value) for key, value in found.items() if isinstance(value, int | float)
    }


@contextmanager
def following(
    names: Sequence[str], run: Path, warn: Callable[[str], None]
) -> Iterator[Callable[[OnEvent], OnEvent]]:
    """A context in which trackers are open; yields the `wrap` of `steps.run_trials`.

    Args:
        names: of the trackers.
        run: the run folder.
        warn: is told, in one line, that a tracker failed.
    """
    if not names:
        yield lambda on_event: on_event
        return
    key = run_key(run)
    trackers = [_Tracker(name, run, key, warn) for name in names]

    def wrap(on_event: OnEvent) -> OnEvent:
        def both(event: Event) -> None:
            on_event(event)
            for tracker in trackers:
                tracker.on_event(event)

        return both

    try:
        yield wrap
    finally:
        for tracker in trackers:
            tracker.close()


class _Tracker:
    """One tracker, with a stream for each trial that runs."""

    def __init__(self, name: str, run: Path, run_key: str, warn: Callable[[str], None]) -> None:
        self._name, self._run, self._run_key, self._warn = name, run, run_key, warn
        self._streams: dict[tuple[str, int], Stream] = {}
        self._failed = False

    def on_event(self, event: Event) -> None:
        if self._failed:
            return
        with Caught() as caught:
            match event:
                case RoundDone():
                    self._log(event)
                case Finished():
                    if stream := self._streams.pop((event.trial.arm, event.trial.seed), None):
                        stream.close()
        self._tell(caught)

    def close(self) -> None:
        """Close what is open; a run that was stopped has streams left."""
        while self._streams:
            _, stream = self._streams.popitem()
            with Caught() as caught:
                stream.close()
            self._tell(caught)

    def _log(self, event: RoundDone) -> None:
        trial, record = event.trial, event.record
        key = trial.arm, trial.seed
        if key not in self._streams:
            config: Mapping[str, Any] = trial.config.model_dump(mode="json")
            self._streams[key] = OPEN[self._name](
                Subject(trial.experiment, self._run, self._run_key, *key, config, record.round)
            )
        several = len(trial.config.cohorts) > 1
        self._streams[key].log(record.round, values_of(record, event.seconds, by_cohort=several))

    def _tell(self, caught: Caught) -> None:
        if caught.stopped is None or self._failed:
            return
        self._failed = True
        # The last line of a traceback names the error.
        why = caught.stopped.traceback.strip().splitlines()[-1]
        self._warn(f"--track {self._name} failed and is left out; the run goes on: {why:.200}")
        self.close()


def run_key(run: Path) -> str:
    """A random word that the run folder keeps, so that a resumed run continues its streams."""
    if not (run / KEY).exists():
        write_json(run / KEY, {"key": secrets.token_hex(3)})
    key = read_json(run, KEY, f"delete {run / KEY}").get("key")
    if not isinstance(key, str) or not key.isalnum():
        raise ValueError(f"{run / KEY} is damaged: it has no key; delete {run / KEY}")
    return key
