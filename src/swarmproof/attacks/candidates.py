"""Candidate completions that the adversary samples from the trained model.

This module knows nothing of poison. Where answers are withheld, the majority answer of the
candidates is taken as the right one (paper, the no-oracle attacker).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from swarmproof.types import AttackView, Problem

# Tokens of completions in a batch of draws, prompts not counted: 768 completions of 128 tokens.
_ROOM = 98_304


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
    rows = max(1, _ROOM // view.policy.sampling.max_new_tokens)
    seeds = {name: view.rng.integers(2**62, size=count).tolist() for name in drawn}
    for size, names in _batches(list(drawn), count, rows):
        prompts = [view.task.prompt(view.problems[name]) for name in names]
        chosen = [seeds[name][len(drawn[name]) :][:size] for name in names]
        for name, completions in zip(names, view.policy.generate(prompts, chosen), strict=True):
            texts = view.policy.decode(completions)
            drawn[name] += [Draft(t, ids) for t, ids in zip(texts, completions, strict=True)]
    return drawn


def _batches(names: list[str], count: int, rows: int) -> Iterable[tuple[int, list[str]]]:
    """Batches of at most `rows` completions: (completions of each problem, the problems)."""
    at_once = max(1, rows // count)
    for part in (names[i : i + at_once] for i in range(0, len(names), at_once)):
        for start in range(0, count, rows):
            yield min(rows, count - start), part


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
