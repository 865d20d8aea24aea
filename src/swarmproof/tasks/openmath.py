"""OpenMathInstruct-1: competition and grade-school questions with solutions that use code.

It knows the format of the records (`question`, `generated_solution`, `expected_answer`) and how the
`<llm-code>` blocks of a solution become one program. `programs` runs the replies of a model. The
package ships no data. The blocks are cells of a notebook, which shows the last expression; here it
is printed. A question is kept if its answer is a number and at least one of its programs prints
that number in the task's sandbox. The programs of the data set are as untrusted as those of a peer.
`left_out` counts the records that were not used.
Source: Toshniwal et al. 2024, https://huggingface.co/datasets/nvidia/OpenMathInstruct-1.
"""

from __future__ import annotations

import ast
import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pydantic import Field

from swarmproof.registry import register
from swarmproof.sandbox import Sandbox
from swarmproof.tasks import answers, jsonl
from swarmproof.tasks.base import Split
from swarmproof.tasks.gsm8k_code import PROMPT
from swarmproof.tasks.programs import CODE, END_CODE, CodeTask, printed_answer
from swarmproof.types import Problem

_BLOCK = re.compile(r"<llm-code>(.*?)</llm-code>", re.DOTALL)
_MAX_BLOCK_CHARS = 20_000
MAX_SOLUTIONS = 8  # programs kept for a question
_NAMES = ("question", "generated_solution", "expected_answer")
_DOWNLOAD = (
    "download a JSONL file of OpenMathInstruct-1 from "
    "https://huggingface.co/datasets/nvidia/OpenMathInstruct-1 and give its path"
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The usable problems of a source, and the number of records without a right program."""

    problems: tuple[Problem, ...]
    left_out: int


@register("task", "openmath")
class OpenMath(CodeTask):
    """Questions of OpenMathInstruct-1 answered by programs, for base models that write code."""

    path: Path | None = Field(default=None, description="JSONL file of records, instead of the hub")
    hub_id: str = Field(
        default="nvidia/OpenMathInstruct-1",
        description="data set on the hub, read if no `path` is given",
    )
    hub_split: str = Field(default="train", description="split of the data set on the hub")
    records: int = Field(default=20_000, ge=1, description="maximum number of records to read")
    holdout: int = Field(default=500, ge=1, description="held-out questions")
    prompt_template: str = Field(
        default=PROMPT, pattern=r"\{question\}", description="the prompt, with {question}"
    )

    @property
    def downloads(self) -> str | None:
        return self.hub_id if self.path is None else None

    def problems(self, split: Split) -> Sequence[Problem]:
        """Problems of a split. The `holdout` questions with the smallest hashes are held out.

        Questions that differ only in white space, case or Unicode form count as one.

        Raises:
            ValueError: the file is missing, a line is malformed, `datasets` is not installed, the
                hub cannot be reached, too few questions are usable, or the sandbox is not
                available here.
        """
        everything = self._load().problems
        if len(everything) <= self.holdout:
            raise ValueError(
                f"{self.path or self.hub_id} has {len(everything)} usable problems, and "
                f"{self.holdout} must be held out; read more `records` or lower `holdout`"
            )
        held_out = set(sorted(p.id for p in everything)[: self.holdout])
        return [p for p in everything if (p.id in held_out) == (split == "test")]

    def left_out(self) -> int:
        """The number of records that were read and gave no program with the right answer."""
        return self._load().left_out

    def prompt(self, problem: Problem) -> str:
        return self.prompt_template.replace("{question}", problem.question)

    def _load(self) -> Loaded:
        self.sandbox.require()
        modules = tuple(self.sources.items())
        return _load(self.path, self.hub_id, self.hub_split, self.records, self.sandbox, modules)


def program_of(solution: str) -> str | None:
    """The `<llm-code>` blocks of a solution as one program that prints the last expression.

    None if there are no blocks, or they are not Python.
    """
    source = "\n".join(block.strip() for block in _BLOCK.findall(solution))
    if not source or len(source) > _MAX_BLOCK_CHARS or CODE in source or END_CODE in source:
        return None
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    last = tree.body[-1] if tree.body else None
    if not isinstance(last, ast.Expr) or last.end_lineno is None:
        return source
    match last.value:
        case ast.Call(func=ast.Name(id="print")):
            return source
    lines = source.split("\n")
    shown = ast.get_source_segment(source, last.value)
    if last.col_offset != 0 or shown is None:
        return None
    rest = "\n".join(lines[: last.lineno - 1])
    return f"{rest}\nprint({shown})".strip()


@lru_cache(maxsize=4)
def _load(
    path: Path | None,
    hub_id: str,
    hub_split: str,
    limit: int,
    sandbox: Sandbox,
    modules: tuple[tuple[str, str], ...],
) -> Loaded:
    lines = _from_hub(hub_id, hub_split) if path is None else jsonl.read(path, _DOWNLOAD)
    rows = [jsonl.texts(line, where, _NAMES) for where, line in itertools.islice(lines, limit)]
    programs = [program_of(solution) or "" for _, solution, _ in rows]
    results = sandbox.run(programs, dict(modules))
    # Of one question in several spellings or with several answers, the first stands.
    found: dict[str, tuple[str, str, list[str]]] = {}
    left_out = 0
    for (question, _, expected), program, result in zip(rows, programs, results, strict=True):
        answer = answers.canonical(expected.strip())
        if answer is None or printed_answer(result) != answer:
            left_out += 1
            continue
        key = jsonl.question_key(question)
        _, first, solutions = found.setdefault(key, (question, answer, []))
        if answer == first and program not in solutions and len(solutions) < MAX_SOLUTIONS:
            solutions.append(program)
    problems = []
    for question, answer, solutions in found.values():
        digest = hashlib.sha256(question.encode()).hexdigest()
        problems.append(Problem(f"openmath/{digest[:16]}", question, answer, tuple(solutions)))
    return Loaded(tuple(problems), left_out)


def _from_hub(hub_id: str, split: str) -> Iterator[tuple[str, str]]:
    try:
        import datasets
    except ImportError as error:
        raise ValueError(
            "openmath without `path` needs the datasets library: pip install datasets, or give "
            "the `path` of a JSONL file"
        ) from error
    try:
        # Streamed: the whole data set has gigabytes, and only `records` of it are read.
        rows = enumerate(datasets.load_dataset(hub_id, split=split, streaming=True), start=1)
        for number, row in rows:
            yield f"{hub_id}/{split}, row {number}", json.dumps(row)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise ValueError(
            f"cannot load {hub_id} from the hub ({type(error).__name__}: {error}); check the "
            "network and the id, or give the `path` of a JSONL file"
        ) from error
