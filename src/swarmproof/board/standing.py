"""The board from its cells: a row per guard by its worst case, and a row per attack.

Pure functions of `cell.json`s; `board.json` is what `of_cells` returns.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from swarmproof.board.cells import NO_GUARD, BoardCell, CellName
from swarmproof.board.lists import BoardLists, BoardSetting
from swarmproof.board.scores import WHO, below_bound, missed
from swarmproof.records.summary import refused

Row = dict[str, Any]
OUTDATED = "what was measured is not of the data, models and trials that are here now"

DEFINITIONS = {
    "badness": (
        "the attack's success rate on honest nodes; for attacks on length, the growth of the mean "
        "length against no attack (ratio minus 1, at most 100 %)"
    ),
    "worst case": "the largest badness over the attacks that were measured",
    "no attack": (
        "the same run without malicious nodes and without a guard; accuracy and length are "
        "compared over the nodes that are honest in both"
    ),
    "accuracy lost": ("mean reward of honest nodes with no attack, minus that in the cell"),
    "below the bound": (
        "accuracy under the guard that knows who is malicious, minus that in the cell, by seed"
    ),
    "same updates": (
        "all updates of all rounds have the loss, the gradient and the tokens of the run with no "
        "attack"
    ),
    "honest refused": "of all completions of honest nodes, over all attacks of the row",
    "poisoned accepted": (
        "of all completions that malicious nodes sent, whatever is in them, those that no defence "
        "refused"
    ),
    "cost": (
        "processor time of the steps that only the guard causes, inspect and refill, as a share of "
        "an iteration without evaluation; of a guard, the largest over the attacks"
    ),
    "intervals": (
        "95 %: Student's t over seeds, none with one seed; of counts Wilson's, which takes "
        "completions as independent of one another"
    ),
    "final": "a value is the mean of the last 10 iterations, or of all if there are fewer",
}


def of_cells(
    lists: BoardLists,
    cells: Sequence[tuple[BoardCell, Mapping[str, Any] | None]],
    outdated: Collection[CellName] = (),
) -> dict[str, Any]:
    """The board.

    Args:
        lists: of the board.
        cells: those to show, with their numbers; None for a cell that was not run.
        outdated: cells whose numbers are left out, because they are not those of now.
    """
    settings = {}
    bounds = {
        (cell.name.setting, cell.name.attack): found
        for cell, found in cells
        if lists.guards[cell.name.guard].bound
    }
    for name, setting in lists.settings.items():
        rows = [
            _row(lists, cell, found, bounds.get((name, cell.name.attack)))
            | ({"reason": OUTDATED} if cell.name in outdated and not cell.reason else {})
            for cell, found in cells
            if cell.name.setting == name
        ]
        if rows:
            settings[name] = _setting(lists, setting, rows)
    return {"definitions": DEFINITIONS, "settings": settings}


def _row(
    lists: BoardLists,
    cell: BoardCell,
    found: Mapping[str, Any] | None,
    bound: Mapping[str, Any] | None,
) -> Row:
    """A cell as it is shown.

    `state` is measured, cannot run, or not run; `missed` is None where there are no goals.
    """
    name = cell.name
    row: Row = {
        "attack": name.attack,
        "guard": name.guard,
        "state": "cannot run" if cell.reason else "measured" if found else "not run",
        "reason": cell.reason,
    }
    if cell.reason or not found:
        return row
    kind = lists.attacks[name.attack].kind
    goals = lists.settings[name.setting].goals.get(kind)
    folder = f"cells/{name.setting}/{name.attack}/{name.guard}"
    numbers = {
        key: value
        for key, value in found.items()
        if key not in ("schema", "arms", "trials", "made_with")
    }
    numbers["below_bound"] = below_bound(found, bound)
    if kind == "none":  # nothing succeeds where nobody attacks
        numbers["badness"] = None
    missing = missed(numbers, goals) if goals else None
    return row | numbers | {"missed": missing, "folder": folder}


def _setting(lists: BoardLists, setting: BoardSetting, rows: Sequence[Row]) -> dict[str, Any]:
    guards = [
        _guard(lists, setting, guard, [row for row in rows if row["guard"] == guard])
        for guard in dict.fromkeys(row["guard"] for row in rows)
    ]
    attacks = [
        _attack(lists, attack, [row for row in rows if row["attack"] == attack])
        for attack in dict.fromkeys(row["attack"] for row in rows)
        if lists.attacks[attack].kind != "none"
    ]
    return {
        "title": setting.title,
        "guards": sorted(guards, key=_rank),
        "attacks": attacks,
        "cells": list(rows),
    }


def _rank(guard: Row) -> tuple[bool, float, float]:
    """Guards that miss cells come last: attacks that were not measured cannot be the worst."""
    badness = guard["worst"]["badness"] if guard["worst"] else 1.0
    return (bool(guard["not_run"]) or not guard["worst"], badness, guard["honest"]["rate"] or 0.0)


def _guard(lists: BoardLists, setting: BoardSetting, guard: str, rows: Sequence[Row]) -> Row:
    done = _measured(rows)
    losses = [row for row in done if row["accuracy_lost"]["mean"] is not None]
    lost = max(losses, key=lambda row: row["accuracy_lost"]["mean"], default=None)
    costs = [row["cost"] for row in done if row["cost"]]
    return {
        "guard": guard,
        "title": lists.guards[guard].title,
        "bound": lists.guards[guard].bound,
        "recommended": guard in setting.recommended,
        "measured": len(done),
        "not_run": sum(row["state"] == "not run" for row in rows),
        "cannot_run": sum(row["state"] == "cannot run" for row in rows),
        "seeds": _range(len(row["seeds"]) for row in done),
        "rounds": _range(row["rounds"] for row in done),
        "worst": _shown(max(_judged(done), key=_badness, default=None)),
        "accuracy_lost": lost and {"attack": lost["attack"], **lost["accuracy_lost"]},
        **{who: _pooled(done, who) for who in WHO},
        "cost": max((cost["share"] for cost in costs), default=None),
        "missed": {row["attack"]: row["missed"] for row in done if row["missed"]},
    }


def _attack(lists: BoardLists, attack: str, rows: Sequence[Row]) -> Row:
    """The best guard that a user can have against an attack; ties go to fewer honest refused."""
    done = _judged(_measured(rows))
    guarded = [
        row for row in done if row["guard"] != NO_GUARD and not lists.guards[row["guard"]].bound
    ]
    best = min(
        guarded, key=lambda row: (row["badness"], row["honest"]["rate"] or 0.0), default=None
    )
    alone = next((row for row in done if row["guard"] == NO_GUARD), None)
    return {
        "attack": attack,
        "title": lists.attacks[attack].title,
        "kind": lists.attacks[attack].kind,
        "undefended": _shown(alone),
        "best": _shown(best),
    }


def _measured(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["state"] == "measured"]


def _judged(rows: Sequence[Row]) -> list[Row]:
    """Cells with an attack whose success was measured."""
    return [row for row in rows if row["badness"] is not None]


def _badness(row: Row) -> float:
    badness: float = row["badness"]
    return badness


def _shown(row: Row | None) -> Row | None:
    keys = ("attack", "guard", "badness", "unit", "success", "seeds", "rounds")
    return row and {key: row[key] for key in keys}


def _pooled(rows: Sequence[Row], who: str) -> Row:
    counts = [row[who] for row in rows]
    receivers = max((c.get("receivers", 1) for c in counts), default=1)
    return refused(sum(c["count"] for c in counts), sum(c["of"] for c in counts), receivers)


def _range(numbers: Iterable[int]) -> list[int]:
    found = sorted(set(numbers))
    return [found[0], found[-1]] if found else []
