"""A task: problems, the form of a prompt and of a right completion, and the reward."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import SerializeAsAny

from swarmproof.registry import Kind, Plugin
from swarmproof.types import Problem

Split = Literal["train", "test"]


class Task(Plugin):
    """A source of problems, with a reward that every node computes itself."""

    kind: ClassVar[Kind] = "task"
    # Whether a completion answers with a program.
    writes_programs: ClassVar[bool] = False

    @property
    def downloads(self) -> str | None:
        """The hub id of the data set that it would download; None if it needs none."""
        return None

    @abstractmethod
    def problems(self, split: Split) -> Sequence[Problem]:
        """All problems of a split, in a fixed order. The splits share no question.

        Raises:
            ValueError: the data is missing or malformed; one line with the remedy.
        """

    @abstractmethod
    def prompt(self, problem: Problem) -> str:
        """The text that the model continues with a completion."""

    @abstractmethod
    def oracle(self, problem: Problem, variant: int = 0) -> str:
        """A completion in the exact answer format that earns reward 1.

        Args:
            problem: with answer and solutions.
            variant: index of the worked solution, modulo their number.
        """

    @abstractmethod
    def rewards(self, problem: Problem, completions: Sequence[str]) -> list[float]:
        """0.0 or 1.0 for each completion. Never raises, whatever the text."""

    def group_rewards(self, groups: Sequence[tuple[Problem, Sequence[str]]]) -> list[list[float]]:
        """`rewards` of each group. Overridden if one call for all groups is cheaper."""
        return [self.rewards(problem, completions) for problem, completions in groups]

    def answers(self, completions: Sequence[str]) -> list[str | None]:
        """`answer` of each completion. Overridden if one call for all is cheaper."""
        return [self.answer(text) for text in completions]

    @abstractmethod
    def answer(self, completion: str) -> str | None:
        """The canonical form of a completion's answer; None if it gives none."""


class Withheld(Task):
    """A task without its right answers: prompts, and the answer that a completion gives.

    Every method that would reveal a right answer raises `PermissionError`.
    """

    of: SerializeAsAny[Task]

    def prompt(self, problem: Problem) -> str:
        return self.of.prompt(problem)

    def answer(self, completion: str) -> str | None:
        return self.of.answer(completion)

    def answers(self, completions: Sequence[str]) -> list[str | None]:
        return self.of.answers(completions)

    def problems(self, split: Split) -> Sequence[Problem]:
        raise PermissionError(f"the {split} problems contain answers, which are withheld here")

    def oracle(self, problem: Problem, variant: int = 0) -> str:
        raise PermissionError(f"solution {variant} of {problem.id} is withheld here")

    def rewards(self, problem: Problem, completions: Sequence[str]) -> list[float]:
        raise PermissionError(f"{len(completions)} rewards of {problem.id} are withheld here")
