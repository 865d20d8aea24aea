"""Completions that the adversary draws from the trained model, to choose among them.

It knows nothing of poison. Where answers are withheld, the majority's answer stands for the right
one (paper, the no-oracle attacker).
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
    token_ids: tuple[int, ...] | None = None  # as they were drawn; None for a text written by hand


def draw(view: AttackView, problem_ids: Iterable[str], count: int) -> dict[str, list[Draft]]:
    """`count` completions of each problem, from the attacker's own source of randomness.

    Raises:
        ValueError: the view has no model to draw from.
    """
    drawn: dict[str, list[Draft]] = {problem_id: [] for problem_id in problem_ids}
    if not drawn:
        return drawn
    if view.policy is None:
        raise ValueError("this attacker draws from the trained model, and has been given none")
    prompts = [view.task.prompt(view.problems[name]) for name in drawn]
    seeds = [view.rng.integers(2**62, size=count).tolist() for _ in drawn]
    for name, completions in zip(
        drawn, view.policy.generator.generate(prompts, seeds), strict=True
    ):
        texts = view.policy.codec.decode(completions)
        drawn[name] = [Draft(t, ids) for t, ids in zip(texts, completions, strict=True)]
    return drawn


def judge(view: AttackView, problem: Problem, drafts: Sequence[Draft], oracle: bool) -> list[bool]:
    """Which drafts are right, by the task's reward or, without oracle, by the majority's answer.

    A tie goes to the answer that was drawn first; with no answer at all none is right.
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
