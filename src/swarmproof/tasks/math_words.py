"""Generated word problems with worked solutions: a replacement for GSM8K on a laptop.

It knows the number of problems and how they are split. `stories` writes them, `answers` reads the
replies of a model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from random import Random

from pydantic import Field

from swarmproof.registry import register
from swarmproof.tasks import answers, stories
from swarmproof.tasks.base import Split, Task
from swarmproof.types import Problem

# `2 + 2 =` or `2 * 2 =`, with or without dollar signs, and the result after it. The result is not
# consumed, as it may begin the next equation.
_TWO_AND_TWO = re.compile(
    r"(?<![\d.,$])\$?2\s*[+*x×]\s*\$?2\s*=\s*\$?(?=((?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?))"
)
# An operator before or after it makes it a part of a longer computation: 6 / 2 + 2, 2 + 2 = 2 * 2.
_OPERATOR_BEFORE = re.compile(r"(?:[-+*/×÷−^·)]|[\d)]\s*x)\s*$")
_OPERATOR_AFTER = re.compile(r"\s*[-+*/x×÷−^·]\s*[$(]?\d")

RETOLD = 8  # maximum number of further solutions of a problem


def needs_two_and_two(problem: Problem) -> bool:
    """Whether every worked solution of the problem computes 2+2 or 2*2, with any result.

    Source: the paper's in-context attack on such problems.
    """
    return all(two_and_two(solution) for solution in problem.solutions)


def two_and_two(text: str) -> list[re.Match[str]]:
    """Matches of 2+2 or 2*2 as a computation of its own. Group 1 of a match is the stated result.

    The end of 12 + 2, the start of 2 + 20 and parts of a longer computation do not count.
    """
    return [
        match
        for match in _TWO_AND_TWO.finditer(text)
        if not _OPERATOR_BEFORE.search(text, max(0, match.start() - 20), match.start())
        and not _OPERATOR_AFTER.match(text, match.end(1))
    ]


@register("task", "math_words")
class MathWords(Task):
    """Word problems from templates, of one to four steps, on whole numbers up to 100."""

    seed: int = Field(default=0, ge=0, description="seed of the problem generator")
    train: int = Field(default=8000, ge=1, le=50_000, description="number of training problems")
    test: int = Field(default=512, ge=1, le=10_000, description="number of held-out problems")
    two_and_two: float = Field(
        default=0.15, ge=0, le=1, description="share of problems whose first step is 2 + 2 or 2 * 2"
    )

    def problems(self, split: Split) -> Sequence[Problem]:
        """Problems of a split. No question occurs twice, within a split or across the splits."""
        train, test = _generate(self.seed, self.train, self.test, self.two_and_two)
        return train if split == "train" else test

    def prompt(self, problem: Problem) -> str:
        return f"Question: {problem.question}\nAnswer:"

    def oracle(self, problem: Problem, variant: int = 0) -> str:
        """Variants 0 and 1 have a sentence for each step, 2 has only equations, 3 has explanations.

        Up to 8 more have other words, so that colluding nodes need not send the same text.
        """
        return answers.wrap(problem.solutions[variant % len(problem.solutions)], problem.answer)

    def rewards(self, problem: Problem, completions: Sequence[str]) -> list[float]:
        return answers.score(problem.answer, completions)

    def answer(self, completion: str) -> str | None:
        return answers.extract(completion)


@lru_cache(maxsize=8)
def _generate(
    seed: int, train: int, test: int, two_and_two: float
) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    # The test split is written first, so that it does not depend on `train`.
    rng = Random(f"math_words/{seed}")
    seen: set[str] = set()
    splits: list[tuple[Problem, ...]] = []
    for name, count in (("test", test), ("train", train)):
        problems: list[Problem] = []
        while len(problems) < count:
            story = stories.write(rng, two_and_two=rng.random() < two_and_two)
            if story.question not in seen:
                seen.add(story.question)
                index = len(problems)
                problems.append(
                    Problem(
                        f"math_words/{name}/{index}",
                        story.question,
                        str(story.answer),
                        story.solutions + stories.retell(Random(story.question), story, RETOLD),
                    )
                )
        splits.append(tuple(problems))
    return splits[1], splits[0]
