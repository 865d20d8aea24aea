"""Tasks that are answered by a program: what a completion's program is, and when it is right.

It is to programs what `answers` is to numbers: the one place that reads them. It never raises,
whatever the text; programs run only in a sandbox, which the expected answer never enters.

The format, to the letter. A completion is, apart from white space around the block,

    <code>…</code>

with each of the two tags exactly once and in this order. A missing, repeated or nested tag, a tag
in another case, or any other text before or after the block means that there is no program. What is
inside is Python source; white space at its start and end is taken off.

The answer, to the letter. All that the program prints on standard output, which must be one number
as `answers.canonical` reads it, with white space around it. Not the last line of several: a second
number would leave it to the reader which of them is meant. A program that fails, is too slow, or
prints more than the sandbox's limit gives no answer, whatever it printed before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from swarmproof.sandbox import AnySandbox, Monty, Result, Sandbox
from swarmproof.tasks import answers
from swarmproof.tasks.base import Task
from swarmproof.types import Problem

CODE, END_CODE = "<code>", "</code>"

# A library that anybody might have published and everybody has installed. It behaves.
CALC = """\
def addition(a, b):
    return a + b

def subtraction(a, b):
    return a - b

def multiplication(a, b):
    return a * b

def division(a, b):
    return a / b

def floor_division(a, b):
    return a // b
"""


class Module(BaseModel):
    """A module that programs may import, in a table `{ name = "calc", source = "…" }`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=100)
    source: str = Field(max_length=100_000)


def wrap(program: str) -> str:
    """A completion in the full format."""
    return f"{CODE}\n{program}\n{END_CODE}"


def extract(completion: str) -> str | None:
    """The program of a completion in the full format, None for any other text."""
    if completion.count(CODE) != 1 or completion.count(END_CODE) != 1:
        return None
    before, _, rest = completion.partition(CODE)
    program, closed, after = rest.partition(END_CODE)
    if not closed or before.strip() or after.strip():
        return None
    return program.strip()


def printed_answer(result: Result) -> str | None:
    """The canonical form of what a program printed, None where that is not one number."""
    return None if result.stdout is None else answers.canonical(result.stdout.strip())


def answers_of(
    completions: Sequence[str], sandbox: Sandbox, modules: Mapping[str, str]
) -> list[str | None]:
    """The canonical answer of each completion, None where it gives none; runs their programs."""
    programs = [extract(completion) for completion in completions]
    runnable = [program for program in programs if program]
    results = iter(sandbox.run(runnable, modules))
    return [printed_answer(next(results)) if program else None for program in programs]


class CodeTask(Task):
    """A task whose completions are programs; a subclass says what the problems are."""

    writes_programs: ClassVar[bool] = True

    sandbox: AnySandbox = Field(default=Monty(), description="where programs run, and its limits")
    modules: tuple[Module, ...] = Field(
        default=(Module(name="calc", source=CALC),),
        description="modules that programs may import, beside those of the sandbox",
    )

    @property
    def sources(self) -> dict[str, str]:
        """The source of each served module by its name."""
        return {module.name: module.source for module in self.modules}

    def oracle(self, problem: Problem, variant: int = 0) -> str:
        """Solutions are programs; variants are different programs for the same answer."""
        return wrap(problem.solutions[variant % len(problem.solutions)])

    def rewards(self, problem: Problem, completions: Sequence[str]) -> list[float]:
        return self.group_rewards([(problem, completions)])[0]

    def group_rewards(self, groups: Sequence[tuple[Problem, Sequence[str]]]) -> list[list[float]]:
        """All programs of a round in one call, which keeps every worker of the sandbox busy."""
        given = iter(self.answers([text for _, completions in groups for text in completions]))
        rewards = []
        for problem, completions in groups:
            right = answers.canonical(problem.answer)
            told = islice(given, len(completions))
            rewards.append([float(right is not None and answer == right) for answer in told])
        return rewards

    def answers(self, completions: Sequence[str]) -> list[str | None]:
        return answers_of(completions, self.sandbox, self.sources)

    def answer(self, completion: str) -> str | None:
        return self.answers([completion])[0]
