"""swarmproof's own records: `completions.jsonl.gz` of a trial in a run folder.

The prompt is the question. Where several models train, a completion is recorded once for each; the
first model's record is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from swarmproof.records.streams import COMPLETIONS, read_completions
from swarmproof.scan.readers.inputs import Advance, Input
from swarmproof.scan.rollout import Rollout

NAME = "swarmproof run folder"


def matches(source: Input) -> bool:
    return source.path.name == COMPLETIONS


def read(source: Input, advance: Advance, *, one_of_many: bool = False) -> Iterator[Rollout]:
    """Rollouts of a trial.

    Args:
        source: its completions.
        advance: told how many bytes were read.
        one_of_many: there are other trials, whose nodes have the same numbers and are not the same
            nodes: arm and seed go in front of the number.
    """
    folder = source.path.parent
    trial = f"{folder.parent.name}/{folder.name}/" if one_of_many else ""
    cohort: str | None = None
    for number, row in enumerate(read_completions(folder), 2):
        cohort = cohort or row["cohort"]
        if row["cohort"] == cohort:
            yield _rollout(row, f"{source.path}:{number}", str(folder), trial)
    advance(source.size)


def _rollout(row: dict[str, Any], where: str, folder: str, trial: str) -> Rollout:
    step = row["round"]
    group = f"{folder}#{step}/{row['problem_id']}"
    refusals = [v for v in row["verdicts"] if v["accepted"] is False]
    worst = max(refusals, key=lambda verdict: verdict["score"], default=None)
    return Rollout(
        id=where,
        where=where,
        prompt=row["question"],
        text=row["text"],
        group=group,
        step=step,
        reward=row["reward"],
        advantage=row["advantage"],
        sender=f"{trial}{row['node']}",
        answer=row["answer"],
        token_ids=tuple(row["token_ids"]) or None,
        masked=not row["kept"] or row["weight"] == 0,
        verdict=f"{worst['defense']}: {worst['reason']}" if worst else None,
    )
