"""Builders of rounds for defences that compare senders."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from swarmproof.defenses import Defense, DefenseView
from swarmproof.defenses.base import Plain
from swarmproof.guard.gate import checked
from swarmproof.types import Completion, Group, NodeId, Problem, Slot, Verdict

# fmt: off
WORDS = [
    "so", "she", "has", "then", "we", "add", "take", "away", "left", "now", "and", "gives", "all",
    "of", "them", "in", "the", "box",
]
# fmt: on

# A completion: node, text, reward, and perhaps how many tokens (else as many as words).
Sent = tuple[Any, ...]


def honest(rng: Random) -> str:
    """A text in usual words."""
    return " ".join(rng.choices(WORDS, k=6)) + f" {rng.randint(2, 99)}."


def groups_of(
    problems: Sequence[Sequence[Sent]], round: int = 0, question: str = "How many?"
) -> tuple[list[Group], list[list[float]]]:
    groups, rewards = [], []
    for p, sent in enumerate(problems):
        of = Problem(f"p{p}", question, "1", ("1",))
        completions = tuple(
            Completion(
                Slot(round, of.id, i),
                node,
                text,
                (1,) * (more[0] if more else max(1, len(text.split()))),
            )
            for i, (node, text, _, *more) in enumerate(sent)
        )
        groups.append(Group(of, completions, question))
        rewards.append([float(reward) for _, _, reward, *_ in sent])
    return groups, rewards


class Receiver:
    """A node that inspects round after round and remembers what the defence tells it to."""

    def __init__(self, defense: Defense) -> None:
        self.defense, self.round = defense, 0
        self.state: Mapping[str, Any] = {}

    def __call__(self, problems: Sequence[Sequence[Sent]], **kept: Any) -> list[list[Verdict]]:
        groups, rewards = groups_of(problems, self.round, **kept)
        view = DefenseView(rewards=rewards, seed=0, round=self.round, state=self.state)
        verdicts = checked(self.defense, groups, self.defense.inspect(groups, view))
        told = self.defense.remember(groups, view)
        self.state = json.loads(json.dumps(told, allow_nan=False))
        assert not isinstance(told, Plain) or told == self.state
        self.round += 1
        return verdicts


def refused(
    verdicts: Sequence[Sequence[Verdict]], problems: Sequence[Sequence[Sent]]
) -> dict[NodeId, int]:
    """Node -> how many of its completions were refused."""
    found: dict[NodeId, int] = {}
    for row, sent in zip(verdicts, problems, strict=True):
        for verdict, (node, *_) in zip(row, sent, strict=True):
            found[node] = found.get(node, 0) + (verdict.accepted is False)
    return found
