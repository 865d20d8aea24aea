"""GSM8K: the file format, the held-out split, and errors that name the remedy."""

import json
import os
import sys
import types
from pathlib import Path

import pytest
from pydantic import ValidationError

from swarmproof.tasks import Gsm8k, Gsm8kCode
from swarmproof.tasks.gsm8k import parse

LINE = json.dumps(
    {"question": "Half of 48?", "answer": "It is 48/2 = <<48/2=24>>24 clips.\n#### 1,024.00"}
)


def write(path: Path, count: int) -> Path:
    rows = [{"question": f"What is {n} + 1?", "answer": f"#### {n + 1}"} for n in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def questions(path: Path, *questions: str) -> Path:
    rows = [{"question": question, "answer": "#### 7"} for question in questions]
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
    task = Gsm8k(path=path, holdout=1)
    assert (len(task.problems("train")), len(task.problems("test"))) == (4, 1)


SPELLINGS = [
    "Half of 48?",
    " Half of  48?\n",
    "half of 48?",
    "Half of４８?",
    "Half\u00a0of\u200b 48?",
]


def test_spellings_of_a_question_count_as_one_and_are_never_on_both_sides(tmp_path: Path) -> None:
    others = [f"What is {n} + 1?" for n in range(20)]
    path = questions(tmp_path / "a.jsonl", *others, *SPELLINGS, *(f" {q.upper()}" for q in others))
    back = questions(tmp_path / "b.jsonl", *(f" {q.upper()}" for q in others), *SPELLINGS, *others)
    for holdout in range(1, 21):
        task, turned = Gsm8k(path=path, holdout=holdout), Gsm8k(path=back, holdout=holdout)
        sides = [{"".join(p.question.casefold().split()) for p in task.problems(split)}
                 for split in ("train", "test")]  # fmt: skip
        assert [len(side) for side in sides] == [21 - holdout, holdout]
        assert sides[0].isdisjoint(sides[1])
        assert {p.id for p in task.problems("test")} == {p.id for p in turned.problems("test")}


def test_a_test_file_is_used_if_there_is_one(tmp_path: Path) -> None:
    test = questions(tmp_path / "b.jsonl", "A?", "B?", "C?")
    task = Gsm8k(path=write(tmp_path / "a.jsonl", 5), test_path=test)
    assert (len(task.problems("train")), len(task.problems("test"))) == (5, 3)


@pytest.mark.parametrize("task", [Gsm8k, Gsm8kCode])
def test_an_overlap_of_two_files_is_told_with_its_number(tmp_path: Path, task: type[Gsm8k]) -> None:
    train = questions(tmp_path / "a.jsonl", "A?", *SPELLINGS[:1], "C?", "D?")
    test = questions(tmp_path / "b.jsonl", "E?", "a ?", *SPELLINGS[1:])
    for split in ("train", "test"):
        with pytest.raises(
            ValueError, match=r"share 2 questions .*such as 'A\?'; remove"
        ) as caught:
            task(path=train, test_path=test).problems(split)
        assert str(caught.value).isprintable()
        assert str(train) in str(caught.value)
    with pytest.raises(ValidationError, match="test_path is given without path"):
        task(test_path=test)


def test_what_the_hubs_splits_share_is_left_out_of_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = {"train": ["A?", "Half of 48?", "C?"], "test": [" half of 48?", "D?"]}

    def load_dataset(_: str, __: str, split: str) -> list[dict[str, str]]:
        return [{"question": question, "answer": "#### 7"} for question in rows[split]]

    hub = types.ModuleType("datasets")
    monkeypatch.setattr(hub, "load_dataset", load_dataset, raising=False)
    monkeypatch.setattr(
        hub, "exceptions", types.SimpleNamespace(DatasetsError=OSError), raising=False
    )
    monkeypatch.setitem(sys.modules, "datasets", hub)
    task = Gsm8k(hub_id="test/overlap")
    assert [p.question for p in task.problems("train")] == ["A?", "C?"]
    assert [p.question for p in task.problems("test")] == [" half of 48?", "D?"]


@pytest.mark.parametrize(
    "line",
    ["{", "[]", "3", '{"question": "?"}', '{"question": 1, "answer": "#### 1"}',
     '{"question": "?", "answer": "7"}', '{"question": "?", "answer": "#### seven"}',
     '{"question": ' + "[" * 100_000, '{"question": "?", "answer": "#### 1", "n": ' + "[" * 100_000,
     '{"question": "?", "answer": "#### 1", "n": ' + "9" * 5000 + "}",
     '{"question": "a\\ud800b", "answer": "#### 1"}', '{"question": "", "answer": "\\udc00####1"}',
     '{"question": "?", "answer": "#### 1"} {}', "\x00", b"\xff\xfe{\x00}\x00",
     b'{"question": "\xe9"}'],
    ids=lambda line: repr(line[:40]),
)  # fmt: skip
def test_a_malformed_line_is_named_by_its_number(tmp_path: Path, line: str | bytes) -> None:
    path = tmp_path / "bad.jsonl"
    raw = line if isinstance(line, bytes) else line.encode()
    path.write_bytes(f"{LINE}\r\n\n".encode() + raw + b"\n")
    with pytest.raises(ValueError, match=r"bad\.jsonl, line 3: ") as caught:
        Gsm8k(path=path).problems("train")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < len(str(path)) + 150


def test_a_byte_order_mark_is_read_also_where_files_were_joined(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", 5)
    part = path.read_bytes()
    path.write_bytes(b"\xef\xbb\xbf" + part + b"\xef\xbb\xbf" + LINE.encode())
    task = Gsm8k(path=path, holdout=2)
    assert (len(task.problems("train")), len(task.problems("test"))) == (4, 2)


def test_a_line_separator_in_a_question_ends_no_line(tmp_path: Path) -> None:
    row = json.dumps({"question": "a\u2028b\x85c", "answer": "#### 1"}, ensure_ascii=False)
    path = tmp_path / "a.jsonl"
    path.write_text(f"{row}\n{LINE}", encoding="utf-8")
    assert Gsm8k(path=path, holdout=1).problems("test")


def test_errors_name_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="download"):
        Gsm8k(path=tmp_path / "none.jsonl").problems("train")
    with pytest.raises(ValueError, match=f"cannot read {tmp_path}: .*give a JSONL file"):
        Gsm8k(path=tmp_path).problems("train")
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
