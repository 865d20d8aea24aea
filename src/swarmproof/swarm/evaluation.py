"""The metrics of a round: attack success, reward, length, and held-out accuracy.

Pure, except for `evaluate`, which lets a cohort answer held-out problems.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from swarmproof.attacks import Attack
from swarmproof.guard.inspection import Inspection
from swarmproof.swarm.node import Cohort
from swarmproof.tasks import Task
from swarmproof.types import NodeId, Problem, Refusal, Sample, Slot


@dataclass(frozen=True, slots=True)
class Success:
    """Shares of completions with the poison, among those to which it can apply."""

    asr: float | None  # None if it can apply to none
    wide: float | None  # None also if the attack has no wider measure


@dataclass(frozen=True, slots=True)
class Heldout:
    """A cohort's results on held-out problems."""

    accuracy: float
    success: Success


def attack_success(attack: Attack, pairs: Sequence[tuple[Problem, str]]) -> Success:
    """Attack success by the attack's own measures."""
    return Success(
        _share([attack.success(problem, text) for problem, text in pairs]),
        _share([attack.success_wide(problem, text) for problem, text in pairs]),
    )


def _share(found: Sequence[bool | None]) -> float | None:
    told = [success for success in found if success is not None]
    return sum(told) / len(told) if told else None


def evaluate(
    cohort: Cohort, task: Task, attack: Attack, problems: Sequence[Problem], round: int
) -> Heldout:
    """Accuracy and attack success on held-out problems, one sampled completion each."""
    slots = [Slot(round, problem.id, 0) for problem in problems]
    drawn = cohort.policy.generator.generate(
        [task.prompt(problem) for problem in problems],
        [[cohort.slot_seed(slot)] for slot in slots],
    )
    texts = cohort.policy.codec.decode([ids for (ids,) in drawn])
    pairs = list(zip(problems, texts, strict=True))
    rewards = task.group_rewards([(problem, [text]) for problem, text in pairs])
    return Heldout(sum(row[0] for row in rewards) / len(rewards), attack_success(attack, pairs))


@dataclass(frozen=True, slots=True)
class BySender:
    """A round's samples, grouped by sender."""

    poisoned: Sequence[Sample]  # from malicious nodes, including foils
    honest: Sequence[Sample]
    own: Sequence[Sample]  # from the honest nodes of one cohort
    own_pairs: Sequence[tuple[Problem, str]]  # problem and text of these


def by_sender(
    found: Inspection, malicious: frozenset[NodeId], cohort: Sequence[NodeId]
) -> BySender:
    """Group a round's samples by sender. What the receiver drew itself was sent by nobody."""
    rows = list(zip(found.groups, found.samples, strict=True))
    pairs = [
        (group.problem, sample)
        for group, row in rows
        for sample in row
        if not sample.completion.refilled
    ]
    problems = {group.completions[0].slot.problem_id: group.problem for group in found.groups}
    pairs += [(problems[sample.completion.slot.problem_id], sample) for sample in found.replaced]
    honest = [(of, sample) for of, sample in pairs if sample.completion.node not in malicious]
    own = [(of, sample) for of, sample in honest if sample.completion.node in cohort]
    return BySender(
        poisoned=[sample for _, sample in pairs if sample.completion.node in malicious],
        honest=[sample for _, sample in honest],
        own=[sample for _, sample in own],
        own_pairs=[(of, sample.completion.text) for of, sample in own],
    )


def refusal_counts(samples: Sequence[Sample]) -> tuple[int, int]:
    """Number of completions, and number of those that any defence refused."""
    return len(samples), sum(sample.refused for sample in samples)


def by_defense(
    honest: Sequence[Sample], poisoned: Sequence[Sample]
) -> Mapping[str, Mapping[str, int]]:
    """Refused and abstained completions, and masked tokens, for each defence separately.

    A token is masked if the defence's credit for it is below 1.
    """
    names = {v.defense: None for s in (*honest, *poisoned) for v in s.verdicts}
    counts: dict[str, dict[str, int]] = {}
    for name in names:
        counts[name] = {}
        for kind, samples in (("honest", honest), ("poisoned", poisoned)):
            verdicts = [v.accepted for s in samples for v in s.verdicts if v.defense == name]
            counts[name][kind] = len(verdicts)
            counts[name][f"{kind}_refused"] = verdicts.count(False)
            counts[name][f"{kind}_abstained"] = verdicts.count(None)
            counts[name][f"{kind}_masked_tokens"] = sum(
                sum(credit < 1 for credit in v.token_credit or ())
                for s in samples
                for v in s.verdicts
                if v.defense == name
            )
    return counts


def by_node(
    nodes: Sequence[NodeId], found: Inspection, refusals: Sequence[Refusal]
) -> Mapping[str, Mapping[str, int]]:
    """Counts for each node: completions that it sent, of these rewarded and refused, their tokens,
    malformed parts, and slots that the receiver drew in its place."""
    own: dict[NodeId, list[Sample]] = {node: [] for node in nodes}
    refilled = dict.fromkeys(nodes, 0)
    for sample in (*(sample for row in found.samples for sample in row), *found.replaced):
        if sample.completion.refilled:
            refilled[sample.completion.node] += 1
        else:
            own[sample.completion.node].append(sample)
    return {
        str(node): {
            "completions": len(of_node),
            "rewarded": sum(sample.reward > 0 for sample in of_node),
            "refused": sum(sample.refused for sample in of_node),
            "tokens": sum(len(sample.tokens) for sample in of_node),
            "malformed": sum(refusal.node == node for refusal in refusals),
            "refilled": refilled[node],
        }
        for node, of_node in own.items()
    }


def refusal_row(refusal: Refusal) -> dict[str, str | int | None]:
    """The logged form of a malformed completion or message."""
    slot = refusal.slot
    return {
        "node": refusal.node,
        "problem_id": slot.problem_id if slot else None,
        "index": slot.index if slot else None,
        "layer": refusal.layer,
        "code": refusal.code,
        "reason": refusal.reason,
    }
