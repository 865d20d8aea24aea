"""inspect: a log of an evaluation, as `.json` or as `.eval`, which is a zip of JSON files.

Read directly, since inspect's own reader resolves what a log refers to. Epochs of a sample are a
group. Of several scores the first is taken.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path

from swarmproof.scan.readers.chat import asked, message
from swarmproof.scan.readers.inputs import Advance, Input, natural
from swarmproof.scan.readers.lines import MAX_LINE, parsed
from swarmproof.scan.readers.values import FileRow
from swarmproof.scan.rollout import Rollout

NAME = "inspect log"
_GRADES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
_REMEDY = "write it anew with `inspect log convert --to json`"


def matches(keys: Collection[str]) -> bool:
    return {"version", "eval", "status"} <= set(keys)


def read(log: FileRow, path: str) -> Iterator[Rollout]:
    """Rollouts of a `.json` log."""
    for number, data in enumerate(log.items("samples"), 1):
        sample = FileRow(f"{path}:sample {number}", log.inner(data, "samples").data)
        yield _rollout(sample, path)


def is_zip(source: Input) -> bool:
    try:
        with source.open() as file, zipfile.ZipFile(file) as archive:
            return any(name.startswith("samples/") for name in archive.namelist())
    except (zipfile.BadZipFile, NotImplementedError, OSError, UnicodeDecodeError):
        return False


def read_zip(source: Input, advance: Advance) -> Iterator[Rollout]:
    """Rollouts of an `.eval` log, one sample in memory at a time."""
    with source.open() as file, zipfile.ZipFile(file) as archive:
        entries = [e for e in archive.infolist() if e.filename.startswith("samples/")]
        entries.sort(key=lambda entry: natural(Path(entry.filename)))
        for entry in entries:
            where = f"{source.path}:{entry.filename[:200]}"
            if entry.is_dir():
                continue
            try:
                with archive.open(entry) as packed:
                    # Read, not believed: a small archive may expand to anything.
                    data = packed.read(MAX_LINE + 1)
            except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError) as e:
                raise ValueError(f"{where}: cannot be unpacked ({e}); {_REMEDY}") from None
            except zlib.error as e:
                raise ValueError(f"{where}: cannot be unpacked ({e}); {_REMEDY}") from None
            if len(data) > MAX_LINE:
                raise ValueError(f"{where}: is longer than {MAX_LINE:,} bytes; log without events")
            advance(entry.compress_size)
            yield _rollout(parsed(data, where), str(source.path))


def _rollout(sample: FileRow, path: str) -> Rollout:
    output = sample.table("output")
    choices = output.tables("choices")
    if choices:
        text = message(choices[0].table("message"))
        stop = choices[0].data.get("stop_reason")
    else:
        text, stop = str(output.data.get("completion") or ""), None
    return Rollout(
        id=sample.where,
        where=sample.where,
        prompt=asked(sample, "input"),
        text=text,
        group=f"{path}#{sample.name('id')}",
        reward=_score(sample),
        answer=sample.shown("target"),
        truncated=None if stop is None else stop in ("max_tokens", "model_length"),
        masked=sample.data.get("error") is not None,
    )


def _score(sample: FileRow) -> float | None:
    scores = sample.table("scores")
    for name in scores.data:
        score = scores.table(name)
        value = score.data.get("value")
        if isinstance(value, str):
            return _GRADES.get(value)
        return score.number("value") if isinstance(value, int | float) else None
    return None
