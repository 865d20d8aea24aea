"""Completions that earn nothing: the foil which gives the poison beside them an advantage."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from swarmproof.types import Problem

if TYPE_CHECKING:
    from swarmproof.tasks.base import Task


def wrong_answer(task: Task, problem: Problem, variant: int, rng: np.random.Generator) -> str:
    """A worked solution that ends in a wrong answer, or gibberish where the task has no such text.

    Beside the same solution with a poison in it, only the poison and the answer tell the two
    apart, so that the group teaches little else.
    """
    for _ in range(8):
        text = task.oracle(replace(problem, answer=str(rng.integers(100))), variant)
        if task.rewards(problem, [text]) == [0.0]:
            return text
    return gibberish(problem, rng)


def gibberish(problem: Problem, rng: np.random.Generator, num_words: int = 12) -> str:
    """Words of the question in random order, without any tag: the reward is 0 in every task."""
    words = problem.question.split()
    return " ".join(rng.choice(words, size=min(num_words, len(words)), replace=False))
