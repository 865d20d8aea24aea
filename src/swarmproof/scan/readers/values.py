"""Values of a row with their types checked: the right type, or one line that names the row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import msgspec

# Characters of one text, and of a name such as a sender's.
MAX_TEXT, MAX_NAME = 1 << 24, 200
MAX_STEP = 2**53
_Id = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
_Bit = Annotated[int, msgspec.Meta(ge=0, le=1)]
_NAMES: dict[type, str] = {
    type(None): "nothing",
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a table",
    bytes: "bytes",
}


class FileRow:
    """One row of a file: `where` is FILE:LINE."""

    __slots__ = ("data", "textual", "where")

    def __init__(self, where: str, data: Mapping[str, Any], *, textual: bool = False) -> None:
        self.where, self.data = where, data
        self.textual = textual  # of a CSV file, in which numbers are text

    def wrong(self, why: str) -> ValueError:
        return ValueError(f"{self.where}: {why}")

    def inner(self, data: Any, key: str) -> FileRow:
        """A table inside this row."""
        if isinstance(data, Mapping):
            return FileRow(self.where, data)
        raise self.wrong(f"`{key}` is {kind(data)}, not a table")

    def table(self, key: str) -> FileRow:
        """A table inside this row; an empty one where there is none."""
        data = self.data.get(key)
        return FileRow(self.where, {}) if data is None else self.inner(data, key)

    def tables(self, key: str) -> list[FileRow]:
        return [self.inner(item, key) for item in self.items(key)]

    def items(self, key: str) -> Sequence[Any]:
        value = self.data.get(key)
        if value is None:
            return ()
        if isinstance(value, list | tuple):
            return value
        raise self.wrong(f"`{key}` is {kind(value)}, not a list")

    def need(self, key: str) -> Any:
        if key in self.data:
            return self.data[key]
        raise self.wrong(f"has no `{key}`, as rows before it have; give files of one format")

    def text(self, key: str) -> str:
        value = self.need(key)
        if not isinstance(value, str):
            raise self.wrong(f"`{key}` is {kind(value)}, not text")
        return self.short(value, key)

    def short(self, value: str, key: str) -> str:
        if len(value) <= MAX_TEXT:
            return value
        raise self.wrong(f"`{key}` has {len(value):,} characters; at most {MAX_TEXT:,} are read")

    def name(self, key: str) -> str | None:
        """A short text or a whole number, as text."""
        value = self.data.get(key)
        if value is None or value == "":
            return None
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise self.wrong(f"`{key}` is {kind(value)}, not a name or a number")
        if isinstance(value, int) and abs(value) > MAX_STEP:
            raise self.wrong(f"`{key}` is beyond 2**53, too large for a number of a group or node")
        if len(str(value)) > MAX_NAME:
            raise self.wrong(f"`{key}` has over {MAX_NAME} characters, too long for a name")
        return str(value)

    def number(self, key: str) -> float | None:
        """A finite number; None where there is none."""
        value = self.data.get(key)
        if value is None or (self.textual and value == ""):
            return None
        try:
            if self.textual or isinstance(value, int | float):
                if math.isfinite(found := float(value)):
                    return found
                raise self.wrong(f"`{key}` is {found}; leave it empty where there is no number")
        except (ValueError, OverflowError) as error:
            if str(error).startswith(self.where):
                raise
            raise self.wrong(f"`{key}` is {str(value)[:40]!r}, not a number in range") from None
        raise self.wrong(f"`{key}` is {kind(value)}, not a number")

    def step(self, key: str) -> int | None:
        """A whole number from 0."""
        number = self.number(key)
        if number is None:
            return None
        if number != int(number) or not 0 <= number <= MAX_STEP:
            raise self.wrong(f"`{key}` is {number:g}, not a step: a whole number from 0")
        return int(number)

    def flag(self, key: str) -> bool | None:
        value = self.data.get(key)
        if value is None or value == "":
            return None
        if self.textual and value in ("True", "true", "1", "False", "false", "0"):
            return value in ("True", "true", "1")
        if isinstance(value, bool):
            return value
        raise self.wrong(f"`{key}` is {kind(value)}, not true or false")

    def shown(self, key: str) -> str | None:
        """An answer: text as it is, other values as JSON."""
        value = self.data.get(key)
        if value is None or isinstance(value, str):
            return None if value is None else self.short(value, key)
        try:
            shown: str = msgspec.json.encode(value).decode()
        except (TypeError, ValueError, RecursionError) as error:
            raise self.wrong(f"`{key}` cannot be shown: {error}") from None
        return shown

    def ids(self, key: str) -> tuple[int, ...]:
        found: tuple[int, ...] = self._as(key, tuple[_Id, ...])
        return found

    def bits(self, key: str) -> tuple[int | bool, ...]:
        found: tuple[int | bool, ...] = self._as(key, tuple[_Bit | bool, ...])
        return found

    def floats(self, key: str) -> tuple[float, ...]:
        found: tuple[float, ...] = self._as(key, tuple[float, ...])
        if all(map(math.isfinite, found)):
            return found
        raise self.wrong(f"`{key}` has a number that is not finite")

    def _as(self, key: str, type_: Any) -> Any:
        try:
            return msgspec.convert(self.items(key), type_)
        except (msgspec.ValidationError, OverflowError) as error:
            raise self.wrong(f"`{key}`: {error}") from None


Rows = Iterator[FileRow]


def kind(value: object) -> str:
    return _NAMES.get(type(value), type(value).__name__)


def verdict(row: FileRow) -> tuple[bool, str | None]:
    """Whether a guard refused a row, and why, from the columns that a guard writes."""
    if not row.flag("guard/refused"):
        return False, None
    told = [row.shown(key) for key in ("guard/defence", "guard/reason")]
    return True, ": ".join(filter(None, told)) or "refused"
