"""The guard's own record, for trainers whose files have no room for a verdict.

JSON lines with `id, step, group, sender, prompt, completion, reward`, `guard/refused`,
`guard/defence`, `guard/score`, `guard/reason`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from swarmproof.scan.readers.chat import asked, written
from swarmproof.scan.readers.values import Rows, verdict
from swarmproof.scan.rollout import Rollout

NAME = "swarmproof guard's JSONL"


def matches(keys: Collection[str]) -> bool:
    return {"prompt", "completion", "guard/refused"} <= set(keys)


def read(rows: Rows, path: str) -> Iterator[Rollout]:
    for row in rows:
        row.need("guard/refused")
        refused, reason = verdict(row)
        group = row.name("group")
        yield Rollout(
            id=row.name("id") or row.where,
            where=row.where,
            prompt=asked(row, "prompt"),
            text=written(row, "completion"),
            # Groups of trainers are often numbered within a step.
            group=None if group is None else f"{path}#{row.step('step')}/{group}",
            step=row.step("step"),
            reward=row.number("reward"),
            sender=row.name("sender"),
            masked=refused,
            verdict=reason,
        )
