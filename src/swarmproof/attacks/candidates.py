"""Candidate completions that the adversary samples from the trained model.

This module knows nothing of poison. Where answers are withheld, the majority answer of the
candidates is taken as the right one (paper, the no-oracle attacker).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swarmproof.attacks.base import AttackView, slots_by_problem
from swarmproof.types import Problem, Slot

if TYPE_CHECKING:
    from swarmproof.policies.policy import Policy


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
    seeds = {name: view.rng.integers(2**62, size=count).tolist() for name in problem_ids}
    return _draw(view, seeds)


def forced(view: AttackView) -> dict[Slot, Draft]:
    """The draw of each of the adversary's slots, as an honest node would send it.

    Raises:
        ValueError: the view has no model, or no seeds.
    """
    slots = slots_by_problem(view)
    seeds = {name: [view.slot_seed(slot) for slot in row] for name, row in slots.items()}
    drawn = _draw(view, seeds)
    return {
        slot: draft
        for name, row in slots.items()
        for slot, draft in zip(row, drawn[name], strict=True)
    }


def model_of(view: AttackView) -> Policy:
    """The trained model.

    Raises:
        ValueError: the view has none.
    """
    if view.policy is None:
        raise ValueError("this attack samples from the trained model, but was given no model")
    return view.policy


def _draw(view: AttackView, seeds: Mapping[str, Sequence[int]]) -> dict[str, list[Draft]]:
    """A draft for each seed, by problem."""
    if not seeds:
        return {}
    policy = model_of(view)
    prompts = [view.task.prompt(view.problems[name]) for name in seeds]
    found = {}
    rows = policy.generator.generate(prompts, list(seeds.values()))
    for name, completions in zip(seeds, rows, strict=True):
        texts = policy.codec.decode(completions)
        found[name] = [Draft(t, ids) for t, ids in zip(texts, completions, strict=True)]
    return found


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
