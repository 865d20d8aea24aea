"""Parquet and CSV as rows. Both are streamed: a batch of a Parquet file, a row of a CSV file."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from swarmproof.scan.readers import lines
from swarmproof.scan.readers.inputs import Advance, Input
from swarmproof.scan.readers.values import MAX_TEXT, FileRow, Rows

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

BATCH = 64  # rows; a row has texts
MAX_ROW_GROUP = 2 << 30  # bytes after decompression, as the file itself states
MAX_COLUMNS = 2_000


def parquet_columns(source: Input) -> tuple[str, ...]:
    """The names of the columns of a Parquet file."""
    return tuple(name for name, _ in _fields(source))


def float_columns(source: Input) -> tuple[str, ...]:
    """Those of them that hold floats."""
    return tuple(name for name, type_ in _fields(source) if type_ in ("double", "float"))


def _fields(source: Input) -> list[tuple[str, str]]:
    with _opened(source) as file:
        schema = file.schema_arrow
        names = [field.name for field in schema]
        if len(set(names)) < len(names):
            raise ValueError(f"{source.path}: has two columns of the same name; keep one")
        if len(names) > MAX_COLUMNS:
            raise ValueError(f"{source.path}: has over {MAX_COLUMNS:,} columns; keep those needed")
        return [(field.name, str(field.type)) for field in schema]


class _opened:
    """A Parquet file, with the errors of pyarrow as one line that names it."""

    def __init__(self, source: Input) -> None:
        self._source = source
        if importlib.util.find_spec("pyarrow") is None:
            raise ValueError(f"{source.path}: Parquet needs pip install 'swarmproof[scan]'")
        import pyarrow

        self._errors = (pyarrow.ArrowException, OSError, UnicodeDecodeError, OverflowError)

    def __enter__(self) -> pq.ParquetFile:
        import pyarrow.parquet as pq

        file = self._source.open()
        try:
            self._file = pq.ParquetFile(file, read_dictionary=[])
            texts = [f.name for f in self._file.schema_arrow if str(f.type) in _TEXTS]
            # One long text in many rows is kept once, whatever a small file expands to.
            file.seek(0)
            self._file = pq.ParquetFile(file, read_dictionary=texts)
        except self._errors as error:
            file.close()
            raise self._line(error) from None
        self._raw = file
        return self._file

    def __exit__(self, kind: Any, error: BaseException | None, _: object) -> None:
        self._raw.close()
        if isinstance(error, self._errors):
            raise self._line(error) from None

    def _line(self, error: BaseException) -> ValueError:
        why = " ".join(str(error).split())[:200]
        return ValueError(
            f"{self._source.path}: is no complete Parquet file ({why}); write or copy it again"
        )


_TEXTS = ("string", "large_string")


def parquet_rows(source: Input, advance: Advance) -> Rows:
    """The rows of a Parquet file, numbered from 1; columns of bytes, such as images, are left out.

    Raises:
        ValueError: the file is damaged, or a row group is larger than `MAX_ROW_GROUP`.
    """
    with _opened(source) as file:
        total, told = max(1, file.metadata.num_rows), 0
        for index in range(file.metadata.num_row_groups):
            size = file.metadata.row_group(index).total_byte_size
            if size > MAX_ROW_GROUP:
                raise ValueError(
                    f"{source.path}: row group {index + 1} has {size:,} bytes; write groups of at "
                    f"most {MAX_ROW_GROUP:,}"
                )
        names = [f.name for f in file.schema_arrow if "binary" not in str(f.type)]
        number = 0
        for batch in file.iter_batches(batch_size=BATCH, columns=names):
            for data in _of_batch(batch):
                number += 1
                yield FileRow(f"{source.path}:{number}", data)
            share = source.size * min(number, total) // total
            advance(share - told)
            told = share


def _of_batch(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    names = batch.schema.names
    columns = batch.columns
    # One row at a time: all texts of a batch at once could be far larger than the file.
    for row in range(batch.num_rows):
        yield {name: column[row].as_py() for name, column in zip(names, columns, strict=True)}


def csv_header(source: Input) -> tuple[str, ...]:
    """The first row of a CSV file."""
    try:
        return tuple(next(csv.reader(_decoded(source, _ignore)), ()))
    except csv.Error as error:
        raise ValueError(f"{source.path}:1: is not CSV ({error})") from None


def csv_rows(source: Input, advance: Advance) -> Rows:
    """The rows of a CSV file below its header; `where` is the line at which a row ends.

    Raises:
        ValueError: the header has a name twice, or a row has another number of fields.
    """
    header = csv_header(source)
    if len(set(header)) < len(header):
        raise ValueError(f"{source.path}:1: has two columns of the same name; keep one")
    csv.field_size_limit(MAX_TEXT)
    reader = csv.reader(_decoded(source, advance), strict=True)
    line = 1
    try:
        next(reader, None)
        for fields in reader:
            line = reader.line_num
            if not fields:
                continue
            if len(fields) != len(header):
                raise ValueError(
                    f"{source.path}:{line}: has {len(fields)} fields, and the header has "
                    f"{len(header)}; quote fields that have commas or line ends"
                )
            yield FileRow(
                f"{source.path}:{line}", dict(zip(header, fields, strict=True)), textual=True
            )
    except csv.Error as error:
        raise ValueError(
            f"{source.path}:{line + 1}: is not CSV ({error}); quote fields that have commas or "
            "line ends"
        ) from None


def _decoded(source: Input, advance: Advance) -> Iterator[str]:
    for number, line in lines.raw(source, advance):
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{source.path}:{number}: is not UTF-8 (byte {error.start}: {error.reason}); write "
                "the file as UTF-8"
            ) from None


def _ignore(_: int) -> None:
    pass
