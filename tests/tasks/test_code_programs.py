"""Reading programs out of completions: no text crashes it or earns what it should not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from swarmproof.registry import build
from swarmproof.sandbox import CPython, Monty, Result
from swarmproof.tasks import CodeWords, Task
from swarmproof.tasks.programs import extract, printed_answer, wrap
from swarmproof.types import Problem

TASK = CodeWords(train=1, test=1)
PROBLEM = Problem("p", "?", "7319", ("print(7319)",))
NO_PROGRAM = [
    "", "print(7319)", "<code>print(7319)", "print(7319)</code>", "</code>print(7319)<code>",
    "<code>print(7319)</code><code>print(7319)</code>", "<code><code>print(7319)</code></code>",
    "<code>print(7319)</code></code>", "<code>print('<code>')</code>",
    "x <code>print(7319)</code>", "<code>print(7319)</code> x", "<CODE>print(7319)</CODE>",
    "```python\nprint(7319)\n```", "<think>a</think> <code>print(7319)</code>",
    "<code>print(7319)</code> <answer>7319</answer>", "< code>print(7319)</code>",
    "\u200b<code>print(7319)</code>", "<answer>7319</answer>", "<code>print(7319)</code>\x00",
    "  <code>print(7319)</code>", "<code>print(7319)</code>\n\n\n", "\t<code>print(7319)</code>",
    "<code>print(7319)</code>\u00a0",
]  # fmt: skip
RIGHT = ["print(7319)", "print('7,319')", "print(7319.0)", "print()\nprint(7319)\nprint()",
         "print('$7319')", "print(7319, end='')", "print(' 7319 ')"]  # fmt: skip
WRONG = ["print(7318)", "print(1)\nprint(7319)", "print(7319)\nprint(7319)", "print('x 7319')",
         "7319", "print(7319)\n1 / 0", "print('7319' * 2)", "print([7319])", ""]  # fmt: skip


@pytest.mark.parametrize("completion", NO_PROGRAM)
def test_only_the_exact_format_gives_a_program(completion: str) -> None:
    assert extract(completion) is None
    assert TASK.rewards(PROBLEM, [completion]) == [0.0]
    assert TASK.answer(completion) is None


def test_short_gaps_around_the_block_and_white_space_in_it_are_allowed() -> None:
    assert extract("\n<code>\n\n x = 1\n</code>\n\n") == "x = 1"
    assert extract("<code></code>") == ""


@pytest.mark.parametrize("program", RIGHT)
def test_the_right_number_earns_the_reward_however_it_is_written(program: str) -> None:
    assert TASK.rewards(PROBLEM, [wrap(program)]) == [1.0]
    assert TASK.answer(wrap(program)) == "7319"


@pytest.mark.parametrize("program", WRONG)
def test_anything_but_the_right_number_alone_earns_nothing(program: str) -> None:
    assert TASK.rewards(PROBLEM, [wrap(program)]) == [0.0]


def test_a_failed_program_gives_no_answer() -> None:
    assert printed_answer(Result(None, "failed")) is None
    assert printed_answer(Result("")) is None
    assert printed_answer(Result(" 7.0\n")) == "7"


def test_groups_at_once_earn_what_each_earns_alone() -> None:
    groups = [
        (PROBLEM, [wrap("print(7319)"), "", wrap("print(1)")]),
        (Problem("q", "?", "none", ("",)), [wrap("print(7319)"), wrap("print(2)")]),
        (Problem("r", "?", "2", ("",)), [wrap("print(2)")]),
        (PROBLEM, []),
        (PROBLEM, [wrap("print(2)"), wrap("print(7319)")]),
    ]
    assert TASK.group_rewards(groups) == [TASK.rewards(*group) for group in groups]
    assert TASK.group_rewards(groups) == [[1, 0, 0], [0, 0], [1], [], [0, 1]]


def test_a_problem_without_a_number_for_an_answer_is_never_right() -> None:
    assert TASK.rewards(Problem("p", "?", "x", ()), [wrap("print('x')")]) == [0.0]


# Pieces of which nearly right completions are made, so that the rare paths are walked too.
PIECES = st.sampled_from(
    ["<code>", "</code>", "\n", " ", "print(", ")", "731", "9", "7318", "+ 1", "'", "#", "\x00",
     "\ud800", "٧٣١٩", "x = ", "<answer>", "while 0: "]
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(), st.lists(PIECES, max_size=12).map("".join)))
def test_no_text_crashes_it_and_a_reward_means_the_right_answer_in_the_right_place(
    text: str,
) -> None:
    (reward,) = TASK.rewards(PROBLEM, [text])
    assert reward in (0.0, 1.0)
    assert reward == float(TASK.answer(text) == "7319")
    if reward:
        program = extract(text)
        assert program is not None
        assert text.strip().startswith("<code>")
        assert text.strip().endswith("</code>")
        (result,) = TASK.sandbox.run([program])
        assert result.stdout is not None
        assert result.stdout.strip() in ("7319", "٧٣١٩")


AROUND = st.one_of(st.text(), st.text(" \n\t", max_size=3))


@settings(max_examples=100, deadline=None)
@given(AROUND, AROUND)
def test_a_right_program_with_text_around_it_earns_nothing(before: str, after: str) -> None:
    rewarded = TASK.rewards(PROBLEM, [before + wrap("print(7319)") + after]) == [1.0]
    assert rewarded == ({before, after} <= {"", " ", "\n", "\n\n"})


def test_the_sandbox_and_the_modules_are_settings_of_the_task() -> None:
    table = {
        "name": "code_words",
        "sandbox": {"name": "monty", "seconds": 1},
        "modules": [{"name": "extra", "source": "def seven(): return 7319"}],
    }
    task = build(Task, dict(table))
    assert isinstance(task, CodeWords)
    assert task.sandbox == Monty(seconds=1)
    program = wrap("from extra import seven\nprint(seven())")
    assert task.rewards(PROBLEM, [program]) == [1.0]
    assert TASK.rewards(PROBLEM, [program]) == [0.0]
    for wrong in ({"sandbox": {"name": "docker"}}, {"modules": [{"name": "a b", "source": ""}]}):
        with pytest.raises(ValidationError):
            build(Task, {**table, **wrong})


def test_where_the_sandbox_does_not_work_the_problems_say_so() -> None:
    task = CodeWords(train=1, test=1, sandbox=CPython(packages=("no_such_package",)))
    with pytest.raises(ValueError, match="no_such_package"):
        task.problems("train")
