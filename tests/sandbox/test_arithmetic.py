"""Gold answers and rewards use one arithmetic: what the task calls right, its sandbox prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from swarmproof.sandbox import CPython, Monty, Sandbox
from swarmproof.tasks import CodeWords, OpenMath
from swarmproof.tasks.gsm8k_code import programs_for
from swarmproof.tasks.programs import CodeTask, answers_of, wrap

SANDBOXES = {"monty": Monty(), "cpython": CPython(seconds=2, packages=())}
ROUND = {"monty": "2.68", "cpython": "2.67"}  # of 2.675


@pytest.fixture(params=SANDBOXES)
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    found: Sandbox = SANDBOXES[request.param]
    try:
        found.require()
    except ValueError as error:
        pytest.skip(str(error))
    return found


def oracle_rewards(task: CodeTask) -> list[list[float]]:
    problems = [*task.problems("train"), *task.problems("test")]
    return task.group_rewards(
        [(p, [task.oracle(p, v) for v in range(len(p.solutions))]) for p in problems]
    )


def test_every_oracle_program_of_code_words_earns_the_reward(sandbox: Sandbox) -> None:
    groups = oracle_rewards(CodeWords(train=4, test=2, sandbox=sandbox))
    assert len(groups) == 6
    assert all(reward == 1.0 for group in groups for reward in group)


def test_openmath_accepts_what_its_own_sandbox_prints(sandbox: Sandbox, tmp_path: Path) -> None:
    rows = [
        {
            "question": f"Round 2.675, variant {i}, for {expected}.",
            "generated_solution": f"<llm-code>\nround(2.675, 2)  # {i}\n</llm-code>",
            "expected_answer": expected,
        }
        for expected in ROUND.values()
        for i in range(2)
    ]
    path = tmp_path / "rounding.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    task = OpenMath(path=path, holdout=1, sandbox=sandbox)
    problems = [*task.problems("train"), *task.problems("test")]
    assert [p.answer for p in problems] == [ROUND[sandbox.name]] * 2  # type: ignore[attr-defined]
    assert task.left_out() == 2
    assert oracle_rewards(task) == [[1.0], [1.0]]


@pytest.mark.parametrize(
    ("total", "answers"),
    [("5.35/2", "2.67 2.68"), ("2.675*1", "2.67 2.68"), ("0-2.675", "-2.67 -2.68"),
     ("1.005*1", "1 1.01"), ("0.285*1", "0.28 0.29"), ("0.57/2", "0.28 0.29")],
)  # fmt: skip
def test_no_oracle_program_rounds_where_interpreters_differ(total: str, answers: str) -> None:
    for gold in answers.split():
        programs = programs_for(f"It is <<{total}={gold}>>{gold} dollars.", gold)
        assert not [program for program in programs if ", 2)" in program]


@pytest.mark.parametrize(
    ("total", "answer"),
    [
        ("2/3", "0.67"),
        ("10/3", "3.33"),
        ("8/3", "3"),
        ("5/2", "2"),
        ("7/2", "4"),
        ("0.1+0.2", "0.3"),
    ],
)
def test_rounded_oracle_programs_print_their_answer(
    sandbox: Sandbox, total: str, answer: str
) -> None:
    programs = programs_for(f"It is <<{total}={answer}>>{answer} dollars.", answer)
    assert len(programs) == 3
    found = answers_of([wrap(program) for program in programs], sandbox, {})
    assert found == [answer] * 3
