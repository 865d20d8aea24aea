"""The cells of a board: each with the configs of its trials, or the reason why it cannot run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swarmproof import registry
from swarmproof.board.lists import BoardLists
from swarmproof.config import TrialConfig, override, quote, validate
from swarmproof.config.tables import merge
from swarmproof.swarm import assembly

REFERENCE = "no-attack"  # the arm that a cell is compared with
NO_GUARD = "none"


@dataclass(frozen=True, slots=True)
class CellName:
    """Where a cell is on the board."""

    setting: str
    attack: str
    guard: str


@dataclass(frozen=True, slots=True)
class BoardCell:
    """An attack against a guard in a setting."""

    name: CellName
    # By arm: the reference (no guard, nobody malicious), then the trial; empty if it cannot run.
    arms: Mapping[str, TrialConfig]
    reason: str  # why it cannot run; empty if it can
    mistake: bool = False  # the reason is a wrong setting, with or without the guard

    @property
    def arm(self) -> str:
        """The arm of the trial itself. Without attack and guard it is its own reference."""
        return list(self.arms)[-1]


def of_lists(
    lists: BoardLists, *, rounds: int | None = None, overrides: Sequence[str] = ()
) -> list[BoardCell]:
    """Every cell, in the order of the lists. Reads no data: see `checked`.

    Args:
        rounds: of every trial; those of the lists if None.
        overrides: settings for every trial, in the form of `--set`.

    Raises:
        ValueError: a setting would change the guard or the attack of a row.
    """
    rows = {"guard": "guards", "defenses": "guards", "attack": "attacks"}
    for setting in overrides:
        if found := rows.get(re.split(r"[.=]", setting)[0].strip()):
            raise ValueError(
                f"{quote(setting)}: the {found} are the rows of the board; choose rows with "
                f"--{found}, or add one to a file for --lists"
            )
    return [
        _cell(lists, CellName(setting, attack, guard), rounds or lists.rounds, overrides)
        for setting in lists.settings
        for attack, of_attack in lists.attacks.items()
        for guard, of_guard in lists.guards.items()
        if all(not row.settings or setting in row.settings for row in (of_attack, of_guard))
    ]


def checked(cell: BoardCell) -> BoardCell:
    """The cell after the checks of a run: a combination that cannot work gets its reason."""
    try:
        for trial in cell.arms.values():
            assembly.check(trial)
    except ValueError as error:
        return BoardCell(cell.name, {}, str(error))
    return cell


def _cell(lists: BoardLists, name: CellName, rounds: int, overrides: Sequence[str]) -> BoardCell:
    attack, guard = lists.attacks[name.attack], lists.guards[name.guard]
    tables = [
        lists.base,
        lists.tasks[attack.task],
        lists.settings[name.setting].set.get(attack.task, {}),
        attack.set,
        attack.in_.get(name.setting, {}),
    ]
    table = attack.set.get("attack", {})
    plugin = str(table.get("name") if isinstance(table, dict) else table)
    if plugin not in registry.plugins("attack"):
        return BoardCell(name, {}, f"no attack is called {quote(plugin)}")
    nobody = (*overrides, "swarm.malicious=0")
    if attack.kind == "none":
        overrides = nobody
    try:
        _trial(tables, rounds, overrides)  # a mistake that the reference does not show
        quiet = _trial(tables, rounds, nobody)
    except ValueError as error:
        words = f"the attack {quote(name.attack)} in {name.setting}: {error}"
        return BoardCell(name, {}, words, mistake=True)
    try:
        trial = _trial([*tables, guard.set], rounds, overrides)
    except ValueError as error:
        return BoardCell(name, {}, str(error))
    if trial == quiet:
        return BoardCell(name, {REFERENCE: quiet}, "")
    arm = "attack" if name.guard == NO_GUARD else name.guard
    return BoardCell(name, {REFERENCE: quiet, arm: trial}, "")


def _trial(
    tables: Sequence[Mapping[str, Any]], rounds: int, overrides: Sequence[str]
) -> TrialConfig:
    table: dict[str, Any] = {}
    for over in tables:
        table = merge(table, over)
    return validate(TrialConfig, override({**table, "rounds": rounds}, overrides))
