"""GSM8K: 7,473 grade-school word problems for training, 1,319 for testing.

It knows the data set's file format; `answers` reads what a model replies. It ships no data: give
a file, or let the `datasets` library fetch it from the hub.
Source: Cobbe et al. 2021, https://github.com/openai/grade-school-math (MIT).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from swarmproof.registry import register
from swarmproof.tasks import answers
from swarmproof.tasks.base import Split, Task
from swarmproof.types import Problem

_CALCULATOR = re.compile(r"<<[^<>]*>>")  # `<<48/2=24>>` in the worked solutions
_FINAL = "####"

PROMPT = """\
Solve the problem. Write your reasoning between <think> and </think>, and after it only the final \
number between <answer> and </answer>, like this:
<think>There are 3 pens and 4 pencils, so 3 + 4 = 7.</think> <answer>7</answer>

Problem: {question}
Solution:"""


@register("task", "gsm8k")
class Gsm8k(Task):
    """Real word problems, for base models of about a billion parameters and more."""

    # Whether the solutions keep their calculator marks, `<<48/2=24>>`.
    keeps_marks: ClassVar[bool] = False

    path: Path | None = Field(
        default=None, description="JSONL to train on, lines with `question` and `answer`"
    )
    test_path: Path | None = Field(
        default=None, description="JSONL to test on; without it, `holdout` problems of `path`"
    )
    holdout: int = Field(default=500, ge=1, description="held-out problems where only `path` is")
    hub_id: str = Field(default="openai/gsm8k", description="read where no path is given")
    prompt_template: str = Field(
        default=PROMPT, pattern=r"\{question\}", description="what the model is given"
    )

    @property
    def downloads(self) -> str | None:
        return self.hub_id if self.path is None else None

    def problems(self, split: Split) -> Sequence[Problem]:
        """Problems of a split.

        Without a test file the `holdout` questions with the smallest hashes are held out: the
        same ones whatever the order of the file.

        Raises:
            ValueError: a file is missing or a line malformed, `datasets` is not installed or the
                hub is out of reach.
        """
        if self.path is None:
            return _from_hub(self.hub_id, split, self.keeps_marks)
        if self.test_path is not None:
            path = self.path if split == "train" else self.test_path
            return _from_file(path, self.keeps_marks)
        everything = _from_file(self.path, self.keeps_marks)
        if len(everything) <= self.holdout:
            raise ValueError(
                f"{self.path} has {len(everything)} problems, of which {self.holdout} are to be "
                "held out; give a larger file, a smaller `holdout` or a `test_path`"
            )
        held_out = {p.id for p in sorted(everything, key=lambda p: p.id)[: self.holdout]}
        return [p for p in everything if (p.id in held_out) == (split == "test")]

    def prompt(self, problem: Problem) -> str:
        return self.prompt_template.replace("{question}", problem.question)

    def oracle(self, problem: Problem, variant: int = 0) -> str:
        """There is one worked solution, so every variant is the same."""
        return answers.wrap(problem.solutions[variant % len(problem.solutions)], problem.answer)

    def rewards(self, problem: Problem, completions: Sequence[str]) -> list[float]:
        return answers.score(problem.answer, completions)

    def answer(self, completion: str) -> str | None:
        return answers.extract(completion)


def parse(line: str, where: str, keep_marks: bool = False) -> Problem:
    """A problem from a line `{"question": …, "answer": "… #### 72"}`.

    The id is the SHA-256 of the question, so that it does not depend on the order of the lines.

    Raises:
        ValueError: the line has another form; the message starts with `where`.
    """
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not JSON ({error}); expected a JSON object a line") from error
    fields = record if isinstance(record, dict) else {}
    match fields.get("question"), fields.get("answer"):
        case str(question), str(worked):
            solution, mark, final = worked.rpartition(_FINAL)
        case _:
            raise ValueError(f"{where}: expected an object with texts `question` and `answer`")
    answer = answers.canonical(final)
    if not mark or answer is None:
        raise ValueError(f"{where}: `answer` must end in `{_FINAL}` and a number")
    digest = hashlib.sha256(question.encode("utf-8", "surrogatepass")).hexdigest()
    if not keep_marks:
        solution = _CALCULATOR.sub("", solution)
    return Problem(f"gsm8k/{digest[:16]}", question, answer, (solution.strip(),))


def _parsed(lines: Iterable[str], source: str, keep_marks: bool) -> tuple[Problem, ...]:
    numbered = enumerate(lines, start=1)
    problems = [
        parse(line, f"{source}, line {number}", keep_marks)
        for number, line in numbered
        if line.strip()
    ]
    # A question that occurs twice could end up on both sides of a split.
    unique = {problem.id: problem for problem in reversed(problems)}
    return tuple(unique[key] for key in dict.fromkeys(problem.id for problem in problems))


@lru_cache(maxsize=4)
def _from_file(path: Path, keep_marks: bool) -> tuple[Problem, ...]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ValueError(
            f"no file {path}; download train.jsonl of GSM8K from "
            "https://github.com/openai/grade-school-math and give its path"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {path}: {error}; give a JSONL file in UTF-8") from error
    # Not `splitlines`: a question may hold a line separator that is none in JSONL.
    return _parsed(text.split("\n"), str(path), keep_marks)


@lru_cache(maxsize=4)
def _from_hub(hub_id: str, split: Split, keep_marks: bool) -> tuple[Problem, ...]:
    try:
        import datasets
    except ImportError as error:
        raise ValueError(
            "gsm8k without `path` needs the datasets library: pip install datasets, or give the "
            "path of a train.jsonl"
        ) from error
    try:
        rows = datasets.load_dataset(hub_id, "main", split=split)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise ValueError(
            f"cannot load {hub_id} from the hub ({type(error).__name__}: {error}); check the "
            "network and the id, or give the `path` of a train.jsonl"
        ) from error
    return _parsed((json.dumps(row) for row in rows), f"{hub_id}/{split}", keep_marks)
