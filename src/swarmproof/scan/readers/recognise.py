"""Which format a file has, by its content: magic bytes, keys of its first line, columns."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice

from swarmproof.scan.readers import (
    art,
    columns,
    inspect_log,
    lines,
    lm_eval,
    node_archive,
    results,
    run_folder,
    sidecar,
    slime,
    tables,
    trl,
    verifiers,
    verl,
)
from swarmproof.scan.readers.columns import ColumnNames
from swarmproof.scan.readers.inputs import Advance, Input, unreadable
from swarmproof.scan.readers.values import FileRow, Rows
from swarmproof.scan.rollout import Rollout

# Asked in this order; the first that knows the keys of the first line reads the file.
_LINES = (sidecar, verl, verifiers, results, lm_eval)
FORMATS = tuple(
    each.NAME for each in (run_folder, verifiers, trl, verl, results, art, slime, lm_eval,
                           inspect_log, sidecar, node_archive)
)  # fmt: skip
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x04\x22\x4d\x18": "lz4",
    b"7z\xbc\xaf": "7z",
}
_PARQUET, _ZIP = b"PAR1", b"PK\x03\x04"
_PICKLES = tuple(bytes((0x80, version)) for version in range(1, 6))


class NotRolloutsError(ValueError):
    """A file without rollouts: an error where the user named it, listed where a folder has it."""


@dataclass(frozen=True, slots=True)
class Readable:
    """A file of a known format."""

    source: Input
    format: str
    read: Callable[[Advance], Iterator[Rollout]]


def recognise(source: Input, wanted: ColumnNames | None) -> Readable:
    """The reader of a file.

    Args:
        source: the file.
        wanted: the columns to read, whatever the format is; None: the format is found out.

    Raises:
        NotRolloutsError: no format is known that looks like this.
        ValueError: the file is broken, or lacks a wanted column.
    """
    if not source.size:
        raise NotRolloutsError(f"{source.path}: is empty; name files of completions")
    with source.open() as file:
        try:
            head = file.read(32)
        except OSError as error:
            raise unreadable(source.path, error) from None
    if head.startswith(_PARQUET):
        return _parquet(source, wanted)
    if head.startswith(_ZIP):
        return _zip(source)
    if run_folder.matches(source) and head.startswith(b"\x1f\x8b"):
        return Readable(source, run_folder.NAME, partial(run_folder.read, source))
    if head.startswith(node_archive.MAGIC):
        return Readable(source, node_archive.NAME, partial(node_archive.read, source))
    for magic, name in _COMPRESSED.items():
        if head.startswith(magic):
            raise NotRolloutsError(f"{source.path}: is compressed with {name}; unpack it first")
    if head.startswith(_PICKLES):
        raise NotRolloutsError(
            f"{source.path}: is a pickle, which can run code, so it is not loaded; write its "
            "completions as JSON lines"
        )
    return _text(source, wanted)


def _parquet(source: Input, wanted: ColumnNames | None) -> Readable:
    have = tables.parquet_columns(source)
    path = str(source.path)

    def rows(advance: Advance) -> Rows:
        return tables.parquet_rows(source, advance)

    if wanted is not None:
        wanted.require(have, path)
        return Readable(source, wanted.name, lambda a: columns.read(rows(a), path, wanted))
    if trl.matches(have):
        floats = tables.float_columns(source)
        return Readable(source, trl.NAME, lambda a: trl.read(rows(a), path, floats))
    if art.matches(have):
        return Readable(source, art.NAME, lambda a: art.read(rows(a), path))
    raise _unknown(source, have)


def _zip(source: Input) -> Readable:
    if slime.matches(source):
        return Readable(source, slime.NAME, partial(slime.read, source))
    if inspect_log.is_zip(source):
        return Readable(source, inspect_log.NAME, partial(inspect_log.read_zip, source))
    raise NotRolloutsError(
        f"{source.path}: is a zip archive or torch file, but neither slime's debug dump nor an "
        "inspect log; unpack it, or write its completions as JSON lines"
    )


def _text(source: Input, wanted: ColumnNames | None) -> Readable:
    path = str(source.path)
    every = ((number, line.strip()) for number, line in lines.raw(source, _ignore))
    first = next(((number, line) for number, line in every if line), None)
    if first is None:
        raise NotRolloutsError(f"{path}: is empty; name files of completions")
    number, line = first
    is_json = line.startswith((b"{", b"[")) or source.path.suffix == ".jsonl"
    if source.path.suffix == ".csv" or (wanted is not None and not is_json):
        header = tables.csv_header(source)
        if wanted is None:
            raise _unknown(source, header)
        wanted.require(header, path)
        rows = partial(tables.csv_rows, source)
        return Readable(source, wanted.name, lambda a: columns.read(rows(a), path, wanted))
    if not is_json:
        raise _unknown(source, ())
    if source.path.suffix == ".json" or line in (b"{", b"["):
        return _one_value(source, line)
    return _json_lines(source, wanted, lines.parsed(line, f"{path}:{number}"))


def _one_value(source: Input, line: bytes) -> Readable:
    path = str(source.path)
    if line.startswith(b"["):
        raise NotRolloutsError(f"{path}: is one JSON list; write one object a line")
    if inspect_log.matches(lines.whole(source, _ignore).data):
        return Readable(
            source, inspect_log.NAME, lambda a: inspect_log.read(lines.whole(source, a), path)
        )
    raise NotRolloutsError(
        f"{path}: is one JSON object, but no inspect log; write one completion a line"
    )


def _json_lines(source: Input, wanted: ColumnNames | None, first: FileRow) -> Readable:
    path = str(source.path)
    have = first.data.keys()
    if wanted is not None:
        wanted.require(have, path)
        return Readable(
            source, wanted.name, lambda a: columns.read(lines.rows(source, a), path, wanted)
        )
    if inspect_log.matches(have):
        return _one_value(source, b"{")
    for each in _LINES:
        if each.matches(have):
            return Readable(source, each.NAME, partial(_lines_of, each.read, source))
    raise _unknown(source, have)


def _lines_of(
    read: Callable[[Rows, str], Iterator[Rollout]], source: Input, advance: Advance
) -> Iterator[Rollout]:
    return read(lines.rows(source, advance), str(source.path))


def _unknown(source: Input, have: Collection[str]) -> NotRolloutsError:
    keys = ", ".join(str(key)[:40] for key in islice(have, 12))
    told = f" (it has {keys})" if keys else ""
    return NotRolloutsError(
        f"{source.path}: is no known rollout file{told}; known are {', '.join(FORMATS)}; for any "
        "other JSON lines, CSV or Parquet give --prompt COL --completion COL"
    )


def _ignore(_: int) -> None:
    pass
