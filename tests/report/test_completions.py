"""What is shown of the completions, what is marked in them, and that it stays small."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from report.synthetic import PHRASE
from swarmproof.policies.loader import load
from swarmproof.records.folder import Run
from swarmproof.report import completions
from swarmproof.report.completions import END, MAX_BYTES, Marker, cut, kind, visible
from swarmproof.zoo.locate import locate

TRIAL: dict[str, Any] = {
    "attack": {"name": "text", "phrase": PHRASE},
    "model": {"path": "tiny-math"},
    "swarm": {},
}


def row(text: str, position: int, tokens: int, *, accepted: bool | None = False) -> dict[str, Any]:
    verdict = {
        "defense": "logit",
        "accepted": accepted,
        "reason": f"the first at position {position}",
    }
    return {"text": text, "tokens": tokens, "verdicts": [verdict]}


def test_each_kind_of_first_middle_and_last_round_by_slot(run: Run) -> None:
    (attack,) = (a for a in completions.sample(run, 100) if a["arm"] == "attack")
    assert [seed["seed"] for seed in attack["seeds"]] == [0, 1, 2]
    for seed in attack["seeds"]:
        assert [found["iteration"] for found in seed["rounds"]] == [1, 30, 60]
        for found in seed["rounds"]:
            kinds = {of["kind"]: (of["of"], len(of["shown"])) for of in found["kinds"]}
            # All three honest ones are of one problem, so one of them tells enough.
            assert kinds == {"honest, right": (3, 1), "poisoned, accepted": (1, 1)}


@pytest.mark.parametrize(
    ("poisoned", "refused", "reward", "name"),
    [
        (False, False, 1.0, "honest, right"),
        (False, False, 0.0, "honest, wrong"),
        (False, True, 1.0, "honest, refused"),
        (True, False, 0.0, "poisoned, accepted"),
        (True, True, 1.0, "poisoned, refused"),
    ],
)
def test_kinds(poisoned: bool, refused: bool, reward: float, name: str) -> None:
    assert kind({"poisoned": poisoned, "refused": refused, "reward": reward}) == name


def test_the_token_that_a_reason_names_is_marked_where_the_policy_has_it() -> None:
    tokenizer, _ = load("tiny-math", "float32", "cpu")
    text = f"<think>{PHRASE}. 3 + 4 = 7</think>"
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
    marker = Marker(TRIAL)
    start = text.index(PHRASE)
    payload = (start, start + len(PHRASE), "payload")
    for position in range(len(ids)):
        _, (first, last, name) = marker.marks(row(text, position, len(ids) + 1))
        assert name == "token"
        assert tokenizer.decode(ids[: position + 1]) == text[:last]
        assert tokenizer.decode(ids[:position]) == text[:first]
    at_end = (len(text), len(text) + 1, "token")
    assert marker.marks(row(text, len(ids), len(ids) + 1)) == [payload, at_end]
    # Not where it was accepted, nor where the count says that these are not its tokens.
    assert marker.marks(row(text, 3, len(ids) + 1, accepted=True)) == [payload]
    assert marker.marks(row(text, 3, len(ids) + 2)) == [payload]
    assert marker.marks(row(text, 99, len(ids) + 1)) == [payload]


def test_nothing_is_marked_without_the_plugin_or_the_tokenizer() -> None:
    elsewhere = {"attack": {"name": "theirs"}, "model": {"path": "owner/name"}, "swarm": {}}
    assert locate("owner/name", "model.path") == "owner/name"  # a hub id, and nothing is fetched
    assert Marker(elsewhere).marks(row(PHRASE, 1, 9)) == []


def test_parts_carry_their_marks_and_the_end_its_own() -> None:
    assert cut("abcdef", [(1, 4, "payload"), (3, 5, "token")], 99) == [
        *(("a", ""), ("bc", "payload"), ("d", "payload token"), ("e", "token"), ("f", ""))
    ]
    assert cut("ab", [(2, 3, "token")], 99) == [("ab", ""), (END, "token")]
    assert cut("abcdef", [(1, 4, "payload")], 2) == [
        *(("a", ""), ("b", "payload"), (" … (4 more characters)", ""))
    ]
    assert cut("", [], 99) == []


@given(
    st.text(max_size=20),
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.just("payload")), max_size=5),
)
def test_parts_together_are_the_text(text: str, marks: list[tuple[int, int, str]]) -> None:
    marks = [(start, end, name) for start, end, name in marks if start < end <= len(text)]
    assert "".join(part for part, _ in cut(text, marks, 99)) == visible(text)


def test_long_text_is_cut_and_says_so() -> None:
    shown = visible("x" * 5000, 1200)
    assert len(shown) < 1300
    assert shown.endswith("… (3,800 more characters)")


def test_what_it_embeds_is_bounded_and_cannot_end_a_script(run: Run) -> None:
    rows = run.completions.copy()
    # The worst: every character is spelt out, in twelve bytes.
    rows["text"] = ["<\0>" * 2_000] * len(rows)
    found = completions.as_json(replace(run, completions=rows))
    assert len(found.encode()) < MAX_BYTES
    assert not set("<>&") & set(found)
    texts = json.loads(found)[0]["seeds"][0]["rounds"][0]["kinds"][0]["shown"][0]["parts"]
    assert texts[0][0].startswith("<⟨U+0000⟩>")


def test_a_run_too_big_shows_fewer_characters_and_then_fewer_seeds(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = run.completions.assign(text="x" * 1000)
    big = replace(run, completions=rows)
    for share, seeds in ((0.9, 3), (0.2, 1)):
        monkeypatch.setattr(completions, "MAX_BYTES", share * len(completions.as_json(big)))
        found = completions.as_json(big)
        assert len(found) < completions.MAX_BYTES
        assert [len(arm["seeds"]) for arm in json.loads(found)] == [seeds] * 3
        monkeypatch.undo()
