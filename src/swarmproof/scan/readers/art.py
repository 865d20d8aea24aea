"""ART: `STEP.parquet` with `group_index, reward, messages`, a trajectory a row."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from swarmproof.scan.readers.chat import content, message
from swarmproof.scan.readers.values import FileRow, Rows
from swarmproof.scan.rollout import Rollout

NAME = "ART STEP.parquet"


def matches(columns: Collection[str]) -> bool:
    return {"group_index", "reward", "messages"} <= set(columns)


def read(rows: Rows, path: str) -> Iterator[Rollout]:
    stem = Path(path).stem
    step = int(stem) if stem.isdecimal() and len(stem) < 16 else None
    for row in rows:
        messages = row.tables("messages")
        first = _first_own(messages)
        own = [m for m in messages[first:] if m.data.get("role") == "assistant"]
        trained = [m for m in own if m.data.get("trainable")] or own
        yield Rollout(
            id=row.where,
            where=row.where,
            prompt=row.short("\n".join(map(content, messages[:first])), "messages"),
            text=row.short("\n".join(map(message, trained)), "messages"),
            group=f"{path}#{row.name('group_index')}",
            step=step,
            reward=row.number("reward"),
        )


def _first_own(messages: list[FileRow]) -> int:
    """Where the model's own part begins: its first trainable message, else its first."""
    for wanted in ("trainable", "role"):
        for index, each in enumerate(messages):
            if each.data.get(wanted) in (True, "assistant"):
                return index
    return len(messages)
