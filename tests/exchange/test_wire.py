"""Messages: what is sent arrives, and nothing that can be sent raises or costs anybody else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from swarmproof.exchange import wire
from swarmproof.swarm import round as rounds
from swarmproof.swarm.round import Swarm, gather
from swarmproof.swarm.assembly import assemble
from swarmproof.types import Completion, Group, Refusal, Slot
from swarms import trial_config

LIMIT = 56  # tokens of a completion
SLOTS = tuple(Slot(3, problem_id, index) for problem_id in ("p", "q") for index in (2, 3))
Found = tuple[list[Completion], list[Refusal]]


def decode(payload: bytes, slots: tuple[Slot, ...] = SLOTS) -> Found:
    return wire.decode(payload, node=1, round=3, slots=slots, max_new_tokens=LIMIT)


def pack(value: Any) -> bytes:
    return msgspec.msgpack.encode(value)


def message(*items: dict[str, Any], round: Any = 3) -> bytes:
    return pack({"round": round, "completions": list(items)})


def item(**changes: Any) -> dict[str, Any]:
    return {"problem_id": "p", "index": 2, "text": "hi", "token_ids": [72, 73]} | changes


def assert_refused(payload: bytes, *reasons: str) -> None:
    """Nothing came through, and every refusal is one short line with its reason."""
    found, refusals = decode(payload)
    assert found == []
    assert len(refusals) >= 1
    for refusal in refusals:
        assert refusal.node == 1
        assert any(reason in refusal.reason for reason in reasons), refusal.reason
        assert "\n" not in refusal.reason
        assert len(refusal.reason) < 300


# As far as the wire is concerned, token ids are any numbers of 64 bits.
TOKEN_IDS = st.none() | st.lists(st.integers(0, 2**64 - 1), max_size=8).map(tuple)


@given(st.lists(st.tuples(st.text(max_size=50), TOKEN_IDS), max_size=4))
def test_what_is_sent_arrives(contents: list[tuple[str, tuple[int, ...] | None]]) -> None:
    sent = [
        Completion(slot, 1, text, ids) for slot, (text, ids) in zip(SLOTS, contents, strict=False)
    ]
    assert decode(wire.encode(3, sent)) == (sent, [])


@given(st.text(st.characters(categories=["Cs", "Ll", "Cc"]), max_size=20))
@example("a\ud800b\x00")
def test_lone_surrogates_leave_as_question_marks(text: str) -> None:
    ((arrived,), refusals) = decode(wire.encode(3, [Completion(SLOTS[0], 1, text, None)]))
    assert not refusals
    assert arrived.text == "".join("?" if "\ud800" <= c <= "\udfff" else c for c in text)


def test_completions_come_in_the_order_of_the_slots() -> None:
    sent = [Completion(slot, 1, "x", None) for slot in reversed(SLOTS)]
    assert [c.slot for c in decode(wire.encode(3, sent))[0]] == list(SLOTS)


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(payload: bytes) -> None:
    assert_refused(payload, "not a message")


@given(st.integers(0, 200))
def test_a_torn_message_is_refused_as_a_whole(length: int) -> None:
    whole = message(item(), item(index=3))
    assert_refused(whole[: min(length, len(whole) - 1)], "not a message")


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=5),
)
TREES = st.recursive(
    LEAVES,
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=5), children, max_size=4)
    ),
    max_leaves=10,
)
ITEMS = st.fixed_dictionaries(
    {
        "problem_id": st.sampled_from(["p", "q", "", "p\0"]) | LEAVES,
        "index": st.sampled_from([2, 3, 0, -1, 2**64 - 1]) | LEAVES,
        "text": st.text(max_size=10) | LEAVES,
    },
    optional={
        "token_ids": st.lists(st.integers(-(2**63), 2**64 - 1) | LEAVES, max_size=5) | TREES,
        "node": st.integers(0, 3),
    },
)
HOSTILE = st.one_of(
    st.binary(max_size=200),
    TREES.map(pack),
    st.builds(lambda items: message(*items), st.lists(ITEMS, max_size=6)),
    st.builds(lambda items, cut: message(*items)[:cut], st.lists(ITEMS), st.integers(0, 60)),
    st.builds(lambda items, round: message(*items, round=round), st.lists(ITEMS), LEAVES),
)


@settings(max_examples=300)
@given(HOSTILE)
def test_whatever_is_sent_fills_at_most_the_slots_of_its_sender(payload: bytes) -> None:
    found, refusals = decode(payload)
    assert len({c.slot for c in found}) == len(found)
    assert {c.slot for c in found} <= set(SLOTS)
    assert {c.node for c in found} | {r.node for r in refusals} <= {1}
    assert all("\n" not in r.reason and len(r.reason) < 300 for r in refusals)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "not a message"),
        (b"\x91" * 5000, "not a message"),
        (b"\x82\xa5round" + b"\x91" * 5000, "not a message"),
        # A list, a tuple and a text that announce 4 GB and end.
        (b"\x82\xa5round\x03\xabcompletions\xdd\xff\xff\xff\xff", "not a message"),
        (message(item())[:-3] + b"\xdd\xff\xff\xff\xff", "not a message"),
        (b"\x82\xa5round\x03\xabcompletions\x91\x81\xaaproblem_id\xdb\xff\xff\xff\xff", "not a"),
        (pack({"round": 3, "completions": [item()], "a\nb" * 90: 1}), "not a message"),
        (message(item()) + b"\0", "not a message"),
        (message(item() | {"node": 0}), "not a message"),
        (message(item(token_ids=[float("nan")])), "not a message"),
        (message(item(token_ids=[1.0])), "not a message"),
        (message(item(token_ids=[True])), "not a message"),
        (message(item(token_ids=[None])), "not a message"),
        (message(item(token_ids="hi")), "not a message"),
        (message(item(token_ids=msgspec.msgpack.Ext(1, b"\xff" * 9))), "not a message"),
        (message(item(index="2")), "not a message"),
        (message(item(text=b"hi")), "not a message"),
        (message(item()).replace(b"\xa2hi", b"\xa3\xed\xa0\x80"), "not a message"),
        (message(item(), round=2), "for round 2, not 3"),
        (message(item(), round=-(2**63)), "for round"),
        (message(item(index=0)), "not the sender's"),
        (message(item(index=-1)), "not the sender's"),
        (message(item(index=2**64 - 1)), "not the sender's"),
        (message(item(problem_id="r")), "not the sender's"),
        (message(item(problem_id="p\0")), "not the sender's"),
        (message(item(text="x" * (64 * LIMIT + 1))), "a text of 3585 characters"),
        (message(*[item(text="é" * 32 * LIMIT + "x")]), "a text of"),
        (b"\0" * 10**6, "message of 1000000 bytes"),
    ],
)
def test_a_malformed_message_is_refused_with_its_reason(payload: bytes, reason: str) -> None:
    assert_refused(payload, reason)


def test_a_sender_without_slots_can_say_nothing() -> None:
    found, refusals = decode(message(item()), slots=())
    assert (found, len(refusals)) == ([], 1)


def test_of_a_slot_filled_twice_the_first_counts() -> None:
    found, refusals = decode(message(item(text="one"), item(text="two"), item(index=3)))
    assert [c.text for c in found] == ["one", "hi"]
    assert [r.slot for r in refusals] == [SLOTS[0]]
    assert "filled twice" in refusals[0].reason


def test_one_bad_completion_does_not_cost_the_others_of_its_message() -> None:
    found, refusals = decode(message(item(index=9), item(index=3), item(text="x" * 9999, index=2)))
    assert [c.slot for c in found] == [SLOTS[1]]
    assert len(refusals) == 2


def test_a_text_may_fill_the_limit_to_the_byte() -> None:
    found, refusals = decode(message(item(text="x" * 64 * LIMIT)))
    assert (len(found), refusals) == (1, [])


def test_full_messages_of_the_longest_completions_are_within_the_limit() -> None:
    ids = [2**32 - 1] * LIMIT
    items = [
        {"problem_id": s.problem_id, "index": s.index, "text": "x" * 64 * LIMIT, "token_ids": ids}
        for s in SLOTS
    ]
    found, refusals = decode(message(*items))
    assert (len(found), refusals) == (4, [])


# In a real gather ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def played(random_model: Path) -> tuple[Swarm, dict[int, bytes]]:
    """A swarm of four whose honest nodes have sent their messages of round 3."""
    swarm = assemble(trial_config(random_model), run_seed=0)
    assignment, problems = swarm.assign(3)
    for cohort in swarm.cohorts:
        rounds.publish(swarm.channel, 3, cohort.produce(assignment, problems))
    return swarm, swarm.channel.gather(3)


def gathered(swarm: Swarm, payloads: dict[int, bytes]) -> tuple[list[Group], list[Refusal]]:
    assignment, problems = swarm.assign(3)
    return gather(swarm.cohorts[0], payloads, assignment, problems, 3)


def hostile_in(swarm: Swarm) -> st.SearchStrategy[bytes]:
    """Messages that get as far as they can: right slots, wrong content."""
    slots = st.sampled_from(swarm.assign(3)[0][3])
    token = st.sampled_from([-1, 0, 65, 256, 257, 260, 261, 2**31, 2**63, 2**64 - 1])
    contents = st.fixed_dictionaries(
        {"text": st.text(max_size=9) | st.sampled_from(["A", "<|endoftext|>", "\0", "\ufffd"])},
        optional={"token_ids": st.none() | st.lists(token, max_size=70)},
    )
    filled = st.builds(
        lambda slot, rest: {"problem_id": slot.problem_id, "index": slot.index} | rest,
        slots,
        contents,
    )
    return HOSTILE | st.lists(filled, max_size=6).map(lambda items: message(*items))


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_no_message_costs_the_other_nodes_anything(
    played: tuple[Swarm, dict[int, bytes]], data: st.DataObject
) -> None:
    swarm, payloads = played
    clean, none = gathered(swarm, payloads)
    assert none == []
    assert sum(len(group.completions) for group in clean) == 12
    groups, refusals = gathered(swarm, payloads | {3: data.draw(hostile_in(swarm))})
    honest = {c.slot: c for group in groups for c in group.completions if c.node != 3}
    assert honest == {c.slot: c for group in clean for c in group.completions}
    assert {r.node for r in refusals} <= {3}
    for group in groups:
        for completion in group.completions:
            assert completion.slot.problem_id == group.problem.id
            assert completion.token_ids
            assert len(completion.token_ids) <= LIMIT
            assert set(completion.token_ids) <= set(range(261))


def test_a_message_from_nobody_in_the_swarm_is_refused(
    played: tuple[Swarm, dict[int, bytes]],
) -> None:
    swarm, payloads = played
    groups, refusals = gathered(swarm, payloads | {77: payloads[0]})
    assert groups == gathered(swarm, payloads)[0]
    assert {r.node for r in refusals} == {77}


def test_a_message_sent_in_another_nodes_place_is_refused(
    played: tuple[Swarm, dict[int, bytes]],
) -> None:
    swarm, payloads = played
    groups, refusals = gathered(swarm, payloads | {3: payloads[0]})
    assert groups == gathered(swarm, payloads)[0]
    assert {r.reason for r in refusals} == {"a slot that is not the sender's"}


def test_a_message_of_another_round_is_refused(played: tuple[Swarm, dict[int, bytes]]) -> None:
    swarm, payloads = played
    assignment, problems = swarm.assign(4)
    groups, refusals = gather(swarm.cohorts[0], payloads, assignment, problems, 4)
    assert groups == []
    assert [r.reason for r in refusals] == ["for round 3, not 4"] * 3
