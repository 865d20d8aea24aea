"""Whatever a defence returns: valid values pass, wrong shapes are errors, no NaN passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from swarmproof.defenses import Defense, DefenseView
from swarmproof.defenses.base import Reads
from swarmproof.guard import gate
from swarmproof.guard.gate import MOST_SUSPICIOUS, checked
from swarmproof.guard.guard import Guard
from swarmproof.types import Group, Verdict
from swarms import completion, problem

GROUPS = [
    Group(problem("p"), tuple(completion("x", (1, 2), index=i) for i in range(2)), "?"),
    Group(problem("q"), (completion("y", (1, 2, 3), problem_id="q"),), "?"),
]


class Says(Defense):
    """Returns what it was told to."""

    reads: ClassVar[Reads] = "text"

    told: Any = None

    def inspect(self, groups: Sequence[Group], view: DefenseView) -> Any:  # noqa: ARG002
        return self.told


Says.name = "says"


def say(**fields: Any) -> list[list[Verdict]]:
    """The first completion gets a verdict with these fields, the others are accepted."""
    first = Verdict(**{"defense": "says", "accepted": True, "score": 0.0, "reason": "", **fields})
    plain = Verdict("says", True, 0.0, "")
    return [[first, plain], [plain]]


def passed(told: Any) -> list[list[Verdict]]:
    return checked(Says(told=told), GROUPS, told)


@pytest.mark.parametrize(
    ("accepted", "plain"), [(np.False_, False), (np.True_, True), (None, None), (False, False)]
)
def test_numpys_booleans_become_pythons(accepted: Any, plain: bool | None) -> None:
    (first, _), _ = passed(say(accepted=accepted, score=np.float32(0.5)))
    assert first.accepted is plain
    assert type(first.score) is float


def test_what_numpys_false_refuses_is_not_learnt() -> None:
    """Once it was counted as refused in the log, and learnt all the same."""
    guard = Guard([Says(told=say(accepted=np.False_, reason="no"))])
    found = guard(GROUPS, [[1.0, 0.0], [1.0]])
    assert found.kept[0].tolist() == [False, True]
    assert found.samples[0][0].refused
    assert found.trains[0].tolist() == [False, True]


@pytest.mark.parametrize(
    "fields",
    [
        {"score": float("nan")},
        {"score": np.float64("inf")},
        {"score": float("-inf")},
        {"weight": float("nan")},
        {"token_credit": (1.0, float("nan"))},
    ],
    ids=str,
)
@pytest.mark.parametrize("accepted", [True, None, False])
def test_what_is_not_finite_refuses(fields: dict[str, Any], accepted: bool | None) -> None:
    (first, second), _ = passed(say(accepted=accepted, **fields))
    assert (first.accepted, first.score) == (False, MOST_SUSPICIOUS)
    assert "not a finite number" in first.reason
    assert (first.weight, first.token_credit) == (1.0, None)
    assert second.accepted is True


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ([], "verdicts for 0 of 2 groups"),
        (say()[:1], "verdicts for 1 of 2 groups"),
        ([*say(), []], "verdicts for 3 of 2 groups"),
        ([say()[0][:1], say()[1]], "1 verdicts for a group of 2"),
        ([say()[0], [*say()[1], *say()[1]]], "2 verdicts for a group of 1"),
        (say(defense="judge"), "a verdict of 'judge'"),
        (say(accepted="yes"), "accepted = 'yes'"),
        (say(accepted=0), "accepted = 0"),
        (say(score="high"), "score = 'high'"),
        (say(score=torch.tensor(0.5)), "score = tensor"),
        (say(score=None), "score = None"),
        (say(weight=1.5), "weight of 1.5"),
        (say(weight=-0.1), "weight of -0.1"),
        (say(token_credit=(1.0, 1.0, 1.0)), "3 tokens of a completion of 2"),
        (say(token_credit=()), "0 tokens of a completion of 2"),
        (say(token_credit=(1.0, -1.1)), "outside"),
        ([[True, True], [True]], "build verdicts by self.verdict"),
    ],
)
def test_a_wrong_shape_is_an_error_that_names_the_defence(told: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        passed(told)
    assert "'says'" in str(caught.value)
    assert "\n" not in str(caught.value)


@given(
    accepted=st.sampled_from([True, False, None, np.True_, np.False_]),
    score=st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.just(np.float32(0.5))),
    weight=st.one_of(st.floats(0, 1), st.sampled_from([1, 0.0, np.float32(0.5)])),
    credit=st.one_of(st.none(), st.tuples(st.floats(-1, 1), st.floats(-1, 1))),
)
def test_what_passes_is_plain_and_valid(
    accepted: Any, score: float, weight: float, credit: Any
) -> None:
    told = say(accepted=accepted, score=score, weight=weight, token_credit=credit)
    (first, _), _ = passed(told)
    # Plain ones, which pass as they are, are what the checks would have made of them.
    assert first == gate._checked("it", "says", GROUPS[0].completions[0], told[0][0])
    assert first.accepted in (True, False, None)
    assert isinstance(first.accepted, bool | None)
    assert isinstance(first.score, float)
    assert np.isfinite(first.score)
    assert 0 <= first.weight <= 1
    if np.isfinite(score):
        assert (first.score, first.weight, first.token_credit) == (score, weight, credit)
    else:
        assert first.accepted is False


@pytest.mark.parametrize("accepted", [False, True, None])
def test_a_reason_of_several_lines_becomes_one(accepted: bool | None) -> None:
    (first, _), _ = passed(say(accepted=accepted, reason="a\nb\r\n  c"))
    assert first.reason == "a b c"
