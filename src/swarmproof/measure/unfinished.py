"""The results of an evaluation of a judge that has not ended, kept on disk.

A large judge needs hours. What is killed goes on with the results that it had. They are those of
the same settings, the same models and the same versions, or none.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

import msgspec

from swarmproof.records.folder import read_json, write_json
from swarmproof.records.versions import versions

REMEDY = "delete it, and the judge is evaluated anew"


class _Share(TypedDict):
    count: int
    of: int
    rate: float
    ci95: tuple[float | None, float | None]


Accepted = dict[str, dict[str, dict[str, Any]]]


class Unfinished:
    """Accepted shares, family -> variant -> share, in a file that each of them replaces.

    Args:
        path: of the file; None: nothing is kept.
        made_with: tells settings and models. It is called when the models are on this machine.
    """

    def __init__(self, path: Path | None, made_with: Callable[[], dict[str, Any]]) -> None:
        self._path = path
        self._made_with = made_with

    def read(self) -> Accepted:
        """What was found before with the same settings, models and versions.

        Raises:
            ValueError: the file is damaged; one line with the remedy.
        """
        if self._path is None or not self._path.exists():
            return {}
        found = read_json(self._path.parent, self._path.name, REMEDY)
        if found.get("made_with") != self._now:
            return {}
        return accepted_of(found, self._path)

    def keep(self, accepted: Accepted) -> None:
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self._path, {"made_with": self._now, "accepted": accepted})

    @cached_property
    def _now(self) -> dict[str, Any]:
        return self._made_with() | {"versions": versions()}


def accepted_of(table: dict[str, Any], path: Path) -> Accepted:
    """The accepted shares in a table that was read from a file.

    Raises:
        ValueError: they are damaged; one line with the remedy.
    """
    try:
        msgspec.convert(table.get("accepted"), dict[str, dict[str, _Share]])
    except msgspec.ValidationError as error:
        raise ValueError(f"{path} is damaged: {error}; {REMEDY}") from None
    accepted: Accepted = table["accepted"]
    return accepted
