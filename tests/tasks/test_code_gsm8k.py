"""Oracle programs from calculator marks: right, readable, and for nearly all of GSM8K."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from swarmproof.tasks import Gsm8k, Gsm8kCode
from swarmproof.tasks.gsm8k_code import programs_for
from swarmproof.tasks.programs import printed_answer

NATALIA = (
    "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\n"
    "Natalia sold 48+24 = <<48+24=72>>72 clips altogether in April and May."
)
# solution, answer, the lines of the first program
DERIVED = {
    "linked": (NATALIA, "72", ["clips = 48 / 2", "clips_2 = 48 + clips", "print(clips_2)"]),
    "cents in binary": (
        "It is 0.1+0.2=$<<0.1+0.2=0.3>>0.3 dollars.", "0.3",
        ["dollars = 0.1 + 0.2", "print(round(dollars, 2))"],
    ),
    "rounded down": (
        "There are 10/3=<<10/3=3.33>>3.33 boxes.", "3", ["boxes = 10 / 3", "print(round(boxes))"],
    ),
    "unmarked": (
        "He has 3+4=<<3+4=7>>7 pens.\nIn 5 years it will be 7 + 5 = 12 pens.", "12",
        ["pens = 3 + 4", "pens_2 = pens + 5", "print(pens_2)"],
    ),
    "percentage": (
        "That is 50 balls / 200 balls * 100% = 25%", "25",
        ["amount = 50 / 200 * 100", "print(amount)"],
    ),
    "reserved names": (
        "So 1+1=<<1+1=2>>2 print. Then 2+2=<<2+2=4>>4 lambda.", "4",
        ["print_1 = 1 + 1", "lambda_1 = print_1 + print_1", "print(lambda_1)"],
    ),
    "leading zeros": ("It is <<05+1=6>>6 pens.", "6", ["pens = 5 + 1", "print(pens)"]),
    "answer before the end": (
        "He has <<3+4=7>>7 pens. Check: <<7-4=3>>3 pens.", "7", ["pens = 3 + 4", "print(pens)"],
    ),
}  # fmt: skip
UNDERIVED = [
    ("Let x be it. Then x = 3.", "3"), ("It is <<3+4=7>>7.", "8"), ("", "1"),
    ("It is <<1/0=7>>7.", "7"), ("It is <<9**9**9=7>>7.", "7"), ("It is <<__import__=7>>7.", "7"),
    ("It is <<((((=7>>7.", "7"), ("So 3 + 4 = 8 pens.", "8"),
]  # fmt: skip


@pytest.mark.parametrize("case", DERIVED)
def test_a_worked_solution_becomes_a_program(case: str) -> None:
    solution, answer, lines = DERIVED[case]
    programs = programs_for(solution, answer)
    assert programs[0].split("\n") == lines
    results = Gsm8kCode().sandbox.run(programs)
    assert [printed_answer(result) for result in results] == [answer] * 3


def test_variants_tell_the_sentences_or_only_the_steps() -> None:
    _, told, numbered = programs_for(NATALIA, "72")
    assert told.startswith("# Natalia sold 48/2 = 24 clips in May.\nclips = 48 / 2\n# ")
    assert numbered == "step_1 = 48 / 2\nstep_2 = 48 + step_1\nprint(step_2)"


@pytest.mark.parametrize(("solution", "answer"), UNDERIVED)
def test_what_does_not_lead_to_the_answer_gives_none(solution: str, answer: str) -> None:
    assert programs_for(solution, answer) == ()


def test_problems_without_a_program_are_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    rows = [{"question": f"{n} + 1?", "answer": f"<<{n}+1={n + 1}>>\n#### {n + 1}"}
            for n in range(40)]  # fmt: skip
    rows += [{"question": f"Think of {n}.", "answer": f"Thought.\n#### {n}"} for n in range(9)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    code, words = Gsm8kCode(path=path, holdout=10), Gsm8k(path=path, holdout=10)
    ids = {split: {p.id for p in code.problems(split)} for split in ("train", "test")}
    assert len(ids["train"] | ids["test"]) == 40
    assert code.left_out("train") + code.left_out("test") == 9
    # The split is that of `gsm8k`, whose solutions stay without marks.
    assert ids["test"] <= {p.id for p in words.problems("test")}
    assert all("<<" not in p.solutions[0] for p in words.problems("train"))
    problem = code.problems("train")[0]
    assert code.rewards(problem, [code.oracle(problem, v) for v in range(4)]) == [1.0] * 4


def test_at_least_95_percent_of_the_real_training_file_give_a_right_program() -> None:
    if "SWARMPROOF_GSM8K" not in os.environ:
        pytest.skip("SWARMPROOF_GSM8K, the path of GSM8K's train.jsonl, is unset")
    task = Gsm8kCode(path=Path(os.environ["SWARMPROOF_GSM8K"]))
    problems = [*task.problems("train"), *task.problems("test")]
    left_out = task.left_out("train") + task.left_out("test")
    assert len(problems) + left_out == 7473
    assert len(problems) >= 0.95 * 7473
    results = task.sandbox.run([p.solutions[0] for p in problems])
    assert [printed_answer(result) for result in results] == [p.answer for p in problems]
    # The other variants do the same sums in other words.
    for p in problems[::20]:
        completions = [task.oracle(p, variant) for variant in range(3)]
        assert task.rewards(p, completions) == [1.0] * 3
