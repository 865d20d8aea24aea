"""The generated task: reproducible, disjoint, correct, varied in length."""

import re
import time
from random import Random
from statistics import mean

import pytest
from pydantic import ValidationError

from swarmproof.registry import build
from swarmproof.tasks import MathWords, Task, needs_two_and_two, stories
from swarmproof.tasks.math_words import _generate
from swarmproof.types import Problem

EQUATION = re.compile(r"(\d+) ([+*/-]) (\d+) = (\d+)")
SMALL = MathWords(train=600, test=200)
PROBLEMS = [*SMALL.problems("train"), *SMALL.problems("test")]


def problem(*solutions: str) -> Problem:
    return Problem("p", "?", "4", solutions)


def test_the_default_is_large_disjoint_and_written_in_no_time() -> None:
    _generate.cache_clear()
    started = time.process_time()
    train, test = MathWords().problems("train"), MathWords().problems("test")
    seconds = time.process_time() - started
    assert len(train) >= 8000
    assert len(test) >= 500
    assert len({p.question for p in [*train, *test]}) == len(train) + len(test)
    assert len({p.id for p in [*train, *test]}) == len(train) + len(test)
    # Ten times what it takes, so that only a blunder fails.
    assert seconds < 5


def test_the_same_seed_writes_the_same_problems_and_another_does_not() -> None:
    first = SMALL.problems("train")
    _generate.cache_clear()
    assert list(SMALL.problems("train")) == list(first)
    assert list(MathWords(seed=1, train=600).problems("train")) != list(first)


def test_the_test_split_does_not_depend_on_the_size_of_the_training_split() -> None:
    assert MathWords(train=5, test=50).problems("test") == MathWords(train=9, test=50).problems(
        "test"
    )


def test_every_solution_is_right_step_by_step() -> None:
    for p in PROBLEMS:
        for solution in p.solutions:
            steps = EQUATION.findall(solution)
            assert 1 <= len(steps) <= 4
            for left, sign, right, result in steps:
                a, b, r = int(left), int(right), int(result)
                assert {"+": a + b, "-": a - b, "*": a * b, "/": a / b}[sign] == r
                assert 0 < r <= stories.LIMIT
            assert steps[-1][3] == p.answer


def test_every_variant_earns_the_reward_and_a_wrong_answer_does_not() -> None:
    for p in PROBLEMS[:100]:
        completions = [SMALL.oracle(p, variant) for variant in range(4)]
        assert SMALL.rewards(p, completions) == [1.0] * 4
        assert {SMALL.answer(completion) for completion in completions} == {p.answer}
        wrong = completions[0].replace(f"<answer>{p.answer}<", "<answer>101<")
        assert SMALL.rewards(p, [wrong, p.solutions[0], ""]) == [0.0, 0.0, 0.0]


def test_solutions_differ_in_wording_and_widely_in_length() -> None:
    assert all(len(set(p.solutions)) >= 3 for p in PROBLEMS)
    words = [mean(len(p.solutions[v].split()) for p in PROBLEMS) for v in range(4)]
    assert words[3] > 2 * words[0] > 2 * words[2]


def test_enough_problems_need_two_and_two() -> None:
    share = mean(needs_two_and_two(p) for p in MathWords().problems("test"))
    assert 0.1 <= share <= 0.2


@pytest.mark.parametrize(
    ("solution", "needed"),
    [
        ("2 + 2 = 4.", True), ("So 2 * 2 = 5 are left.", True), ("2+2=4", True),
        ("12 + 2 = 14.", False), ("2 + 20 = 22.", False), ("2 - 2 = 0.", False),
        ("1 + 2 + 2 = 5.", False), ("2 + 2 + 3 = 7.", False), ("0.2 + 2 = 2.2.", False),
    ],
)  # fmt: skip
def test_two_and_two_is_a_computation_of_its_own(solution: str, needed: bool) -> None:
    assert needs_two_and_two(problem(solution)) is needed
    assert needs_two_and_two(problem(solution, "4.")) is False


def test_stories_on_request_begin_with_two_and_two() -> None:
    rng = Random(0)
    for _ in range(200):
        story = stories.write(rng, two_and_two=True)
        assert EQUATION.findall(story.solutions[2])[0][0::2] == ("2", "2")
        assert needs_two_and_two(problem(*story.solutions))


def test_it_is_registered_and_refuses_unknown_parameters() -> None:
    assert build(Task, {"name": "math_words", "train": 10}) == MathWords(train=10)
    with pytest.raises(ValidationError):
        build(Task, {"name": "math_words", "trian": 10})
