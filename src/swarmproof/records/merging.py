"""One trial's streams from those of the nodes that played it, each in a process of its own.

A node records its own cohort. The streams of a simulation have all cohorts, round by round. Knows
no network: whether nodes recorded the same is for `differing`, and what follows for the caller.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from swarmproof.records.lines import gzip_members
from swarmproof.records.streams import COMPLETIONS, ROUNDS, STREAMS, member


def merge(folders: Sequence[Path], into: Path) -> None:
    """Write the streams of a trial.

    Args:
        folders: of one node of each cohort, in the order of the cohorts.
        into: folder of the trial; made if missing.

    Raises:
        OSError: it cannot be written.
    """
    into.mkdir(parents=True, exist_ok=True)
    for name in STREAMS:
        parts = [_parts(folder / name) for folder in folders]
        heads = parts[0][:1]
        rows = [row for of_round in zip(*(part[1:] for part in parts), strict=False)
                for row in of_round]  # fmt: skip
        (into / name).write_bytes(b"".join(_packed(name, part) for part in (*heads, *rows)))


def differing(folders: Sequence[Path]) -> list[Path]:
    """The folders whose records are not those of the first one.

    Their timings may differ, and their words for an absence: nodes agree on who is absent, but one
    may call late what another calls missing.
    """
    return [
        folder
        for folder in folders[1:]
        if any(_agreed(folder / n) != _agreed(folders[0] / n) for n in (ROUNDS, COMPLETIONS))
    ]


def _agreed(path: Path) -> list[bytes]:
    parts = _parts(path)
    return [_without_words(line) for line in parts] if path.name == ROUNDS else parts


def _without_words(line: bytes) -> bytes:
    try:
        row = json.loads(line)
    except ValueError:  # damaged, which is a difference as well
        return line
    if not isinstance(row, dict) or not isinstance(row.get("absent"), dict):
        return line
    return json.dumps({**row, "absent": sorted(row["absent"])}).encode()


def _parts(path: Path) -> list[bytes]:
    """The header, and the part of each round."""
    if path.suffix == ".gz":
        return list(gzip_members(path))
    whole, _, _ = (path.read_bytes() if path.exists() else b"").rpartition(b"\n")
    return [line + b"\n" for line in whole.split(b"\n")] if whole else []


def _packed(name: str, part: bytes) -> bytes:
    return member(part) if name == COMPLETIONS else part
