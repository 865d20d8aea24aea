"""lm-eval: `samples_TASK_DATE.jsonl` with `doc_id, doc, target, arguments, resps, metrics`.

A line is written for each filter of the answers; those of the first filter are read. Tasks that
only compare log-likelihoods have no text to scan.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from swarmproof.scan.readers.values import FileRow, Rows
from swarmproof.scan.rollout import Rollout

NAME = "lm-eval samples_TASK.jsonl"


def matches(keys: Collection[str]) -> bool:
    return {"doc_id", "doc", "arguments", "resps"} <= set(keys)


def read(rows: Rows, path: str) -> Iterator[Rollout]:
    first: object = None
    for number, row in enumerate(rows):
        if not number:
            first = row.data.get("filter")
        if row.data.get("filter") != first:
            continue
        texts = _texts(row)
        for index, text in enumerate(texts):
            yield Rollout(
                id=row.where if len(texts) == 1 else f"{row.where}#{index}",
                where=row.where,
                prompt=_prompt(row),
                text=text,
                group=f"{path}#{row.name('doc_id')}",
                # A metric is one of a question, not of each of several answers.
                reward=_reward(row) if len(texts) == 1 else None,
                answer=row.shown("target"),
            )


def _texts(row: FileRow) -> list[str]:
    row.need("resps")
    found = []
    for request in row.items("resps"):
        for text in request if isinstance(request, list) else [request]:
            if not isinstance(text, str):
                raise row.wrong(
                    "`resps` has log-likelihoods, not text; give samples of a task that generates"
                )
            found.append(row.short(text, "resps"))
    return found


def _prompt(row: FileRow) -> str:
    """The first argument of the first request; lists and tables of arguments are both in use."""
    value: Any = row.need("arguments")
    for _ in range(2):
        if isinstance(value, dict):
            value = next(iter(value.values()), "")
        elif isinstance(value, list):
            value = value[0] if value else ""
    if not isinstance(value, str):
        raise row.wrong("`arguments` does not begin with a prompt")
    return row.short(value, "arguments")


def _reward(row: FileRow) -> float | None:
    for name in row.items("metrics"):
        if isinstance(name, str) and isinstance(row.data.get(name), int | float):
            return row.number(name)
    return None
