"""OpenMathInstruct-1 records: code blocks become programs, unusable records are counted."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from swarmproof.tasks import OpenMath
from swarmproof.tasks.openmath import program_of


def solution(*blocks: str) -> str:
    shown = "\n<llm-code-output>\n7\n</llm-code-output>\n"
    return "Let us.\n" + "".join(f"<llm-code>\n{b}\n</llm-code>{shown}" for b in blocks) + "So 7."


def record(question: str, worked: str, expected: str = "7") -> dict[str, str]:
    return {"question": question, "generated_solution": worked, "expected_answer": expected}


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("blocks", "program"),
    [
        (("x = 3\nx + 4",), "x = 3\nprint(x + 4)"),
        (("x = 3", "x + 4"), "x = 3\nprint(x + 4)"),
        (("# seven\nx = 7\nx  # it",), "# seven\nx = 7\nprint(x)"),
        (("print(7)",), "print(7)"),
        (("x = 7",), "x = 7"),
        (("max(\n    3,\n    7,\n)",), "print(max(\n    3,\n    7,\n))"),
        (("7",), "print(7)"),
        (("if 1:\n    print(7)",), "if 1:\n    print(7)"),
    ],
)
def test_blocks_become_one_program_that_shows_its_last_expression(
    blocks: tuple[str, ...], program: str
) -> None:
    assert program_of(solution(*blocks)) == program


@pytest.mark.parametrize(
    "text", ["", "7", solution("x ="), solution("print('</code>')"), solution("x = 1; x"),
             solution("(" * 5000), solution("\x00"), "<llm-code>\n7", solution("x = 1" * 9000)],
)  # fmt: skip
def test_what_is_no_program_gives_none(text: str) -> None:
    assert program_of(text) is None


def test_records_become_problems_and_the_unusable_are_counted(tmp_path: Path) -> None:
    good = [record(f"What is {n} + 1?", solution(f"x = {n}\nx + 1"), str(n + 1)) for n in range(9)]
    bad = [
        record("No code?", "It is 7."), record("Wrong?", solution("6")),
        record("No number?", solution("'x'"), "\\frac{1}{2}"), record("Fails?", solution("1 / 0")),
        record("Endless?", solution("while True: pass\n7")),
        record("Two numbers?", solution("print(1)\nprint(7)")),
    ]  # fmt: skip
    again = [record("What is 0 + 1?", solution("2 - 1"), "1"), *good[:1]]
    task = OpenMath(path=write(tmp_path / "a.jsonl", good + bad + again), holdout=3)
    train, test = task.problems("train"), task.problems("test")
    assert (len(train), len(test), task.left_out()) == (6, 3, len(bad))
    assert {p.id for p in train}.isdisjoint(p.id for p in test)
    (twice,) = (p for p in [*train, *test] if p.question == "What is 0 + 1?")
    assert twice.solutions == ("x = 0\nprint(x + 1)", "print(2 - 1)")
    for p in [*train, *test]:
        assert task.rewards(p, [task.oracle(p, v) for v in range(2)]) == [1.0, 1.0]
        assert p.question in task.prompt(p)


def test_spellings_of_a_question_count_as_one_and_are_never_on_both_sides(tmp_path: Path) -> None:
    rows = [record(f"What is {n} + 6?", solution(str(n + 6)), str(n + 6)) for n in range(8)]
    rows += [record(f" what IS {n}\u00a0+ 6?", solution(f"6 + {n}"), str(n + 6)) for n in range(8)]
    rows += [record("what is 0 + 6 ?", solution("5"), "5")]
    path = write(tmp_path / "a.jsonl", rows)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    for holdout in range(1, 8):
        task = OpenMath(path=path, holdout=holdout)
        train, test = task.problems("train"), task.problems("test")
        assert (len(train), len(test)) == (8 - holdout, holdout)
        for p in [*train, *test]:
            assert p.question.startswith("What is ")
            assert len(p.solutions) == 2
            assert task.rewards(p, [task.oracle(p, v) for v in range(2)]) == [1.0, 1.0]


def test_only_so_many_records_are_read(tmp_path: Path) -> None:
    rows = [record(f"{n}?", solution("7")) for n in range(20)]
    task = OpenMath(path=write(tmp_path / "b.jsonl", rows), records=8, holdout=2)
    assert len(task.problems("train")) == 6


def test_errors_name_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="download"):
        OpenMath(path=tmp_path / "none.jsonl").problems("train")
    few = write(tmp_path / "few.jsonl", [record("?", solution("7"))])
    with pytest.raises(ValueError, match="holdout"):
        OpenMath(path=few).problems("train")
    huge = '{"id": ' + "9" * 5000 + "}"
    half = json.dumps(record("\ud800?", ""))
    for i, line in enumerate(("{", "[]", '{"question": 1}', "[" * 100_000, huge, half)):
        bad = tmp_path / f"bad{i}.jsonl"
        bad.write_text(f"{json.dumps(record('?', ''))}\n\n{line}\n", encoding="utf-8")
        with pytest.raises(ValueError, match=rf"bad{i}\.jsonl, line 3: "):
            OpenMath(path=bad).problems("train")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match="pip install datasets"):
        OpenMath(hub_id="test/no-datasets").problems("train")
