"""The generated code task: the same questions as math_words, several right programs for each."""

from __future__ import annotations

import ast
from random import Random
from statistics import mean

import pytest

from swarmproof.tasks import CodeWords, MathWords
from swarmproof.tasks.code_words import write

SMALL = CodeWords(train=300, test=100)
PROBLEMS = [*SMALL.problems("train"), *SMALL.problems("test")]


def test_the_questions_and_answers_are_those_of_math_words() -> None:
    words = MathWords(train=300, test=100)
    for split in ("train", "test"):
        pairs = zip(SMALL.problems(split), words.problems(split), strict=True)
        assert all((p.question, p.answer) == (q.question, q.answer) for p, q in pairs)
    assert len({p.id for p in PROBLEMS}) == len(PROBLEMS)
    assert all(p.id.startswith("code_words/") for p in PROBLEMS)


def test_every_program_is_right_and_no_two_of_a_problem_are_the_same() -> None:
    for p in PROBLEMS:
        assert 6 <= len(set(p.solutions)) == len(p.solutions) <= 12
        completions = [SMALL.oracle(p, variant) for variant in range(len(p.solutions))]
        assert SMALL.rewards(p, completions) == [1.0] * len(p.solutions)


def test_the_default_is_right_throughout() -> None:
    task = CodeWords()
    for p in (*task.problems("train"), *task.problems("test")):
        # Our own programs, so that they need no sandbox, which would take longer.
        values: list[int] = []
        for program in p.solutions:
            exec(program, {"print": values.append})
        assert values == [int(p.answer)] * len(p.solutions)


def test_programs_are_short_and_use_every_operator() -> None:
    text = "\n".join(p.solutions[0] for p in PROBLEMS)
    found = {type(node.op) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.BinOp)}
    assert found == {ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv}
    assert 0 < text.count("#") < 0.2 * len(PROBLEMS)
    for variant in range(4):
        words = [len(p.solutions[variant].split()) for p in PROBLEMS]
        assert max(words) <= 40
        assert mean(words) <= 20


def test_writing_is_reproducible() -> None:
    again = CodeWords(train=300, test=100, seed=0)
    assert [*again.problems("train")] == PROBLEMS[:300]
    assert [*CodeWords(train=300, test=100, seed=1).problems("test")] != PROBLEMS[300:]


@pytest.mark.parametrize(
    ("equations", "expression"),
    [
        ("3 + 4 = 7.", "3 + 4"),
        ("3 + 4 = 7. 7 * 2 = 14.", "(3 + 4) * 2"),
        ("3 * 4 = 12. 12 - 2 = 10. 10 + 1 = 11.", "3 * 4 - 2 + 1"),
        ("3 + 4 = 7. 20 - 7 = 13.", "20 - (3 + 4)"),
        ("3 * 4 = 12. 20 - 12 = 8.", "20 - 3 * 4"),
        ("2 + 2 = 4. 4 - 4 = 0.", "2 + 2 - 4"),
    ],
)
def test_brackets_stand_where_they_are_needed(equations: str, expression: str) -> None:
    assert write(Random(0), "Tom has pens.", equations)[1] == f"print({expression})"
