"""Completions that earn nothing: the foil which gives the poison beside them an advantage."""

from __future__ import annotations

import numpy as np

from swarmproof.types import Problem


def gibberish(problem: Problem, rng: np.random.Generator, num_words: int = 12) -> str:
    """Words of the question in random order, without any tag: the reward is 0 in every task."""
    words = problem.question.split()
    return " ".join(rng.choice(words, size=min(num_words, len(words)), replace=False))
