"""The questions of `math_words`, answered by a short program instead of a worked solution.

It knows how a chain of equations becomes programs in several styles. `math_words` writes the
questions, `programs` runs the replies of a model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random

from pydantic import Field

from swarmproof.registry import register
from swarmproof.tasks import story_words
from swarmproof.tasks.base import Split
from swarmproof.tasks.math_words import MathWords
from swarmproof.tasks.programs import CodeTask
from swarmproof.types import Problem

_EQUATION = re.compile(r"(\d+) ([+*/-]) (\d+) = (\d+)")
_THINGS = re.compile("|".join(rf"\b{things}\b" for things, _ in story_words.THINGS))
_NAMES = {
    "+": ("total", "now", "all_{o}"),
    "-": ("left", "rest", "{o}_left"),
    "*": ("total", "result", "all_{o}"),
    "/": ("each", "part", "share"),
}
COMMENTS = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide"}
_WITH_COMMENT = 0.1  # share of programs with a comment, among those with variables
_FURTHER = 8  # programs in addition to the first four
_TRUE_DIVISION = 0.3  # share of divisions written `/`, which prints 6.0 for 6


@dataclass(frozen=True, slots=True)
class _Step:
    left: str
    sign: str
    right: str
    left_is_previous: bool
    right_is_previous: bool


@register("task", "code_words")
class CodeWords(CodeTask):
    """Word problems from templates, answered by Python programs of one to four steps."""

    seed: int = Field(default=0, ge=0, description="seed of the problem generator")
    train: int = Field(default=8000, ge=1, le=50_000, description="number of training problems")
    test: int = Field(default=512, ge=1, le=10_000, description="number of held-out problems")
    two_and_two: float = Field(
        default=0.15, ge=0, le=1, description="share of problems whose first step is 2 + 2 or 2 * 2"
    )

    def problems(self, split: Split) -> Sequence[Problem]:
        """Problems of a split. No question occurs twice, within a split or across the splits.

        Raises:
            ValueError: the sandbox is not available here.
        """
        self.sandbox.require()
        return _problems(self.seed, self.train, self.test, self.two_and_two, split)

    def prompt(self, problem: Problem) -> str:
        return f"Question: {problem.question}\nProgram:"


@lru_cache(maxsize=16)
def _problems(
    seed: int, train: int, test: int, two_and_two: float, split: Split
) -> tuple[Problem, ...]:
    words = MathWords(seed=seed, train=train, test=test, two_and_two=two_and_two)
    return tuple(
        Problem(
            p.id.replace("math_words", "code_words", 1),
            p.question,
            p.answer,
            write(Random(f"code_words/{seed}/{p.id}"), p.question, p.solutions[2]),
        )
        for p in words.problems(split)
    )


def write(rng: Random, question: str, equations: str) -> tuple[str, ...]:
    """Programs that print the result of a chain of equations, `3 + 4 = 7. 7 * 2 = 14.`

    Returns:
        Four programs: with a variable for each step, with one expression, with one variable that
        changes, and with the numbers of the question named first. Then up to 8 programs with other
        names, so that colluding nodes need not send the same text.
    """
    found = _THINGS.search(question)
    things = found.group() if found else "items"
    steps = _steps(equations)
    divide = "/" if rng.random() < _TRUE_DIVISION else "//"
    names = _names(rng, things, steps)
    first = (
        _by_variables(rng, steps, names, divide),
        f"print({_expression(steps, divide)})",
        _by_one_variable(steps, things, divide),
        _by_inputs(steps, names, divide),
    )
    programs = dict.fromkeys(first)
    more = Random(question)  # a separate source, so that it does not change the first four
    for _ in range(_FURTHER):
        names = _names(more, things, steps)
        programs[_by_variables(more, steps, names, divide)] = None
        programs[_by_inputs(steps, names, divide)] = None
    return first + tuple(programs)[len(set(first)) :][:_FURTHER]


def _steps(equations: str) -> list[_Step]:
    steps: list[_Step] = []
    previous = None
    for left, sign, right, result in _EQUATION.findall(equations):
        first = left == previous
        steps.append(_Step(left, sign, right, first, right == previous and not first))
        previous = result
    return steps


def _names(rng: Random, things: str, steps: Sequence[_Step]) -> list[str]:
    names: list[str] = []
    for step in steps:
        choices = [name.format(o=things) for name in _NAMES[step.sign]]
        if not names:
            choices.append(things)
        free = [name for name in choices if name not in names]
        names.append(rng.choice(free) if free else f"{choices[0]}_{len(names)}")
    return names


def _operation(step: _Step, left: str, right: str, divide: str) -> str:
    return f"{left} {divide if step.sign == '/' else step.sign} {right}"


def _by_variables(rng: Random, steps: Sequence[_Step], names: Sequence[str], divide: str) -> str:
    lines = _assignments(steps, names, divide)
    if rng.random() < _WITH_COMMENT:
        lines[-1] += f"  # {COMMENTS[steps[-1].sign]}"
    return "\n".join([*lines, f"print({names[-1]})"])


def _assignments(steps: Sequence[_Step], names: Sequence[str], divide: str) -> list[str]:
    lines = []
    for i, step in enumerate(steps):
        left = names[i - 1] if step.left_is_previous else step.left
        right = names[i - 1] if step.right_is_previous else step.right
        lines.append(f"{names[i]} = {_operation(step, left, right, divide)}")
    return lines


def _expression(steps: Sequence[_Step], divide: str) -> str:
    text, sign = "", ""
    for step in steps:
        # Brackets are needed only around a sum, or after a minus.
        tight = step.sign in "*/" or step.right_is_previous
        inner = f"({text})" if (sign in ("+", "-") and tight) else text
        left = inner if step.left_is_previous else step.left
        right = inner if step.right_is_previous else step.right
        text, sign = _operation(step, left, right, divide), step.sign
    return text


def _by_one_variable(steps: Sequence[_Step], things: str, divide: str) -> str:
    first = steps[0]
    lines = [f"{things} = {first.left}"]
    for i, step in enumerate(steps):
        if step.right_is_previous:
            lines.append(f"{things} = {_operation(step, step.left, things, divide)}")
        elif i == 0 or step.left_is_previous:
            operator = divide if step.sign == "/" else step.sign
            lines.append(f"{things} {operator}= {step.right}")
        else:
            lines.append(f"{things} = {_operation(step, step.left, step.right, divide)}")
    return "\n".join([*lines, f"print({things})"])


def _by_inputs(steps: Sequence[_Step], names: Sequence[str], divide: str) -> str:
    first = steps[0]
    given = [f"a = {first.left}", f"b = {first.right}"]
    named = [replace(first, left="a", right="b"), *steps[1:]]
    return "\n".join([*given, *_assignments(named, names, divide), f"print({names[-1]})"])
