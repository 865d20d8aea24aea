"""Reads lines of the streams. Each line is validated, or refused with a one-line error.

Bytes in, plain values out. docs/metrics.md describes the content of a line.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, BinaryIO, NotRequired, TypedDict

import msgspec

from swarmproof.types import NodeId

# Schema number in the first line of each stream. Other schemas are refused as unreadable.
SCHEMA = 2
_CHUNK = 1 << 16
# Bytes of one round's completions: a small damaged or hostile file may expand to anything.
_MAX_MEMBER = 1 << 30
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class VerdictRow(TypedDict):
    """A logged verdict."""

    defense: str
    accepted: bool | None
    score: float
    reason: str
    weight: NotRequired[float]
    token_credit: NotRequired[list[float]]
    renormalised: NotRequired[bool]
    redraw: NotRequired[bool]


class CompletionRow(TypedDict):
    """A logged completion."""

    cohort: NotRequired[str]
    round: _Count
    problem_id: str
    index: _Count
    node: NodeId
    poisoned: bool
    refilled: NotRequired[bool]
    question: str
    answer: str
    text: str
    token_ids: list[_Count]
    tokens: _Count
    reward: float
    kept: bool
    weight: float
    advantage: float
    refused: bool
    verdicts: list[VerdictRow]


class TimingRow(TypedDict):
    """The logged steps of a round, in seconds."""

    round: _Count
    cohort: str
    seconds: dict[str, float]
    cpu: dict[str, float]


def _require_schema(header: object, path: Path) -> None:
    found = header.get("schema") if isinstance(header, dict) else None
    if found != SCHEMA:
        told = "without a schema" if found is None else f"of schema {found!r:.20}"
        raise ValueError(
            f"{path} is {told}, and this version of swarmproof reads schema {SCHEMA}; read it with "
            "the version that versions.json names, or run it again"
        )


def damaged(path: Path, number: int, why: object) -> ValueError:
    return ValueError(
        f"{path} is damaged in line {number}: {why}; delete {path.parent} and run this trial again"
    )


def beyond(value: Any) -> bool:
    """Whether a value contains an integer that is too large for any count or identity."""
    if isinstance(value, int):
        return abs(value) >= 2**64
    if isinstance(value, Mapping):
        return any(map(beyond, value.values()))
    return isinstance(value, list) and any(map(beyond, value))


def decode(lines: list[bytes], path: Path, words: set[str], kind: Any, start: int) -> Iterator[Any]:
    """Lines as values of the type `kind`.

    Args:
        lines: lines of a stream.
        path: path of the stream, for errors.
        words: keys whose values are always text, even `nan` or `inf`.
        kind: type of every line of the stream except the first.
        start: line number of the first of these lines.
    """
    for number, line in enumerate(lines, start):
        try:
            row = msgspec.json.decode(line)
            # Few lines hold such numbers, and searching for them takes longer than parsing JSON.
            if b'nan"' in line or b'inf"' in line:
                row = _numbers(row, words)
            made = msgspec.convert(row, kind) if number > 1 else None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise damaged(path, number, error) from None
        if number == 1:
            _require_schema(row, path)
        else:
            yield made


def gzip_members(path: Path) -> Iterator[bytes]:
    """The members of a gzip file in order, up to an incomplete one."""
    rest = path.read_bytes() if path.exists() else b""
    while rest:
        member = zlib.decompressobj(wbits=31)
        try:
            data = member.decompress(rest, _MAX_MEMBER)
        except zlib.error as error:
            # On some file systems a power cut leaves zeros at the end.
            if not rest.strip(b"\0"):
                return
            raise ValueError(f"{path} is damaged: {error}") from None
        if member.unconsumed_tail:
            raise ValueError(f"{path} is damaged: a round has over {_MAX_MEMBER:,} bytes")
        if not member.eof:
            return
        yield data
        rest = member.unused_data


def ends_member(file: BinaryIO, offset: int, path: Path) -> bool:
    """Whether a member of a gzip file ends at `offset`."""
    member = zlib.decompressobj(wbits=31)
    while offset and (data := file.read(min(_CHUNK, offset))):
        offset -= len(data)
        while data:
            if member.eof:
                member = zlib.decompressobj(wbits=31)
            try:
                member.decompress(data)
            except zlib.error as error:
                raise ValueError(
                    f"{path} is damaged ({error}); delete {path.parent} to start this trial anew"
                ) from None
            data = member.unused_data
    return member.eof


def _numbers(value: Any, words: set[str]) -> Any:
    """The inverse of `_encodable`, for keys that are not in `words`."""
    if value in ("nan", "inf", "-inf"):
        return float(value)
    if isinstance(value, dict):
        return {key: item if key in words else _numbers(item, words) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item, words) for item in value]
    return value
