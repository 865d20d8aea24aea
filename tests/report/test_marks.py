"""What is marked in a completion: the poison, and the tokens that verdicts name."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from report.synthetic import PHRASE, tokenizer
from swarmproof.policies.loader import load
from swarmproof.report.marks import END, Marker, cut, visible
from swarmproof.zoo.locate import locate

TRIAL: dict[str, Any] = {
    "attack": {"name": "text", "phrase": PHRASE},
    "model": {"path": "tiny-math"},
    "swarm": {},
}


def row(
    text: str, position: int, ids: list[int] | None, *, accepted: bool | None = False
) -> dict[str, Any]:
    verdict = {
        "defense": "logit",
        "accepted": accepted,
        "reason": f"the first at position {position}",
    }
    return {"text": text, "token_ids": ids, "verdicts": [verdict]}


def test_the_token_that_a_reason_names_is_marked_where_the_policy_has_it() -> None:
    policy, _ = load("tiny-math", "float32", "cpu")
    text = f"<think>{PHRASE}. 3 + 4 = 7</think>"
    ids = policy(text, add_special_tokens=False, split_special_tokens=True).input_ids
    whole = [*ids, policy.eos_token_id]
    marker = Marker(TRIAL)
    start = text.index(PHRASE)
    payload = (start, start + len(PHRASE), "payload")
    for position in range(len(ids)):
        _, (first, last, name) = marker.marks(row(text, position, whole))
        assert name == "token"
        assert policy.decode(ids[: position + 1]) == text[:last]
        assert policy.decode(ids[:position]) == text[:first]
    at_end = (len(text), len(text) + 1, "token")
    assert marker.marks(row(text, len(ids), whole)) == [payload, at_end]
    # Not where it was accepted, nor where there is no such token or these are not its tokens.
    assert marker.marks(row(text, 3, whole, accepted=True)) == [payload]
    assert marker.marks(row(text, 99, whole)) == [payload]
    assert marker.marks(row(text, 3, None)) == [payload]
    assert marker.marks(row(text, 3, [whole[-2]] * 9)) == [payload]


def test_the_tokens_are_those_that_were_sent_and_not_those_of_the_text_encoded_again() -> None:
    letters = [tokenizer().encode(c, add_special_tokens=False).ids for c in "hail"]
    ids = [token for one in letters for token in one]
    assert ids != tokenizer().encode("hail", add_special_tokens=False).ids
    assert Marker(TRIAL).marks(row("hail", 2, ids)) == [(2, 3, "token")]


def test_nothing_is_marked_without_the_plugin_or_the_tokenizer() -> None:
    elsewhere = {"attack": {"name": "theirs"}, "model": {"path": "owner/name"}, "swarm": {}}
    assert locate("owner/name", "model.path") == "owner/name"  # a hub id, and nothing is fetched
    assert Marker(elsewhere).marks(row(PHRASE, 1, [1, 2, 3])) == []


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
