"""JSON, one object a line or one in a file. Bytes in, rows out; a line too long is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from swarmproof.scan.readers.inputs import Advance, Input, unreadable
from swarmproof.scan.readers.values import FileRow, Rows, kind

MAX_LINE = 64 << 20  # bytes
MAX_WHOLE = 512 << 20  # bytes of a file that is one JSON value
_BOM = b"\xef\xbb\xbf"
_SPACED_KEY = re.compile(rb'"[ \t\r\n]+:')
_OTHER_BOMS = (b"\xff\xfe", b"\xfe\xff")


def raw(source: Input, advance: Advance) -> Iterator[tuple[int, bytes]]:
    """The lines of a text file with their numbers and their ends, without a mark of UTF-8.

    Raises:
        ValueError: a line is longer than `MAX_LINE`, or the file cannot be read.
    """
    rest, number = source.size, 0
    with source.open() as file:
        while rest > 0:
            try:
                line = file.readline(min(MAX_LINE + 1, rest))
            except OSError as error:
                raise unreadable(f"{source.path}:{number + 1}", error) from None
            if not line:
                return
            number += 1
            rest -= len(line)
            if len(line) > MAX_LINE:
                raise ValueError(
                    f"{source.path}:{number}: the line is longer than {MAX_LINE:,} bytes; "
                    "write one completion a line"
                )
            advance(len(line))
            yield number, line if number > 1 else _without_bom(line, source)


def _without_bom(line: bytes, source: Input) -> bytes:
    if line.startswith(_OTHER_BOMS):
        raise ValueError(f"{source.path}:1: is UTF-16 or UTF-32; convert it to UTF-8")
    return line.removeprefix(_BOM)


def rows(source: Input, advance: Advance) -> Rows:
    """The objects of a file of JSON lines."""
    for number, line in raw(source, advance):
        if line := line.strip():
            yield parsed(line, f"{source.path}:{number}")


def parsed(data: bytes, where: str) -> FileRow:
    """One JSON object.

    Raises:
        ValueError: it is none, has a key twice, or is nested too deeply.
    """
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{where}: {_why(data, error)}") from None
    if isinstance(found, dict):
        _refuse_doubled(found, data, where)
        return FileRow(where, found)
    raise ValueError(f"{where}: is {kind(found)}, not an object; write one object a line")


def _refuse_doubled(found: dict[str, Any], data: bytes, where: str) -> None:
    # Readers differ in which of two equal keys they take. Every key ends in `":`, so where as many
    # are counted as the parser kept, no key came twice; only other lines are parsed once more.
    if data.count(b'":') == _keys(found) and not _SPACED_KEY.search(data):
        return
    doubled: list[str] = []

    def look(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                doubled.append(key)
            seen.add(key)

    try:
        json.loads(data, object_pairs_hook=look)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: {_why(data, error)}") from None
    if doubled:
        raise ValueError(
            f"{where}: has the key {doubled[0][:60]!r} twice, so that readers may differ; keep one"
        )


def _keys(value: dict[str, Any]) -> int:
    """The keys in a table. Lists count by their first item, which can only be too few."""
    count = len(value)
    for item in value.values():
        if type(item) is dict:
            count += _keys(item)
        elif type(item) is list and item and type(item[0]) is dict:
            count += sum(_keys(each) for each in item if type(each) is dict)
    return count


def _why(data: bytes, error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "is nested too deeply for a completion; write plain fields"
    try:
        text = data.decode()
    except UnicodeDecodeError as broken:
        return f"is not UTF-8 (byte {broken.start}: {broken.reason}); write the file as UTF-8"
    constants: list[str] = []
    try:
        json.loads(text, parse_constant=constants.append)
    except (ValueError, RecursionError):
        constants = []
    if constants:
        return f"{constants[0]} is no JSON number; write null where there is no number"
    return f"is not JSON ({error}); if a trainer is writing this file, scan it again later"


def whole(source: Input, advance: Advance) -> FileRow:
    """A file that is one JSON object.

    Raises:
        ValueError: as `parsed`, or the file is larger than `MAX_WHOLE`.
    """
    if source.size > MAX_WHOLE:
        raise ValueError(
            f"{source.path}: is one JSON value of over {MAX_WHOLE:,} bytes; write one completion "
            "a line"
        )
    with source.open() as file:
        try:
            data = file.read(source.size)
        except OSError as error:
            raise unreadable(source.path, error) from None
    advance(len(data))
    return parsed(data.removeprefix(_BOM), str(source.path))
