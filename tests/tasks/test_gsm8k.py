"""GSM8K: the file format, the held-out split, and errors that name the remedy."""

import json
import os
import sys
from pathlib import Path

import pytest

from swarmproof.tasks import Gsm8k
from swarmproof.tasks.gsm8k import parse

LINE = json.dumps(
    {"question": "Half of 48?", "answer": "It is 48/2 = <<48/2=24>>24 clips.\n#### 1,024.00"}
)


def write(path: Path, count: int) -> Path:
    rows = [{"question": f"What is {n} + 1?", "answer": f"#### {n + 1}"} for n in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_line_becomes_a_problem_without_calculator_marks() -> None:
    problem = parse(LINE, "here")
    assert problem.question == "Half of 48?"
    assert problem.solutions == ("It is 48/2 = 24 clips.",)
    assert problem.answer == "1024"


def test_the_oracle_earns_the_reward() -> None:
    task, problem = Gsm8k(), parse(LINE, "here")
    assert task.rewards(problem, [task.oracle(problem), "1024"]) == [1.0, 0.0]
    assert task.answer(task.oracle(problem, 3)) == "1024"
    assert problem.question in task.prompt(problem)


def test_braces_in_a_question_are_just_text() -> None:
    problem = parse(json.dumps({"question": "{x} {", "answer": "#### 1"}), "here")
    assert "{x} {" in Gsm8k().prompt(problem)


def test_the_held_out_questions_do_not_depend_on_the_order_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", 50)
    lines = path.read_text(encoding="utf-8").splitlines()
    turned = tmp_path / "b.jsonl"
    turned.write_text("\n".join(reversed(lines)), encoding="utf-8")
    first, second = Gsm8k(path=path, holdout=10), Gsm8k(path=turned, holdout=10)
    test = {p.id for p in first.problems("test")}
    assert len(test) == 10
    assert test == {p.id for p in second.problems("test")}
    assert test.isdisjoint(p.id for p in first.problems("train"))
    assert len(first.problems("train")) == 40


def test_a_question_that_occurs_twice_counts_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", 5)
    path.write_text(path.read_text(encoding="utf-8") * 2, encoding="utf-8")
    assert len(Gsm8k(path=path, test_path=path).problems("train")) == 5


def test_a_test_file_is_used_where_there_is_one(tmp_path: Path) -> None:
    task = Gsm8k(path=write(tmp_path / "a.jsonl", 5), test_path=write(tmp_path / "b.jsonl", 3))
    assert (len(task.problems("train")), len(task.problems("test"))) == (5, 3)


@pytest.mark.parametrize(
    "line",
    ["{", "[]", "3", '{"question": "?"}', '{"question": 1, "answer": "#### 1"}',
     '{"question": "?", "answer": "7"}', '{"question": "?", "answer": "#### seven"}'],
)  # fmt: skip
def test_a_malformed_line_is_named_by_its_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(f"{LINE}\n\n{line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"bad\.jsonl, line 3: "):
        Gsm8k(path=path).problems("train")


def test_errors_name_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="download"):
        Gsm8k(path=tmp_path / "none.jsonl").problems("train")
    with pytest.raises(ValueError, match="holdout"):
        Gsm8k(path=write(tmp_path / "few.jsonl", 5)).problems("train")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match="pip install datasets"):
        Gsm8k(hub_id="test/no-datasets").problems("train")


def test_the_real_training_file_parses_whole() -> None:
    if "SWARMPROOF_GSM8K" not in os.environ:
        pytest.skip("SWARMPROOF_GSM8K, the path of GSM8K's train.jsonl, is unset")
    task = Gsm8k(path=Path(os.environ["SWARMPROOF_GSM8K"]))
    train, test = task.problems("train"), task.problems("test")
    assert (len(train), len(test)) == (6973, 500)
    for problem in [*train, *test]:
        assert task.rewards(problem, [task.oracle(problem)]) == [1.0]
        assert "<<" not in problem.solutions[0]
