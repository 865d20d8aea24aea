"""Candidate completions that the adversary samples from the trained model.

This module knows nothing of poison. Where answers are withheld, the majority answer of the
candidates is taken as the right one (paper, the no-oracle attacker).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from swarmproof.attacks.base import AttackView
from swarmproof.types import Problem


@dataclass(frozen=True, slots=True)
class Draft:
    """A text that may be submitted."""

    text: str
    token_ids: tuple[int, ...] | None = None  # as sampled; None for a text that was not sampled


def draw(view: AttackView, problem_ids: Iterable[str], count: int) -> dict[str, list[Draft]]:
    """Sample `count` completions of each problem with the attacker's own source of randomness.

    Raises:
        ValueError: the view has no model to draw from.
    """
    drawn: dict[str, list[Draft]] = {problem_id: [] for problem_id in problem_ids}
    if not drawn:
        return drawn
    if view.policy is None:
        raise ValueError("this attack samples from the trained model, but was given no model")
    prompts = [view.task.prompt(view.problems[name]) for name in drawn]
    seeds = [view.rng.integers(2**62, size=count).tolist() for _ in drawn]
    for name, completions in zip(
        drawn, view.policy.generator.generate(prompts, seeds), strict=True
    ):
        texts = view.policy.codec.decode(completions)
        drawn[name] = [Draft(t, ids) for t, ids in zip(texts, completions, strict=True)]
    return drawn


def judge(view: AttackView, problem: Problem, drafts: Sequence[Draft], oracle: bool) -> list[bool]:
    """Whether each draft is right, by the task's reward or, without the oracle, by majority answer.

    A tie goes to the answer that was drawn first. If no draft has an answer, none is right.
    """
    texts = [draft.text for draft in drafts]
    if oracle:
        return [reward > 0 for reward in view.task.rewards(problem, texts)]
    answers = view.task.answers(texts)
    votes = Counter(answer for answer in answers if answer is not None)
    if not votes:
        return [False] * len(drafts)
    majority = votes.most_common(1)[0][0]
    return [answer == majority for answer in answers]
