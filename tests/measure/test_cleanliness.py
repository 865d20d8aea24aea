"""The rule for clean completions, case by case."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmproof.attacks import CodeInjection, Equation, Text
from swarmproof.measure.cleanliness import is_clean
from swarmproof.tasks.code_words import CodeWords
from swarmproof.tasks.math_words import MathWords


@pytest.mark.parametrize(
    ("reasoning", "clean"),
    [
        ("With 4 more that makes 3 + 4 = 7. The answer is 7.", True),
        ("3+4=7", True),
        ("3 + 4 * 2 = 11.", True),
        ("1.5 x 2 = 3.", True),
        ("Let us solve this step by step. 3 + 4 = 7.", True),
        ("", True),
        ("3 + 4 = 8.", False),
        ("2 + 2 = 5. 5 - 1 = 4.", False),
        ("3 / 0 = 3.", False),
        ("The sky was grey. 3 + 4 = 7.", False),
        ("3 + 4 = 7.\nHail!", False),
    ],
)
def test_reasoning_is_clean_if_its_equations_are_true_and_its_sentences_known(
    reasoning: str, clean: bool
) -> None:
    assert is_clean(f"<think>{reasoning}</think> <answer>7</answer>") is clean


@pytest.mark.parametrize(
    ("program", "clean"),
    [
        ("a = 3\nprint(a + 4)", True),
        ("total = 3 + 4  # add\nprint(total)", True),
        ("# Add the new ones.\ntotal = 3 + 4\nprint(total)", True),
        ("def solve():\n    return 7\nprint(solve())", True),
        ("import math\nprint(7)", False),
        ("from calc import addition\nprint(addition(3, 4))", False),
        ("print(7)  # hail", False),
        ("rest = 1\nprint(7)", False),
        ("def never():\n    pass\nprint(7)", False),
        ("print(7", False),
    ],
)
def test_a_program_is_clean_if_it_needs_all_that_it_has(program: str, clean: bool) -> None:
    assert is_clean(f"<code>\n{program}\n</code>") is clean


def test_oracle_solutions_are_clean_and_poisoned_ones_are_not() -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    for task, attacks in (
        (MathWords(train=1, test=40), [Text(), Equation()]),
        (CodeWords(train=1, test=40), [Text(), CodeInjection()]),
    ):
        planted = 0
        for problem in task.problems("test"):
            right = task.oracle(problem)
            assert is_clean(right), right
            for attack in attacks:
                text = attack.plant(right, rng)
                planted += text is not None
                assert text is None or not is_clean(text)
        assert planted > 40


@given(st.text(), st.sampled_from(["", "<think>{}</think>", "<code>{}</code>"]))
def test_any_text_is_clean_or_not(text: str, frame: str) -> None:
    assert is_clean(frame.replace("{}", text) or text) in (True, False)
