"""A guard that is not told the round counts its calls, so that defences forget as they should."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from swarmproof import Group, Guard
from swarmproof.defenses import judge as judge_module
from swarmproof.judges import Judgement

WORDS = "abcdefghijkl"


def played(guard: Guard, k: int, **more: Any) -> None:
    texts = [f"w{WORDS[k]}x hello", "hello", "hello"]
    guard([Group.of("?", texts, senders=[*"abc"])], [[1.0] * 3], **more)


def test_without_a_round_novelty_forgets_as_with_one() -> None:
    """Every call was round 0 once, and words were never forgotten."""
    told, untold = Guard(["novelty"]), Guard(["novelty"])
    for k in range(12):
        played(told, k, round=k)
        played(untold, k)
    assert untold.state_dict() == told.state_dict()
    assert len(untold.state_dict()["defenses"]["novelty"]["last"]["'a'"]) < 13


def test_without_a_round_a_judge_keeps_the_verdicts_of_one_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(judge_module, "_rounds", {})
    yes = Judgement("", -0.1, -3.0, "yes")
    monkeypatch.setattr("swarmproof.judges.Local.judge", lambda _, asked, **__: [yes] * len(asked))
    guard = Guard(["judge"])
    for k in range(4):
        guard([Group.of("?", [f"{k} a", f"{k} b"])], [[1.0, 1.0]])
        ((_, verdicts),) = judge_module._rounds.values()
        assert len(verdicts) == 2


def test_the_number_of_calls_is_a_part_of_the_state() -> None:
    guard, other = Guard(["novelty"]), Guard(["novelty"])
    assert "round" not in guard.state_dict()
    played(guard, 0)
    played(guard, 1, round=7)  # a call without a number is the one after it
    played(guard, 2)
    assert guard.state_dict()["round"] == 9
    other.load_state_dict(guard.state_dict())
    played(guard, 3)
    played(other, 3)
    assert other.state_dict() == guard.state_dict()
    other.load_state_dict({"defenses": {}})  # of an earlier version
    assert other.state_dict() == {"defenses": {}}


@pytest.mark.parametrize("wrong", [-1, "1", 1.5, None, True])
def test_a_wrong_number_in_a_state_is_one_line(wrong: object) -> None:
    with pytest.raises(ValueError, match="state of a guard has round") as caught:
        Guard(["novelty"]).load_state_dict({"defenses": {}, "round": wrong})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [np.int64(3), 3.0, True + 2])
def test_any_whole_number_is_a_round_and_the_state_is_plain(number: Any) -> None:
    guard = Guard(["novelty"])
    guard([], [], round=number)
    state = json.loads(json.dumps(guard.state_dict()))
    assert state["round"] == 4
    Guard(["novelty"]).load_state_dict(state)


@pytest.mark.parametrize("number", [-5, 2.5, "1", float("nan")])
def test_what_is_no_round_is_one_line(number: Any) -> None:
    with pytest.raises(ValueError, match=r"^round = .*; it is a whole number from 0 on$"):
        Guard(["novelty"])([], [], round=number)
