"""The parts of `swarmproof board` before and after the trials: the cells, an estimate, the page.

This module starts no process.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from swarmproof.board import page, runner, standing
from swarmproof.board.cells import BoardCell, CellName, checked, of_lists
from swarmproof.board.lists import BoardLists, chosen
from swarmproof.board.runner import PlannedCell, RecordedCell
from swarmproof.swarm.trial import Trial


@dataclass(frozen=True, slots=True)
class Wanted:
    """The rows that were asked for; all if None."""

    attacks: str | None = None
    guards: str | None = None
    settings: str | None = None


@dataclass(frozen=True, slots=True)
class BoardPlan:
    """The cells of the page, and of these the ones to run."""

    lists: BoardLists
    root: Path
    shown: Sequence[BoardCell]  # asked for or run before, and what is in their rows
    planned: Sequence[PlannedCell]  # asked for, and able to run
    kept: Sequence[RecordedCell]  # run before, and not asked for


def plan(
    lists: BoardLists,
    wanted: Wanted,
    seeds: Sequence[int],
    root: Path,
    *,
    rounds: int | None = None,
    overrides: Sequence[str] = (),
) -> BoardPlan:
    """Choose and check the cells. Cells that were run before stay on the page.

    Raises:
        ValueError: a name or a setting is wrong, or nothing was chosen.
    """
    cells = of_lists(lists, rounds=rounds, overrides=overrides)
    asked = _asked(lists, wanted, cells)
    if not asked:
        raise ValueError("no guard that was chosen is in a setting that was chosen")
    if wrong := [cell for cell in cells if cell.mistake and cell.name in asked]:
        raise ValueError(wrong[0].reason)
    kept = {cell.name: found for cell in cells if (found := runner.recorded(cell, root))}
    on_page = asked | kept.keys()
    attacks = {(name.setting, name.attack) for name in on_page}
    guards = {(name.setting, name.guard) for name in on_page}
    shown = [
        checked(cell)
        for cell in cells
        if (cell.name.setting, cell.name.attack) in attacks
        and (cell.name.setting, cell.name.guard) in guards
    ]
    able = [cell for cell in shown if cell.name in asked and not cell.reason]
    rest = [kept[name] for name in kept if name not in asked]
    return BoardPlan(lists, root, shown, runner.plan(able, seeds, root), rest)


def write(plan: BoardPlan) -> Path:
    """Write the page from the cells that are finished, with the models of now; its path.

    Raises:
        ValueError: a file is damaged.
        OSError: the folder cannot be written.
    """
    kept = {cell.name: found for cell in plan.shown if (found := runner.recorded(cell, plan.root))}
    current = {name: found.numbers for name, found in kept.items() if found.current(plan.root)}
    cells = [(cell, current.get(cell.name)) for cell in plan.shown]
    outdated = kept.keys() - current.keys()
    return page.write(standing.of_cells(plan.lists, cells, outdated), plan.root)


def told(
    plan: BoardPlan, waiting: Mapping[CellName, Sequence[Trial]], at_once: Callable[[int], int]
) -> Iterator[str]:
    """What a run would take, as lines of text.

    Args:
        plan: of the board.
        waiting: the trials that are missing.
        at_once: the number of trials that run at once, of so many.
    """
    count = sum(map(len, waiting.values()))
    reasons: dict[str, list[CellName]] = {}
    for cell in plan.shown:
        if cell.reason:
            reasons.setdefault(cell.reason, []).append(cell.name)
    for reason, names in reasons.items():
        yield f"cannot run: {_some(names)}: {reason}"
    left_out = {kept.planned.cell.name: kept.unusable(plan.root) for kept in plan.kept}
    if names := [name for name, reason in left_out.items() if reason]:
        yield f"not shown: {_some(names)}: {left_out[names[0]]}"
    yield f"{len(plan.planned)} cells, {count} trials to run, {at_once(count)} at once"
    if count:
        hours = runner.hours(waiting, plan.lists) / at_once(count)
        yield f"about {hours:.1f} hours (by measurements on two cores, guards left out)"


def _some(names: Sequence[CellName]) -> str:
    more = f" and {len(names) - 1} more" if names[1:] else ""
    return f"{names[0].guard} against {names[0].attack} in {names[0].setting}{more}"


def _asked(lists: BoardLists, wanted: Wanted, cells: Collection[BoardCell]) -> set[CellName]:
    attacks = chosen("attacks", wanted.attacks, lists.attacks)
    guards = chosen("guards", wanted.guards, lists.guards)
    settings = chosen("settings", wanted.settings, lists.settings)
    return {
        name
        for name in (cell.name for cell in cells)
        if name.attack in attacks and name.guard in guards and name.setting in settings
    }
