"""LENGTH MIX: some long completions among ordinary ones."""

from __future__ import annotations

import pytest

from swarmproof import zoo
from swarmproof.attacks import Length, LengthMix
from swarmproof.policies.policy import Policy
from swarmproof.tasks import MathWords
from swarms import policy, view_of_one

TASK = MathWords(train=64, test=8)
PROBLEMS = TASK.problems("train")[:16]


@pytest.fixture(scope="module")
def tiny_math() -> Policy:
    return policy(zoo.path("tiny-math"), max_new_tokens=96)


def right_lengths(attack: Length, drawer: Policy) -> dict[str, list[int]]:
    """The lengths of the right completions that are sent, by problem."""
    view = view_of_one(TASK, PROBLEMS, kind="vertical", policy=drawer)
    found: dict[str, list[int]] = {}
    for c in attack.craft(view):
        if TASK.rewards(view.problems[c.slot.problem_id], [c.text]) == [1.0]:
            found.setdefault(c.slot.problem_id, []).append(len(c.token_ids or ()))
    return found


def mean(found: dict[str, list[int]]) -> float:
    every = [length for row in found.values() for length in row]
    return sum(every) / len(every)


def test_the_share_moves_it_from_ordinary_to_longest(tiny_math: Policy) -> None:
    none, some, every = (
        right_lengths(LengthMix(share=share), tiny_math) for share in (0.0, 0.5, 1.0)
    )
    longest = right_lengths(Length(), tiny_math)
    assert {name: sorted(row) for name, row in every.items()} == {
        name: sorted(row) for name, row in longest.items()
    }
    assert mean(none) < mean(some) < mean(every)


def test_no_longer_one_than_the_quantile_is_sent_as_a_long_one(tiny_math: Policy) -> None:
    top = right_lengths(LengthMix(share=1.0), tiny_math)
    lower = right_lengths(LengthMix(share=1.0, quantile=0.5), tiny_math)
    assert mean(lower) < mean(top)
    many = [name for name, row in top.items() if len(row) == 6 and len(lower.get(name, ())) == 6]
    assert all(max(lower[name]) <= max(top[name]) for name in many)
