"""The append-only streams of one trial: its rounds, its completions, its timings.

Bytes in, bytes out: this module knows neither how a trial is run nor what its numbers mean.
docs/metrics.md describes the content of a line.
"""

from __future__ import annotations

import gzip
import math
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from swarmproof.config.cohorts import HOMOGENEOUS
from swarmproof.guard.inspection import Inspection
from swarmproof.records.lines import (
    SCHEMA,
    CompletionRow,
    TimingRow,
    beyond,
    damaged,
    decode,
    ends_member,
    gzip_members,
)
from swarmproof.types import NodeId, Problem, RoundRecord, Sample, Verdict

ROUNDS = "rounds.jsonl"
COMPLETIONS = "completions.jsonl.gz"
TIMINGS = "timings.jsonl"
STREAMS = (ROUNDS, COMPLETIONS, TIMINGS)
# Keys in the result of `read_completions`; on disk only swarms of several cohorts have `cohort`.
COMPLETION_KEYS = (
    "cohort",
    *("round", "problem_id", "index", "node", "poisoned", "question", "answer", "text"),
    *("token_ids", "tokens", "reward", "kept", "weight", "advantage", "refused", "verdicts"),
)
# zlib's default; a fixed number, so that a resumed trial gives the same bytes.
_GZIP_LEVEL = 6


class TrialWriter:
    """Appends the rounds of one trial to its three streams.

    A round's completions are one gzip member, so every offset between two rounds is a position
    in bytes, and any gzip reader still reads the file as a whole.

    Args:
        folder: folder of the trial; made if missing.
        offsets: None to start anew (existing content is cut off); else the result of `flush`:
            every stream is cut back to it, so that the next writes give the same bytes as in a
            trial that was never interrupted.
        malicious: the nodes whose completions are recorded as poisoned.
        by_cohort: there are several cohorts, and each completion is written once for each of them.

    Raises:
        ValueError: a stream is shorter than its offset, has no end of a round there, or an offset
            is missing.
        OSError: the folder cannot be written; the message names the file.
    """

    def __init__(
        self,
        folder: Path,
        offsets: Mapping[str, int] | None,
        *,
        malicious: Collection[NodeId],
        by_cohort: bool = False,
    ) -> None:
        self._malicious, self._by_cohort = malicious, by_cohort
        folder.mkdir(parents=True, exist_ok=True)
        if offsets is None:
            offsets = dict.fromkeys(STREAMS, 0)
        else:
            for name in STREAMS:
                _require_offset(folder / name, offsets.get(name))
        self._files: dict[str, BinaryIO] = {}
        for name in STREAMS:
            # Unbuffered: after a failed write no data remain in memory that could fail again.
            file = (folder / name).open("ab", buffering=0)
            file.truncate(offsets[name])
            self._files[name] = file
        header = _line({"schema": SCHEMA})
        for name in STREAMS:
            if not offsets[name]:
                self._append(name, member(header) if name == COMPLETIONS else header)

    def write(
        self,
        record: RoundRecord,
        found: Inspection,
        seconds: Mapping[str, float],
        cpu: Mapping[str, float],
    ) -> None:
        """Append one round: its record, every completion once, the seconds of its steps.

        Args:
            record: record of the round.
            found: groups and samples of the round.
            seconds: wall seconds of each step.
            cpu: processor seconds of each step.
        """
        at = {"cohort": record.cohort} if self._by_cohort else {}
        problems = {group.completions[0].slot.problem_id: group.problem for group in found.groups}
        rows = (
            at | completion_row(problems[s.completion.slot.problem_id], s, self._malicious)
            for s in (*(sample for row in found.samples for sample in row), *found.replaced)
        )
        lines = b"".join(map(_line, rows))
        timing = {
            "round": record.round,
            "cohort": record.cohort,
            "seconds": dict(seconds),
            "cpu": dict(cpu),
        }
        # Completions are written first, so that every listed round has its completions.
        self._append(COMPLETIONS, member(lines))
        self._append(TIMINGS, _line(timing))
        self._append(ROUNDS, _line(as_row(record)))

    def flush(self) -> dict[str, int]:
        """Flush everything to disk; return the size of each stream in bytes, for the checkpoint."""
        for file in self._files.values():
            os.fsync(file.fileno())
        return {name: os.fstat(file.fileno()).st_size for name, file in self._files.items()}

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def __enter__(self) -> TrialWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _append(self, name: str, data: bytes) -> None:
        file = self._files[name]
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except OSError as error:  # the error itself names no file
            raise OSError(error.errno, error.strerror, file.name) from None


def _require_offset(path: Path, offset: int | None) -> None:
    """Raise ValueError unless a line, or a member of a gzip file, ends at `offset`."""
    remedy = f"delete {path.parent} to start this trial anew"
    size = path.stat().st_size if path.exists() else 0
    if offset is None or size < offset:
        told = "an unknown number" if offset is None else offset
        raise ValueError(
            f"{path} is shorter than the checkpoint expects (it has {size} bytes of {told}); "
            f"{remedy}"
        )
    with path.open("rb") as file:
        if path.name == COMPLETIONS:
            ends = offset > 0 and ends_member(file, offset, path)
        else:
            file.seek(max(0, offset - 1))
            ends = offset > 0 and file.read(1) == b"\n"
    if not ends:
        raise ValueError(
            f"{path} has no end of a round at byte {offset}, where the checkpoint expects one; "
            f"{remedy}"
        )


def completion_row(
    problem: Problem, sample: Sample, malicious: Collection[NodeId]
) -> dict[str, Any]:
    """The logged form of a completion, keys in fixed order."""
    completion = sample.completion
    return {
        "round": completion.slot.round,
        "problem_id": completion.slot.problem_id,
        "index": completion.slot.index,
        "node": completion.node,
        "poisoned": completion.node in malicious and not completion.refilled,
        # Most runs draw nothing in another's place; the key is there only where it is true.
        **({"refilled": True} if completion.refilled else {}),
        "question": problem.question,
        "answer": problem.answer,
        "text": completion.text,
        "token_ids": sample.tokens,
        "tokens": len(sample.tokens),
        "reward": sample.reward,
        "kept": sample.kept,
        "weight": sample.weight,
        "advantage": sample.advantage,
        "refused": sample.refused,
        "verdicts": [_verdict_row(verdict) for verdict in sample.verdicts],
    }


def _verdict_row(verdict: Verdict) -> dict[str, Any]:
    row: dict[str, Any] = {
        "defense": verdict.defense,
        "accepted": verdict.accepted,
        "score": verdict.score,
        "reason": verdict.reason,
    }
    # Most defences give no weights; the keys are present only where one does.
    if verdict.weight != 1:
        row["weight"] = verdict.weight
    if verdict.token_credit is not None:
        row["token_credit"] = verdict.token_credit
    if verdict.renormalised:
        row["renormalised"] = True
    if verdict.redraw:
        row["redraw"] = True
    return row


def as_row(record: RoundRecord) -> dict[str, Any]:
    """The fields of a record by name, in order."""
    return {field.name: getattr(record, field.name) for field in fields(record)}


def read_rounds(folder: Path) -> list[RoundRecord]:
    """The rounds of a trial that were written so far; none if there is no such stream.

    Raises:
        ValueError: the stream is damaged before its last line, or of another version; one line
            with the number of the bad line.
    """
    words = {"cohort", "reason", "problem_id", "absent"}
    path = folder / ROUNDS
    records: list[RoundRecord] = list(_read_lines(path, words, RoundRecord))
    for number, record in enumerate(records, 2):
        if record.round < 0:
            raise damaged(path, number, "Expected `int` >= 0 - at `$.round`")
        if bad := next((key for key, value in as_row(record).items() if beyond(value)), None):
            raise damaged(path, number, f"Integer value out of range - at `$.{bad}`")
    return records


def read_timings(folder: Path) -> list[dict[str, Any]]:
    """`{"round", "cohort", "seconds": {step: wall seconds}, "cpu": {step: processor seconds}}`.

    Raises:
        ValueError: as `read_rounds`.
    """
    path = folder / TIMINGS
    rows = list(_read_lines(path, {"cohort"}, TimingRow))
    for number, row in enumerate(rows, 2):
        if row["seconds"].keys() != row["cpu"].keys():
            raise damaged(path, number, "`seconds` and `cpu` do not have the same steps")
    return rows


def read_completions(folder: Path) -> Iterator[dict[str, Any]]:
    """The completions of a trial in the form of `completion_row`; whole rounds only.

    One entry for each cohort that received it; in a swarm of one model the cohort is `honest`.

    Raises:
        ValueError: the stream is damaged before its last round; one line with the number of the
            bad line.
    """
    path = folder / COMPLETIONS
    words = {"cohort", "question", "answer", "text", "problem_id", "reason", "defense"}
    start = 1
    for member in gzip_members(path):
        lines = member.splitlines()
        for row in decode(lines, path, words, CompletionRow, start):
            yield {"cohort": HOMOGENEOUS} | row
        start += len(lines)


def _read_lines(path: Path, words: set[str], kind: Any) -> Iterator[Any]:
    """Lines of a stream, without the incomplete end that a killed process leaves."""
    whole, _, _ = (path.read_bytes() if path.exists() else b"").rpartition(b"\n")
    return decode(whole.split(b"\n") if whole else [], path, words, kind, 1)


def member(lines: bytes) -> bytes:
    """Lines as a gzip member, always the same bytes."""
    return gzip.compress(lines, _GZIP_LEVEL, mtime=0)


def _line(row: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(_encodable(row)) + b"\n"


def _encodable(value: Any) -> Any:
    """Plain values for JSON. Infinities and NaN become the strings "inf", "-inf" and "nan". A lone
    surrogate, which UTF-8 cannot encode, becomes its escape `\\udc80` as text."""
    match value:
        case None | bool():
            return value
        case str():
            return value.encode("utf-8", "backslashreplace").decode("utf-8")
        case Mapping():
            return {str(key): _encodable(item) for key, item in value.items()}
        case list() | tuple():
            return [_encodable(item) for item in value]
        case int():
            return int(value)
        case _:
            # This branch also receives NumPy scalars.
            number = value.item() if hasattr(value, "item") else value
            if isinstance(number, float):
                return float(number) if math.isfinite(number) else str(float(number))
            return number
