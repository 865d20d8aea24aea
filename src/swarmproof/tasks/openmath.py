"""OpenMathInstruct-1: competition and grade-school questions with solutions that use code.

It knows the records' format (`question`, `generated_solution`, `expected_answer`) and how the
`<llm-code>` blocks of a solution become one program; `programs` runs what a model replies. It ships
no data. The blocks are cells of a notebook, where the last expression is shown: it is printed here.
Kept are questions with a number for an answer and at least one solution whose program prints it
in the task's sandbox; the programs of the data set are as untrusted as those of a peer. `left_out`
counts the records that were not used.
Source: Toshniwal et al. 2024, https://huggingface.co/datasets/nvidia/OpenMathInstruct-1.
"""

from __future__ import annotations

import ast
import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pydantic import Field

from swarmproof.registry import register
from swarmproof.sandbox import Sandbox
from swarmproof.tasks import answers
from swarmproof.tasks.base import Split
from swarmproof.tasks.gsm8k_code import PROMPT
from swarmproof.tasks.programs import CODE, END_CODE, CodeTask, printed_answer
from swarmproof.types import Problem

_BLOCK = re.compile(r"<llm-code>(.*?)</llm-code>", re.DOTALL)
_MAX_BLOCK_CHARS = 20_000
MAX_SOLUTIONS = 8  # programs kept for a question


@dataclass(frozen=True, slots=True)
class Loaded:
    """The usable problems of a source, and how many of its records gave no program."""

    problems: tuple[Problem, ...]
    left_out: int


@register("task", "openmath")
class OpenMath(CodeTask):
    """Questions of OpenMathInstruct-1 answered by programs, for base models that write code."""

    path: Path | None = Field(default=None, description="JSONL of records; read instead of the hub")
    hub_id: str = Field(default="nvidia/OpenMathInstruct-1", description="read where no path is")
    hub_split: str = Field(default="train", description="split of the hub's data set that is read")
    records: int = Field(default=20_000, ge=1, description="read at most so many records")
    holdout: int = Field(default=500, ge=1, description="held-out questions")
    prompt_template: str = Field(
        default=PROMPT, pattern=r"\{question\}", description="the prompt, with {question}"
    )

    @property
    def downloads(self) -> str | None:
        return self.hub_id if self.path is None else None

    def problems(self, split: Split) -> Sequence[Problem]:
        """Problems of a split; held out are the `holdout` questions with the smallest hashes.

        Raises:
            ValueError: the file is missing or a line malformed, `datasets` is not installed or
                the hub is out of reach, too few questions are usable, or the sandbox is not
                available here.
        """
        everything = self._load().problems
        if len(everything) <= self.holdout:
            raise ValueError(
                f"{self.path or self.hub_id} has {len(everything)} usable problems, of which "
                f"{self.holdout} are to be held out; read more `records` or lower `holdout`"
            )
        held_out = set(sorted(p.id for p in everything)[: self.holdout])
        return [p for p in everything if (p.id in held_out) == (split == "test")]

    def left_out(self) -> int:
        """How many of the records that were read gave no program with the right answer."""
        return self._load().left_out

    def prompt(self, problem: Problem) -> str:
        return self.prompt_template.replace("{question}", problem.question)

    def _load(self) -> Loaded:
        self.sandbox.require()
        modules = tuple(self.sources.items())
        return _load(self.path, self.hub_id, self.hub_split, self.records, self.sandbox, modules)


def program_of(solution: str) -> str | None:
    """The `<llm-code>` blocks of a solution as one program that prints the last expression.

    None where there are no blocks, or they are no Python.
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
    lines = _from_hub(hub_id, hub_split) if path is None else _file(path)
    source = f"{hub_id}/{hub_split}" if path is None else str(path)
    numbered = ((i, line) for i, line in enumerate(lines, start=1) if line.strip())
    rows = [_record(line, f"{source}, line {i}") for i, line in itertools.islice(numbered, limit)]
    programs = [program_of(solution) or "" for _, solution, _ in rows]
    results = sandbox.run(programs, dict(modules))
    found: dict[tuple[str, str], list[str]] = {}
    left_out = 0
    for (question, _, expected), program, result in zip(rows, programs, results, strict=True):
        answer = answers.canonical(expected)
        if answer is None or printed_answer(result) != answer:
            left_out += 1
            continue
        solutions = found.setdefault((question, answer), [])
        if program not in solutions and len(solutions) < MAX_SOLUTIONS:
            solutions.append(program)
    # Two answers to one question would be two problems with one id; the first stands.
    problems: dict[str, Problem] = {}
    for (question, answer), solutions in found.items():
        digest = hashlib.sha256(question.encode("utf-8", "surrogatepass")).hexdigest()
        id = f"openmath/{digest[:16]}"
        problems.setdefault(id, Problem(id, question, answer, tuple(solutions)))
    return Loaded(tuple(problems.values()), left_out)


def _record(line: str, where: str) -> tuple[str, str, str]:
    try:
        record = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{where}: not JSON ({error}); expected a JSON object a line") from error
    fields = record if isinstance(record, dict) else {}
    names = ("question", "generated_solution", "expected_answer")
    match [fields.get(name) for name in names]:
        case [str(question), str(solution), str(expected)]:
            return question, solution, expected
    raise ValueError(f"{where}: expected an object with texts {', '.join(names)}")


def _file(path: Path) -> Iterable[str]:
    try:
        return path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError as error:
        raise ValueError(
            f"no file {path}; download a JSONL of OpenMathInstruct-1 from "
            "https://huggingface.co/datasets/nvidia/OpenMathInstruct-1 and give its path"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {path}: {error}; give a JSONL file in UTF-8") from error


def _from_hub(hub_id: str, split: str) -> Iterator[str]:
    try:
        import datasets
    except ImportError as error:
        raise ValueError(
            "openmath without `path` needs the datasets library: pip install datasets, or give "
            "the path of a JSONL file"
        ) from error
    try:
        # Streamed: the whole set is gigabytes, and only `records` of it are read.
        rows = iter(datasets.load_dataset(hub_id, split=split, streaming=True))
        while (row := next(rows, None)) is not None:
            yield json.dumps(row)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise ValueError(
            f"cannot load {hub_id} from the hub ({type(error).__name__}: {error}); check the "
            "network and the id, or give the `path` of a JSONL file"
        ) from error
