"""What a caller gives a guard: long names, huge rewards, wrong parameters, damaged states."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from swarmproof import Group, Guard
from swarmproof.defenses import senders

TEXTS = ["<think>3 + 4 = 7.</think>", "<think>so 7.</think>", "<think>it is 7.</think>"]
COMPARING = ["signature", "novelty", "length_match", {"name": "replay", "tolerance": 0.25}]


def played(guard: Guard, names: list[Any], rounds: int = 2) -> None:
    groups = [
        Group.of(f"{p}?", TEXTS, [(5,), (5, 6), (6,)], names, slot_seeds=[1, 2, 3])
        for p in range(3)
    ]
    for _ in range(rounds):
        guard(groups, [[1.0, 0.5, 0.0]] * 3)


def guard_of(defense: Any) -> Guard:
    reads_scores = isinstance(defense, dict)
    return Guard([defense], model="tiny-math" if reads_scores else None)


@pytest.mark.parametrize("defense", COMPARING, ids=str)
def test_a_state_keeps_no_name_of_megabytes(defense: Any) -> None:
    """A name of 2 MB made a state of 6 MB."""
    long, short = guard_of(defense), guard_of(defense)
    played(long, ["A" * 2_000_000, 10**5000, "\ud800" * 300])
    played(short, ["a", "b", "c"])
    assert len(json.dumps(long.state_dict())) < len(json.dumps(short.state_dict())) + 3000


def test_names_stay_apart() -> None:
    names: list[Any] = [1, "1", "A" * 256, "A" * 257, "A" * 258, 2**256, 2**256 + 1, -(2**256)]
    names += [hex(2**256), repr("A" * 257), senders.key("A" * 257), "\ud800" * 300, "?" * 300]
    assert len({senders.key(name) for name in names}) == len(names)
    assert senders.key("A" * 256) == repr("A" * 256)
    assert all(len(senders.key(name)) <= 258 for name in names)


@pytest.mark.parametrize("text", [None, b"so 7", 7, ["so 7"]])
@pytest.mark.parametrize("defense", ["signature", "equations", "max_tokens"])
def test_a_text_that_is_none_is_one_line(defense: str, text: Any) -> None:
    """Chat APIs give None where a message has only a call of a tool."""
    group = Group.of("?", [TEXTS[0], text, ""], [(1,), (2,), (3,)], [0, 1, 2])
    with pytest.raises(ValueError, match=r"the text of completion 1 of group 0 is .*it is a str"):
        Guard([defense])([group], [[1.0, 0.5, 0.0]])


@pytest.mark.parametrize("reward", [1.7e308, -1.7e308, 1e31])
def test_rewards_whose_squares_are_no_numbers_are_one_line(reward: float) -> None:
    """They gave advantages of NaN without a word."""
    group = Group.of("?", TEXTS, [(1,), (2,), (3,)])
    with pytest.raises(ValueError, match="the reward of completion 1 of group 0 is"):
        Guard(["max_tokens"])([group], [[1.0, reward, 0.0]])
    assert Guard(["max_tokens"])([group], [[1.0, 1e30, -1e30]]).advantages[0].all()


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"name": "logit", "tol": 3}, "the defence 'logit': tol: unknown setting"),
        ({"name": "logit", "tolerance": -1}, "the defence 'logit': tolerance: Input should be"),
        ({"name": "replay", "near_ties": "redraw"}, "the defence 'replay': near_ties = 'redraw'"),
        ({"name": "judge", "model": {"name": "local", "paht": 1}}, "the defence 'judge': "),
    ],
)
def test_a_wrong_parameter_is_one_line(table: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        Guard([table])
    assert "\n" not in str(caught.value)


def damaged(value: Any) -> list[Any]:
    """The same state with each of its parts replaced by what does not belong there."""
    found: list[Any] = []
    parts = list(value.items() if isinstance(value, dict) else enumerate(value))[:2]
    for key, inner in parts:
        if isinstance(value, dict):  # keys of a record are known, those by node are not
            found.append({**{k: v for k, v in value.items() if k != key}, key: None})
        for wrong in damaged(inner) if isinstance(inner, dict | list) else ["x" * 9, -1, None]:
            if isinstance(inner, str) and isinstance(wrong, str):
                continue
            changed = copy.copy(value)
            changed[key] = wrong
            found.append(changed)
    return found


@pytest.mark.parametrize("defense", COMPARING, ids=str)
def test_a_damaged_state_is_one_line_when_it_is_loaded(defense: Any) -> None:
    """It was an AttributeError in the next call."""
    guard = guard_of(defense)
    played(guard, ["a", "b", "c"])
    saved = guard.state_dict()
    ((name, state),) = saved["defenses"].items()
    fresh = guard_of(defense)
    fresh.load_state_dict(json.loads(json.dumps(saved)))
    assert fresh.state_dict() == saved
    if name == "replay":  # which counts the tokens of proved draws only
        state = {"rounds": [{"'a'": [0, 4]}]}
    made, refused = damaged(state), []
    assert len(made) > 5
    for table in made:
        try:
            fresh.load_state_dict({"defenses": {name: table}})
        except ValueError as error:
            refused.append(str(error))
        else:  # another number is a number
            played(fresh, ["a", "b", "c"], rounds=1)
    assert len(refused) > len(made) / 2
    for line in refused:
        assert line.startswith(f"the state of the defence {name!r} is damaged")
        assert "\n" not in line
    for wrong in ({"x": [1]}, [1], None, {"last": 3}, {"a": object()}):
        with pytest.raises(ValueError, match="the state of the defence"):
            fresh.load_state_dict({"defenses": {name: wrong}})
    with pytest.raises(ValueError, match="the state of a guard is a table"):
        fresh.load_state_dict(None)  # type: ignore[arg-type]


def test_the_name_of_a_tokenizer_is_one_line() -> None:
    with pytest.raises(ValueError, match=r"^tokenizer = 'tiny-math' is a name; give the tokenizer"):
        Guard(["novelty"], tokenizer="tiny-math")
