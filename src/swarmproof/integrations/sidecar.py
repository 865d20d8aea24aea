"""A guard's verdicts in a file of its own, for trainers that do not keep them.

JSON lines, one for each completion, only ever appended to. `swarmproof scan` reads them back.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swarmproof.integrations.rows import TrainerRow


class Sidecar:
    """Appends the completions of each inspected batch to a file.

    A line has `id, step, group, sender, prompt, completion, reward` and the columns `guard/…` of
    `rows.columns`. Ids differ between runs and processes that write to the same file. It can be
    pickled, so that a trainer's worker process writes to the same file.

    Args:
        path: the file; its folder must exist.

    Raises:
        OSError: the file cannot be opened for writing.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._start()
        with self.path.open("ab"):
            pass  # a wrong path is an error now, and not after the first hour

    def _start(self) -> None:
        self._run, self._batches = secrets.token_hex(4), 0

    def write(
        self, rows: Sequence[TrainerRow], columns: Sequence[Mapping[str, Any]], step: int
    ) -> None:
        """Append a batch.

        Args:
            rows: its completions.
            columns: `rows.columns` of each.
            step: the trainer's step.
        """
        groups = {key: i for i, key in enumerate(dict.fromkeys(row.group for row in rows))}
        batch = f"{self._run}-{step}-{self._batches}"
        self._batches += 1
        lines = [
            _line(
                {
                    "id": f"{batch}-{i}",
                    "step": step,
                    "group": f"{batch}/{groups[row.group]}",
                    "sender": row.sender,
                    "prompt": row.prompt,
                    "completion": row.text,
                    "reward": row.reward,
                    **told,
                }
            )
            for i, (row, told) in enumerate(zip(rows, columns, strict=True))
        ]
        with self.path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # other processes may write to it
            _to_end_of_last_line(file)
            file.write(b"".join(lines))

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.path = state["path"]
        self._start()


def _to_end_of_last_line(file: Any) -> None:
    """Go to the end, and cut what a killed process left there of a line."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - 65_536)
        file.seek(start)
        at = file.read(end - start).rfind(b"\n")
        if at >= 0:
            end = start + at + 1
            break
        end = start
    file.seek(end)
    file.truncate()


def _line(row: Mapping[str, Any]) -> bytes:
    plain = {key: _plain(value) for key, value in row.items()}
    return json.dumps(plain, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _plain(value: Any) -> Any:
    """A value for JSON. NaN is null; half a surrogate pair becomes its escape as text."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, float):
        return value if value - value == 0 else None
    return value
