"""verifiers up to 0.3: `results.jsonl` of an evaluation.

Keys `example_id, prompt, completion, answer, reward, error, is_truncated`, and more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from swarmproof.scan.readers.chat import asked, written
from swarmproof.scan.readers.values import Rows, verdict
from swarmproof.scan.rollout import Rollout

NAME = "verifiers 0.3 results.jsonl"


def matches(keys: Collection[str]) -> bool:
    return {"example_id", "prompt", "completion", "reward"} <= set(keys)


def read(rows: Rows, path: str) -> Iterator[Rollout]:
    for row in rows:
        example = row.name("example_id")
        refused, reason = verdict(row)
        yield Rollout(
            id=row.where,
            where=row.where,
            prompt=asked(row, "prompt"),
            text=written(row, "completion"),
            group=None if example is None else f"{path}#{example}",
            reward=row.number("reward"),
            answer=row.shown("answer"),
            truncated=row.flag("is_truncated"),
            masked=refused or row.data.get("error") is not None,
            verdict=reason,
        )
