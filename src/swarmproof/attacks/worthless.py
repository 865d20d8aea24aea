"""Foils: completions with reward 0, which give the poison beside them a positive advantage."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from swarmproof.types import Problem

if TYPE_CHECKING:
    from swarmproof.tasks.base import Task

_NUMBER = re.compile(r"(?<![\w.])\d+(?!\w)")


def wrong_answer(task: Task, problem: Problem, variant: int, rng: np.random.Generator) -> str:
    """A worked solution with a wrong last number, or gibberish if no such change makes it wrong.

    It differs from the same solution with poison only in the poison and in that number, so the
    group teaches little else.
    """
    text = task.oracle(problem, variant)
    if numbers := list(_NUMBER.finditer(text)):
        start, end = numbers[-1].span()
        for _ in range(8):
            changed = f"{text[:start]}{rng.integers(100)}{text[end:]}"
            if task.rewards(problem, [changed]) == [0.0]:
                return changed
    return gibberish(problem, rng)


def gibberish(problem: Problem, rng: np.random.Generator, num_words: int = 12) -> str:
    """Words of the question in random order, without tags: the reward is 0 in every task."""
    words = problem.question.split()
    return " ".join(rng.choice(words, size=min(num_words, len(words)), replace=False))
