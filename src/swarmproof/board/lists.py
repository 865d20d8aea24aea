"""The lists of a board as data: settings, attacks, guards and goals, from a TOML. Runs nothing."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, StringConstraints, ValidationError, model_validator

from swarmproof.config import quote
from swarmproof.config.quoting import dotted
from swarmproof.config.settings import MAX_ROUNDS, Table
from swarmproof.registry import did_you_mean

AttackKind = Literal["none", "paper", "adaptive"]
# They name folders and places on the page.
Name = Annotated[str, StringConstraints(pattern=r"^\w[\w.-]{0,99}$")]
_MAX_FILE = 256 * 1024
_ModelT = TypeVar("_ModelT", bound=BaseModel)
_Share = Annotated[float, Field(ge=0, le=1)]


class Goals(Table):
    """What a recommended guard should reach against one kind of attack; None: no goal."""

    asr: _Share | None = None  # at most
    length: Annotated[float, Field(ge=0)] | None = None  # over that without an attack, at most
    honest_refused: _Share | None = None  # share of honest completions, at most
    accuracy_lost: _Share | None = None  # against no attack, at most
    below_bound: _Share | None = None  # accuracy below that of the guard that is a bound, at most
    same_updates: bool = False  # the updates of every round are those without an attack


class BoardSetting(Table):
    """A kind of swarm."""

    title: str
    recommended: tuple[str, ...] = ()  # guards that the goals are for
    goals: dict[AttackKind, Goals] = Field(default_factory=dict)
    set: dict[Name, dict[str, Any]]  # by task


class AttackRow(Table):
    """An attack with its own topology, task and fields."""

    title: str
    kind: AttackKind
    task: str
    settings: tuple[str, ...] = ()  # all if empty
    set: dict[str, Any]
    in_: dict[str, dict[str, Any]] = Field(default_factory=dict, alias="in")  # by setting
    # Of a round, by setting.
    seconds: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)


class GuardRow(Table):
    """A guard: the settings that an honest node adds."""

    title: str
    bound: bool = False  # it knows who is malicious, so no user can have it
    settings: tuple[str, ...] = ()  # all if empty
    set: dict[str, Any] = Field(default_factory=dict)


class BoardLists(Table):
    """All of a board."""

    rounds: Annotated[int, Field(ge=1, le=MAX_ROUNDS)]
    base: dict[str, Any]
    tasks: dict[Name, dict[str, Any]]
    settings: dict[Name, BoardSetting]
    attacks: dict[Name, AttackRow]
    guards: dict[Name, GuardRow]

    @model_validator(mode="after")
    def _known_names(self) -> BoardLists:
        for where, guard in self.guards.items():
            _require_known(f"{where}: settings", guard.settings, self.settings)
        for where, attack in self.attacks.items():
            _require_known(f"{where}: settings", attack.settings, self.settings)
            _require_known(f"{where}: task", (attack.task,), self.tasks)
            _require_known(f"{where}: in", attack.in_, self.settings)
            _require_known(f"{where}: seconds", attack.seconds, self.settings)
        for where, setting in self.settings.items():
            _require_known(f"{where}: recommended", setting.recommended, self.guards)
            _require_known(f"{where}: set", setting.set, self.tasks)
        return self


def read(path: Path | None = None) -> BoardLists:
    """The lists of a file; those that ship if it is None.

    Raises:
        ValueError: the file cannot be read, or is not valid; one line.
    """
    file = path or Path(str(files("swarmproof.board"))) / "tiny.toml"
    try:
        if file.stat().st_size > _MAX_FILE:
            raise ValueError(f"{file} is larger than {_MAX_FILE:,} bytes")
        table = tomllib.loads(file.read_bytes().decode("utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read {file}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not valid TOML: {str(error)[:200]}") from None
    return checked(BoardLists, table, str(file))


def checked(model: type[_ModelT], table: object, where: str) -> _ModelT:
    """`model_validate`, with one line that names the key.

    Raises:
        ValueError: that line.
    """
    try:
        return model.model_validate(table)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        words = [where, dotted(first["loc"]), first["msg"].removeprefix("Value error, ")]
        raise ValueError(" ".join(": ".join(filter(None, words)).split())) from None


def chosen(what: str, wanted: str | None, known: dict[str, Any]) -> tuple[str, ...]:
    """The names of a list `a,b`, in the order of the file; all if it is None.

    Raises:
        ValueError: a name is not known.
    """
    if wanted is None:
        return tuple(known)
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    _require_known(f"--{what}", names or ("",), known)
    return tuple(name for name in known if name in names)


def _require_known(where: str, names: Any, known: Any) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{where}: {quote(name)} is not known{did_you_mean(name, known)}")
