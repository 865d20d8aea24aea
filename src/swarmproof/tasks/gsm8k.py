"""GSM8K: 7,473 grade-school word problems for training, 1,319 for testing.

It knows the file format of the data set. `answers` reads the replies of a model. The package ships
no data: give a file, or the `datasets` library downloads it from the hub.
Source: Cobbe et al. 2021, https://github.com/openai/grade-school-math (MIT).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, model_validator

from swarmproof.registry import register
from swarmproof.tasks import answers, jsonl
from swarmproof.tasks.base import Split, Task
from swarmproof.types import Problem

_CALCULATOR = re.compile(r"<<[^<>]*>>")  # `<<48/2=24>>` in the worked solutions
_FINAL = "####"
_DOWNLOAD = (
    "download train.jsonl of GSM8K from https://github.com/openai/grade-school-math and give its "
    "path"
)

PROMPT = """\
Solve the problem. Write your reasoning between <think> and </think>, and after it only the final \
number between <answer> and </answer>, like this:
<think>There are 3 pens and 4 pencils, so 3 + 4 = 7.</think> <answer>7</answer>

Problem: {question}
Solution:"""


@register("task", "gsm8k")
class Gsm8k(Task):
    """Real word problems, for base models of about a billion parameters or more."""

    # Whether solutions keep their calculator marks, `<<48/2=24>>`.
    keeps_marks: ClassVar[bool] = False

    path: Path | None = Field(
        default=None,
        description="JSONL file to train on, with `question` and `answer` in each line",
    )
    test_path: Path | None = Field(
        default=None,
        description="JSONL file to test on; if not given, `holdout` problems of `path`",
    )
    holdout: int = Field(default=500, ge=1, description="held-out problems if only `path` is given")
    hub_id: str = Field(
        default="openai/gsm8k", description="data set on the hub, read if no `path` is given"
    )
    prompt_template: str = Field(
        default=PROMPT, pattern=r"\{question\}", description="the prompt, with {question}"
    )

    @model_validator(mode="after")
    def _no_lone_test_file(self) -> Self:
        if self.test_path is not None and self.path is None:
            raise ValueError("test_path is given without path; give both, or none to use the hub")
        return self

    @property
    def downloads(self) -> str | None:
        return self.hub_id if self.path is None else None

    def problems(self, split: Split) -> Sequence[Problem]:
        """Problems of a split.

        If there is no test file, the `holdout` questions with the smallest hashes are held out,
        whatever the order of the file. Questions that differ only in white space, case or Unicode
        form count as one. Of the hub's training split, questions of its test split are left out.

        Raises:
            ValueError: a file is missing, a line is malformed, the two files share a question,
                `datasets` is not installed, or the hub cannot be reached.
        """
        if self.path is None:
            return _from_hub(self.hub_id, self.keeps_marks)[split]
        if self.test_path is not None:
            return _from_files(self.path, self.test_path, self.keeps_marks)[split]
        everything = _from_file(self.path, self.keeps_marks)
        if len(everything) <= self.holdout:
            raise ValueError(
                f"{self.path} has {len(everything)} problems, and {self.holdout} must be held out; "
                "give a larger file, a smaller `holdout` or a `test_path`"
            )
        held_out = {p.id for p in sorted(everything, key=lambda p: p.id)[: self.holdout]}
        return [p for p in everything if (p.id in held_out) == (split == "test")]

    def prompt(self, problem: Problem) -> str:
        return self.prompt_template.replace("{question}", problem.question)

    def oracle(self, problem: Problem, variant: int = 0) -> str:
        """There is one worked solution, so all variants are the same."""
        return answers.wrap(problem.solutions[variant % len(problem.solutions)], problem.answer)

    def rewards(self, problem: Problem, completions: Sequence[str]) -> list[float]:
        return answers.score(problem.answer, completions)

    def answer(self, completion: str) -> str | None:
        return answers.extract(completion)


def parse(line: str, where: str, keep_marks: bool = False) -> Problem:
    """A problem from a line `{"question": …, "answer": "… #### 72"}`.

    The id comes from the SHA-256 of the question, so it does not depend on the order of the lines.

    Raises:
        ValueError: the line has another form; the message starts with `where`.
    """
    question, worked = jsonl.texts(line, where, ("question", "answer"))
    solution, mark, final = worked.rpartition(_FINAL)
    answer = answers.canonical(final.strip())
    if not mark or answer is None:
        raise ValueError(f"{where}: `answer` must end in `{_FINAL}` and a number")
    digest = hashlib.sha256(question.encode()).hexdigest()
    if not keep_marks:
        solution = _CALCULATOR.sub("", solution)
    return Problem(f"gsm8k/{digest[:16]}", question, answer, (solution.strip(),))


@lru_cache(maxsize=4)
def _from_file(path: Path, keep_marks: bool) -> tuple[Problem, ...]:
    lines = jsonl.read(path, _DOWNLOAD)
    return jsonl.distinct(parse(line, where, keep_marks) for where, line in lines)


@lru_cache(maxsize=4)
def _from_files(path: Path, test_path: Path, keep_marks: bool) -> dict[Split, tuple[Problem, ...]]:
    train, test = _from_file(path, keep_marks), _from_file(test_path, keep_marks)
    if overlap := jsonl.shared(train, test):
        raise ValueError(
            f"{path} and {test_path} share {len(overlap)} questions (ignoring white space, case "
            f"and Unicode form), such as {overlap[0].question!r:.80}; remove them from one file"
        )
    return {"train": train, "test": test}


@lru_cache(maxsize=4)
def _from_hub(hub_id: str, keep_marks: bool) -> dict[Split, tuple[Problem, ...]]:
    try:
        import datasets
    except ImportError as error:
        raise ValueError(
            "gsm8k without `path` needs the datasets library: pip install datasets, or give the "
            "`path` of a train.jsonl"
        ) from error
    found: dict[Split, tuple[Problem, ...]] = {}
    splits: tuple[Split, Split] = ("train", "test")
    for split in splits:
        try:
            rows = datasets.load_dataset(hub_id, "main", split=split)
        except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
            raise ValueError(
                f"cannot load {hub_id} from the hub ({type(error).__name__}: {error}); check the "
                "network and the id, or give the `path` of a train.jsonl"
            ) from error
        found[split] = jsonl.distinct(
            parse(json.dumps(row), f"{hub_id}/{split}, row {number}", keep_marks)
            for number, row in enumerate(rows, start=1)
        )
    overlap = {problem.id for problem in jsonl.shared(found["train"], found["test"])}
    found["train"] = tuple(p for p in found["train"] if p.id not in overlap)
    return found
