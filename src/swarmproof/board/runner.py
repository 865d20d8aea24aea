"""From the lists to finished cells: what is missing, what is kept, and each cell as a run folder.

Trials are stored by content, as those of `reproduce` are, so that cells share their references.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from swarmproof.board import scores
from swarmproof.board.cells import REFERENCE, BoardCell, CellName
from swarmproof.board.lists import BoardLists
from swarmproof.config import ExperimentConfig, TrialConfig
from swarmproof.engines.events import Event, Finished, OnEvent
from swarmproof.records.folder import read_json, write_json
from swarmproof.reproduce.store import (
    Store,
    is_finished,
    key,
    made_with,
    require_same_inputs,
    trial_folder,
)
from swarmproof.swarm.trial import Trial

CELL = "cell.json"
_MADE_WITH = "made_with"  # in cell.json: a hash for each trial
SCHEMA = 1  # of cell.json; a cell of another one is measured again from its trials


@dataclass(frozen=True, slots=True)
class PlannedCell:
    """A cell with its seeds: those that were asked for, and those that it has already."""

    cell: BoardCell
    seeds: tuple[int, ...]

    def keys(self) -> dict[str, list[str]]:
        """The keys of the trials of each arm, in the order of the seeds."""
        return {
            arm: [key(trial, seed) for seed in self.seeds] for arm, trial in self.cell.arms.items()
        }

    def trials(self) -> dict[str, TrialConfig]:
        """The config of every trial, by key."""
        keys = self.keys()
        return {name: self.cell.arms[arm] for arm, of_arm in keys.items() for name in of_arm}

    def made_with(self, root: Path) -> dict[str, str]:
        """A hash of the data, models and versions of every trial, by key."""
        return {name: made_with(root, name) for name in self.trials()}


@dataclass(frozen=True, slots=True)
class RecordedCell:
    """A cell that was run before with the same settings. Its number of rounds may differ."""

    planned: PlannedCell  # with its seeds and rounds
    numbers: Mapping[str, Any]  # the content of `cell.json`

    def unusable(self, root: Path) -> str:
        """Why its trials cannot be measured again, with the models of now; empty if they can."""
        trials = self.planned.trials()
        try:
            if gone := [name for name in trials if not is_finished(root, name)]:
                return f"{trial_folder(root, gone[0])} is no finished trial"
            require_same_inputs(root, trials)
        except ValueError as error:
            return str(error)
        return ""

    def current(self, root: Path) -> bool:
        """Whether the numbers are those of its trials, with the data and models of now.

        A cell that does not say what it was made with is not: it is older than this check.
        """
        told = self.numbers.get(_MADE_WITH)
        return told == self.planned.made_with(root) and not self.unusable(root)


def plan(cells: Sequence[BoardCell], seeds: Sequence[int], root: Path) -> list[PlannedCell]:
    """The cells with their seeds. A cell that was run with more seeds keeps them."""
    planned = []
    for cell in cells:
        kept = recorded(cell, root)
        had = kept.planned.seeds if kept else ()
        planned.append(PlannedCell(cell, tuple(sorted({*had, *seeds}))))
    return planned


def recorded(cell: BoardCell, root: Path) -> RecordedCell | None:
    """A cell that was run before with the same settings, or None.

    Raises:
        ValueError: its file is damaged.
    """
    found = _read(_folder(root, cell.name))
    if found is None:
        return None
    ours = {arm: trial.model_dump(mode="json") for arm, trial in cell.arms.items()}
    if _without_rounds(found["arms"]) != _without_rounds(ours):
        return None
    arms = {
        arm: trial.model_copy(update={"rounds": found["arms"][arm]["rounds"]})
        for arm, trial in cell.arms.items()
    }
    planned = PlannedCell(replace(cell, arms=arms), tuple(found["seeds"]))
    if found["trials"] != planned.keys():
        raise _damage(_folder(root, cell.name))
    return RecordedCell(planned, found)


def needed(planned: Sequence[PlannedCell], root: Path) -> dict[CellName, list[Trial]]:
    """The trials that are not finished, each by the first cell that needs it. Writes nothing.

    Args:
        planned: cells that can run.
        root: of the store.

    Raises:
        ValueError: a finished trial was made with other data or another model.
    """
    require_same_inputs(root, {k: c for each in planned for k, c in each.trials().items()})
    found: dict[CellName, list[Trial]] = {}
    seen: set[str] = set()
    for each in planned:
        name = each.cell.name
        label = f"{name.setting}/{name.attack}/{name.guard}"
        for arm, keys in each.keys().items():
            for seed, named in zip(each.seeds, keys, strict=True):
                if named not in seen and not is_finished(root, named):
                    folder = trial_folder(root, named)
                    trial = Trial("board", f"{label} {arm}", seed, each.cell.arms[arm], folder)
                    found.setdefault(name, []).append(trial)
                seen.add(named)
    return found


def begin(waiting: Mapping[CellName, Sequence[Trial]], store: Store) -> list[Trial]:
    """Prepare trials to run in the store; in the order of their seeds."""
    trials = [trial for of_cell in waiting.values() for trial in of_cell]
    for trial in trials:
        store.begin(trial.folder.name, trial, resume=True)
    return sorted(trials, key=lambda trial: trial.seed)


def keeper(
    planned: Sequence[PlannedCell], store: Store, show: OnEvent, *, on_cell: Callable[[], object]
) -> OnEvent:
    """An event handler that stores finished trials, and writes each cell when it is complete.

    Args:
        planned: cells that can run.
        store: of the trials.
        show: receives every event first.
        on_cell: called after each cell.
    """

    left = [(each, {name for row in each.keys().values() for name in row}) for each in planned]

    def on_event(event: Event) -> None:
        show(event)
        if isinstance(event, Finished):
            done = event.trial.folder.name
            store.finish(done)
            store.write_index()
            ready = [each for each, keys in left if done in keys and all(map(store.finished, keys))]
            for each in ready:
                finish(each, store)
            if ready:
                on_cell()

    return on_event


def refresh(kept: Sequence[RecordedCell], store: Store) -> None:
    """Measure the cells anew whose trials were run again since; those that cannot be stay.

    Raises:
        ValueError, OSError: as `finish`.
    """
    for each in kept:
        if not each.unusable(store.root):
            finish(each.planned, store)


def finish(planned: PlannedCell, store: Store) -> dict[str, Any]:
    """Measure a cell whose trials are finished, and write its run folder and its report.

    A cell that was measured from the same trials is kept.

    Returns:
        the content of `cell.json`.

    Raises:
        ValueError: a stream is damaged.
        OSError: the folder cannot be written.
    """
    cell, keys = planned.cell, planned.keys()
    folder = _folder(store.root, cell.name)
    made = planned.made_with(store.root)
    kept = _read(folder)
    if kept is not None and kept["trials"] == keys and kept.get(_MADE_WITH) == made:
        return kept
    name = "-".join((cell.name.setting, cell.name.attack, cell.name.guard))
    title = f"{cell.name.attack} against {cell.name.guard}, {cell.name.setting}"
    config = ExperimentConfig(name=name[:100], title=title, seeds=planned.seeds, arms=cell.arms)
    store.as_run(folder, config, keys)
    _write_report(folder)
    pairs = zip(keys[REFERENCE], keys[cell.arm], strict=True)
    folders = {
        seed: (store.folder(theirs), store.folder(ours))
        for seed, (theirs, ours) in zip(planned.seeds, pairs, strict=True)
    }
    found = {
        "schema": SCHEMA,
        "trials": keys,
        _MADE_WITH: made,
        "arms": {arm: trial.model_dump(mode="json") for arm, trial in cell.arms.items()},
        **scores.of_cell(cell.arms[REFERENCE], cell.arms[cell.arm], folders),
    }
    write_json(folder / CELL, found)
    return found


def hours(waiting: Mapping[CellName, Sequence[Trial]], lists: BoardLists) -> float:
    """An estimate for trials one after another, by the `seconds` of their attacks.

    An attack without them counts as the mean of the others. What a guard costs or saves is not in
    it.
    """
    known = [each for attack in lists.attacks.values() for each in attack.seconds.values()]
    mean = sum(known) / len(known) if known else 0.0
    return sum(
        lists.attacks[name.attack].seconds.get(name.setting, mean) * trial.config.rounds / 3600
        for name, trials in waiting.items()
        for trial in trials
    )


def _read(folder: Path) -> dict[str, Any] | None:
    found = read_json(folder, CELL) if (folder / CELL).exists() else {}
    if found.get("schema") != SCHEMA:
        return None
    arms, trials, seeds = (found.get(key) for key in ("arms", "trials", "seeds"))
    if not (
        isinstance(arms, dict)
        and all(isinstance(arm, dict) for arm in arms.values())
        and all(isinstance(arm.get("rounds"), int) for arm in arms.values())
        and isinstance(trials, dict)
        and isinstance(seeds, list)
        and all(isinstance(seed, int) for seed in seeds)
    ):
        raise _damage(folder)
    return found


def _damage(folder: Path) -> ValueError:
    return ValueError(f"{folder / CELL} is damaged; delete it, and the board measures it anew")


def _write_report(folder: Path) -> None:
    from swarmproof.records.run import load_run
    from swarmproof.report import contents, html

    html.write(contents.of_run(load_run(folder)), folder)


def _folder(root: Path, name: CellName) -> Path:
    return root / "cells" / name.setting / name.attack / name.guard


def _without_rounds(arms: Mapping[str, Any]) -> str:
    """As text, where 1 and 1.0 differ, as they do in the keys of the trials."""
    told = {arm: {**trial, "rounds": None} for arm, trial in arms.items()}
    return json.dumps(told, sort_keys=True)
