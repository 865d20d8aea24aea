"""A trainer's flat rows to a guard, and the guard's samples back in the order of the rows.

Trainers hand over a step as rows, in any order, of which those with the same key are a group. The
rewards are the trainer's own.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from swarmproof.guard.guard import Guard
from swarmproof.types import Group, NodeId, Sample, Tokens, Verdict


@dataclass(frozen=True, slots=True)
class TrainerRow:
    """One completion of a step, as a trainer knows it."""

    group: Hashable  # rows with the same key answer the same prompt
    prompt: str  # the exact prompt of the model
    text: str
    reward: float | None  # None or NaN: the trainer itself leaves the row out
    token_ids: Tokens | None = None  # None: the guard tokenises the text if a defence needs tokens
    sender: NodeId = 0
    question: str | None = None  # for a judge; the prompt if None
    malformed: str = ""  # why it never became a completion: it is left out, and counts as refused


def inspect(guard: Guard, rows: Sequence[TrainerRow], round: int) -> list[Sample | None]:
    """Inspect a step.

    Args:
        guard: the guard, with its state.
        rows: all rows of the step, in any order: some defences compare groups and senders.
        round: number of the training step.

    Returns:
        A sample for each row, in the order of the rows; None for malformed rows, and for rows
        without a reward, which neither vote nor train already.

    Raises:
        ValueError: rows of one group have different prompts, or only some of them have tokens.
    """
    members: dict[Hashable, list[int]] = {}
    for i, row in enumerate(rows):
        if not row.malformed and row.reward is not None and not math.isnan(row.reward):
            members.setdefault(row.group, []).append(i)
    groups = [_group(key, [rows[i] for i in indices], round) for key, indices in members.items()]
    rewards = [[float(rows[i].reward or 0.0) for i in indices] for indices in members.values()]
    found = guard(groups, rewards, round=round)
    result: list[Sample | None] = [None] * len(rows)
    for indices, samples in zip(members.values(), found.samples, strict=True):
        for i, sample in zip(indices, samples, strict=True):
            result[i] = sample
    return result


def _group(key: Hashable, rows: Sequence[TrainerRow], round: int) -> Group:
    first = rows[0]
    if any(row.prompt != first.prompt for row in rows):
        raise ValueError(f"the rows of group {key!r:.60} have different prompts")
    given = [row.token_ids for row in rows]
    ids = [tokens for tokens in given if tokens is not None]
    if ids and len(ids) < len(rows):
        raise ValueError(
            f"{len(ids)} of {len(rows)} rows of group {key!r:.60} have token ids; give all or none"
        )
    return Group.of(
        first.prompt,
        [row.text for row in rows],
        token_ids=ids or None,
        senders=[row.sender for row in rows],
        question=first.question,
        round=round,
    )


def refusal(sample: Sample) -> Verdict | None:
    """The verdict that refused a sample: the most suspicious one where several did."""
    refusals = [verdict for verdict in sample.verdicts if verdict.accepted is False]
    return max(refusals, key=lambda verdict: verdict.score, default=None)


def columns(sample: Sample | None) -> Mapping[str, str | float | bool | None]:
    """What a trainer's own log says of a row; `swarmproof scan` reads these names back."""
    verdict = None if sample is None else refusal(sample)
    return {
        "guard/refused": verdict is not None,
        "guard/defence": "" if verdict is None else verdict.defense,
        "guard/score": None if verdict is None else verdict.score,
        "guard/reason": "" if verdict is None else verdict.reason,
        "guard/reward": None if sample is None else sample.reward,
    }
