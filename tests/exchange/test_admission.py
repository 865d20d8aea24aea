"""The rule of admission to the letter: one object is verified, rewarded and trained on."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models import EOS
from swarmproof.exchange.admission import admit
from swarmproof.policies.policy import Policy
from swarmproof.types import Completion
from swarms import Letters, completion, draw_group, policy, problem

LIMIT = 12
END = 256  # end-of-text
THINK = 257  # a control token, though no special one


@pytest.fixture(scope="module")
def receiver(random_model: Path) -> Policy:
    return policy(random_model, max_new_tokens=LIMIT)


def ids(receiver: Policy, text: str) -> tuple[int, ...]:
    return tuple(receiver.codec.tokenizer(text, add_special_tokens=False).input_ids)


def admitted(receiver: Policy, text: str, token_ids: tuple[int, ...] | None) -> tuple[int, ...]:
    (found,), refusals = admit(
        [completion(text, token_ids)], receiver.codec, receiver.sampling.max_new_tokens
    )
    assert refusals == []
    assert found.text == text
    assert found.token_ids is not None
    return found.token_ids


def reason(receiver: Policy, text: str, token_ids: tuple[int, ...] | None) -> str:
    sent = completion(text, token_ids)
    found, (refusal,) = admit([sent], receiver.codec, receiver.sampling.max_new_tokens)
    assert found == []
    assert (refusal.node, refusal.slot) == (sent.node, sent.slot)
    return refusal.reason


def test_what_a_policy_draws_is_admitted_as_it_is(receiver: Policy) -> None:
    drawn = draw_group(receiver, Letters(), problem(), range(64)).completions
    # A random model may stop, and may write what is no UTF-8: both are honest.
    assert any(c.token_ids and c.token_ids[-1] == END for c in drawn)
    assert any("\ufffd" in c.text for c in drawn)
    assert admit(drawn, receiver.codec, LIMIT) == (list(drawn), [])


def test_token_ids_must_be_what_the_text_is_made_of(receiver: Policy) -> None:
    hi, ho = ids(receiver, "hi"), ids(receiver, "ho")
    assert admitted(receiver, "hi", (*hi, END)) == (*hi, END)
    for wrong in ((*ho, END), hi[:1], (*hi, *hi), (*hi, THINK), (END,)):
        assert "not what the text is made of" in reason(receiver, "hi", wrong)
    assert "not what the text is made of" in reason(receiver, "", (*hi, END))


def test_the_end_may_be_cut_off_by_the_limit_or_not(receiver: Policy) -> None:
    # Whether a completion may end there is for a defence to say.
    hi = ids(receiver, "hi")
    assert admitted(receiver, "hi", hi) == hi


def test_no_token_hides_behind_a_text(receiver: Policy) -> None:
    hi = ids(receiver, "hi")
    for hidden in ((*hi, END, END), (END, *hi), (hi[0], END, hi[1])):
        assert reason(receiver, "hi", hidden) == "tokens after the end-of-text"
    assert "not what the text" in reason(receiver, "hi", (THINK, *hi, END))


def test_end_of_text_spelt_out_is_not_the_end(receiver: Policy) -> None:
    hi = ids(receiver, "hi")
    assert "not what the text" in reason(receiver, f"hi{EOS}", (*hi, END))
    assert "after the end-of-text" in reason(receiver, f"hi{EOS}", (*hi, END, END))


@pytest.mark.parametrize("bad", [-1, 261, 2**31, 2**63, 2**64 - 1, -(2**63), 2**200])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_number_that_is_no_token_is_refused(receiver: Policy, bad: int, place: int) -> None:
    tokens = list(ids(receiver, "hi"))
    tokens.insert(place, bad)
    assert reason(receiver, "hi", tuple(tokens)) == "a token id outside the vocabulary"


def test_no_tokens_are_no_completion(receiver: Policy) -> None:
    assert reason(receiver, "", ()) == "no tokens"


def test_an_empty_text_is_a_completion_of_just_the_end(receiver: Policy) -> None:
    assert admitted(receiver, "", (END,)) == (END,)
    assert admitted(receiver, "", None) == (END,)


def test_a_completion_has_at_most_as_many_tokens_as_may_be_generated(receiver: Policy) -> None:
    full, longer = "x" * LIMIT, "x" * (LIMIT + 1)
    assert len(admitted(receiver, full, ids(receiver, full))) == LIMIT
    assert reason(receiver, full, (*ids(receiver, full), END)) == "13 tokens, more than 12"
    assert reason(receiver, longer, ids(receiver, longer)) == "13 tokens, more than 12"


def test_text_alone_is_tokenised_and_ended_unless_it_fills_the_limit(receiver: Policy) -> None:
    assert admitted(receiver, "hi", None) == (*ids(receiver, "hi"), END)
    short, full = "x" * (LIMIT - 1), "x" * LIMIT
    assert admitted(receiver, short, None) == (*ids(receiver, short), END)
    assert admitted(receiver, full, None) == ids(receiver, full)
    assert reason(receiver, "x" * (LIMIT + 1), None) == "14 tokens, more than 12"


def test_end_of_text_spelt_out_in_a_text_alone_stays_text(random_model: Path) -> None:
    receiver = policy(random_model, max_new_tokens=64)
    found = admitted(receiver, f"a{EOS}b", None)
    assert END not in found[:-1]
    assert found[-1] == END
    assert receiver.codec.decode([found]) == [f"a{EOS}b"]


@settings(deadline=None)
# Without tags, which are one token each, a token is a byte here.
@given(st.text(st.characters(exclude_characters="<"), max_size=LIMIT * 2))
@example("\uf900")  # its normal form is another character
def test_any_text_is_admitted_as_itself_or_refused(receiver: Policy, text: str) -> None:
    text = text.encode("utf-8", "replace").decode("utf-8")  # as the wire gives it
    found, refusals = admit([completion(text)], receiver.codec, LIMIT)
    assert len(found) + len(refusals) == 1
    # The tokenizer gives back text in normal form C only; other text is refused, not changed.
    is_normal = unicodedata.is_normalized("NFC", text)
    assert bool(found) == (is_normal and len(text.encode()) <= LIMIT)
    for one in found:
        assert one.token_ids is not None
        assert receiver.codec.decode([one.token_ids]) == [text]


@settings(deadline=None)
@given(
    st.text(st.sampled_from("hiA\0<"), max_size=4),
    st.lists(st.sampled_from([71, 72, 32, THINK, END, 261, -1]), max_size=LIMIT + 2).map(tuple),
)
def test_only_what_the_text_is_made_of_gets_in(
    receiver: Policy, text: str, token_ids: tuple[int, ...]
) -> None:
    found, _ = admit(
        [completion(text, token_ids)], receiver.codec, receiver.sampling.max_new_tokens
    )
    if found:
        assert 1 <= len(token_ids) <= LIMIT
        assert END not in token_ids[:-1]
        assert receiver.codec.decode([token_ids]) == [text]


@pytest.mark.parametrize(
    ("text", "token_ids", "code"),
    [
        ("hi", (), "empty"),
        ("x" * 13, None, "too-long"),
        ("hi", (2**70,), "unknown-token"),
        ("hi", (END, END), "after-end"),
        ("hi", (END,), "not-its-text"),
        ("\udc80", None, "not-tokenisable"),
    ],
)
def test_a_refusal_has_a_code_for_counting(
    receiver: Policy, text: str, token_ids: tuple[int, ...] | None, code: str
) -> None:
    _, (refusal,) = admit([completion(text, token_ids)], receiver.codec, LIMIT)
    assert (refusal.layer, refusal.code) == ("admission", code)


def test_one_refusal_does_not_cost_the_others_anything(receiver: Policy) -> None:
    good = [completion("hi", None, index=i) for i in range(2)]
    bad = [completion("hi", (2**70,), index=2), completion("ho", ids(receiver, "hi"), index=3)]
    found, refusals = admit([bad[0], good[0], bad[1], good[1]], receiver.codec, LIMIT)
    assert [c.slot.index for c in found] == [0, 1]
    assert sorted(r.slot.index for r in refusals if r.slot) == [2, 3]


def test_nothing_in_is_nothing_out(receiver: Policy) -> None:
    empty: list[Completion] = []
    assert admit(empty, receiver.codec, LIMIT) == ([], [])
