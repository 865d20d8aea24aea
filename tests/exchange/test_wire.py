"""Messages: what is sent arrives, and nothing that can be sent raises or costs anybody else."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from swarmproof.exchange import Channel, Gathered, wire
from swarmproof.swarm import round as rounds
from swarmproof.swarm.assembly import assemble
from swarmproof.swarm.round import Swarm
from swarmproof.types import Completion, Group, NodeId, Refusal, Slot
from swarms import trial_config

LIMIT = 56  # tokens of a completion
RUN = "a run"
SLOTS = tuple(Slot(3, problem_id, index) for problem_id in ("p", "q") for index in (2, 3))
Found = tuple[list[Completion], list[Refusal]]


def decode(payload: bytes, slots: tuple[Slot, ...] = SLOTS) -> Found:
    """What came of a message of round 3, sent by node 1."""
    limit = wire.max_bytes(len(slots), LIMIT)
    opened = wire.open_message(payload, node=1, round=3, run_id=RUN, limit=limit)
    return ([], [opened]) if isinstance(opened, Refusal) else wire.match(opened, slots, LIMIT)


def pack(value: Any) -> bytes:
    return msgspec.msgpack.encode(value)


def message(*items: dict[str, Any], **changes: Any) -> bytes:
    table = {"version": wire.VERSION, "run_id": RUN, "round": 3, "completions": list(items)}
    return pack(table | changes)


def item(**changes: Any) -> dict[str, Any]:
    return {"problem_id": "p", "index": 2, "text": "hi", "token_ids": [72, 73]} | changes


def assert_refused(payload: bytes, *reasons: str) -> None:
    """Nothing came through, and every refusal is one short line with its reason."""
    found, refusals = decode(payload)
    assert found == []
    assert len(refusals) >= 1
    for refusal in refusals:
        assert (refusal.node, refusal.layer) == (1, "wire")
        assert refusal.code
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
    assert decode(wire.encode(3, sent, run_id=RUN)) == (sent, [])


@given(st.text(st.characters(categories=["Cs", "Ll", "Cc"]), max_size=20))
@example("a\ud800b\x00")
def test_lone_surrogates_leave_as_question_marks(text: str) -> None:
    ((arrived,), refusals) = decode(
        wire.encode(3, [Completion(SLOTS[0], 1, text, None)], run_id=RUN)
    )
    assert not refusals
    assert arrived.text == "".join("?" if "\ud800" <= c <= "\udfff" else c for c in text)


def test_completions_come_in_the_order_of_the_slots() -> None:
    sent = [Completion(slot, 1, "x", None) for slot in reversed(SLOTS)]
    assert [c.slot for c in decode(wire.encode(3, sent, run_id=RUN))[0]] == list(SLOTS)


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
    st.builds(lambda items, picks: message(*items, picks=picks), st.lists(ITEMS), TREES),
    st.builds(
        lambda key, value: message(item(), **{key: value}),
        st.sampled_from(["version", "run_id", "completions"]),
        TREES,
    ),
)


@settings(max_examples=300)
@given(HOSTILE)
def test_whatever_is_sent_fills_at_most_the_slots_of_its_sender(payload: bytes) -> None:
    found, refusals = decode(payload)
    assert len({c.slot for c in found}) == len(found)
    assert {c.slot for c in found} <= set(SLOTS)
    assert {c.node for c in found} | {r.node for r in refusals} <= {1}
    # Malice makes no more lines in the records than there are slots, and one.
    about = [refusal.slot for refusal in refusals]
    assert len(set(about)) == len(about)
    assert set(about) <= {*SLOTS, None}
    assert all("\n" not in r.reason and len(r.reason) < 300 for r in refusals)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "not a message"),
        (b"\x91" * 5000, "not a message"),
        (b"\x84\xa5round" + b"\x91" * 5000, "not a message"),
        # A list, a tuple and a text that announce 4 GB and end.
        (message()[:-1] + b"\xdd\xff\xff\xff\xff", "not a message"),
        (message(item())[:-3] + b"\xdd\xff\xff\xff\xff", "not a message"),
        (message()[:-1] + b"\x91\x81\xaaproblem_id\xdb\xff\xff\xff\xff", "not a message"),
        (message(item(), **{"a\nb" * 90: 1}), "not a message"),
        (pack({"round": 3, "completions": [item()]}), "not a message"),
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
        (message(item(), picks="p"), "not a message"),
        (message(item(), picks=[1]), "not a message"),
        (message(item(), version=None), "not a message"),
        (message(item(), run_id=None), "not a message"),
        (message(item(), version=2), "of wire version 2, not 1"),
        (message(item(), run_id="x"), "of the run 'x', not 'a run'"),
        (message(item(), run_id="\n" * 999), "of the run"),
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
    # However often it does it.
    assert decode(message(*[item(text=f"{i}") for i in range(9)]))[1] == refusals


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


class Fixed(Channel):
    """What everybody has sent, whoever says it now."""

    def __init__(self, payloads: Mapping[NodeId, bytes]):
        self.payloads = payloads

    def publish(self, round: int, node: NodeId, payload: bytes) -> None:  # noqa: ARG002
        raise AssertionError("everybody has sent")

    def gather(self, round: int, senders: Collection[NodeId], deadline: float) -> Gathered:  # noqa: ARG002
        return Gathered(self.payloads, {n: "late" for n in senders if n not in self.payloads})


Payloads = dict[NodeId, bytes]


@pytest.fixture(scope="module")
def played(random_model: Path) -> tuple[Swarm, Payloads]:
    """A swarm of four whose honest nodes have sent their messages of round 3."""
    swarm = assemble(trial_config(random_model), run_seed=0)
    dealt = swarm.deal(3)
    for cohort in swarm.cohorts:
        rounds.publish(swarm, cohort, 3, cohort.produce(dealt, swarm.local))
    found = swarm.channel.gather(3, swarm.local, 0.0)
    assert found.absent == {3: "missing"}
    return swarm, dict(found.payloads)


def gathered(swarm: Swarm, payloads: Payloads, round: int = 3) -> tuple[list[Group], list[Refusal]]:
    arrived = rounds.gather(replace(swarm, channel=Fixed(payloads)), swarm.deal(round))
    groups, refusals = rounds.admitted(swarm.cohorts[0], arrived)
    return groups, [*arrived.refusals, *refusals]


def hostile_in(swarm: Swarm) -> st.SearchStrategy[bytes]:
    """Messages that get as far as they can: right slots, wrong content."""
    slots = st.sampled_from(swarm.deal(3).slots[3])
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
    in_this_run = st.lists(filled, max_size=6).map(
        lambda items: message(*items, run_id=swarm.run_id)
    )
    return HOSTILE | in_this_run


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_no_message_costs_the_other_nodes_anything(
    played: tuple[Swarm, Payloads], data: st.DataObject
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


def test_a_message_from_nobody_in_the_swarm_is_refused(played: tuple[Swarm, Payloads]) -> None:
    swarm, payloads = played
    groups, refusals = gathered(swarm, payloads | {77: payloads[0]})
    assert groups == gathered(swarm, payloads)[0]
    assert {r.node for r in refusals} == {77}


def test_a_message_sent_in_another_nodes_place_is_refused(played: tuple[Swarm, Payloads]) -> None:
    swarm, payloads = played
    groups, refusals = gathered(swarm, payloads | {3: payloads[0]})
    assert groups == gathered(swarm, payloads)[0]
    told = [(r.node, r.slot, r.layer, r.code, r.reason) for r in refusals]
    reason = "4 completions for slots that are not the sender's"
    assert told == [(3, None, "wire", "not-its-slot", reason)]


def test_a_message_of_another_round_is_refused(played: tuple[Swarm, Payloads]) -> None:
    swarm, payloads = played
    groups, refusals = gathered(swarm, payloads, round=4)
    assert groups == []
    assert [(r.code, r.reason) for r in refusals] == [("wrong-round", "for round 3, not 4")] * 3


@pytest.mark.parametrize(
    ("of_another", "code"), [("run", "wrong-run"), ("version", "wrong-version")]
)
def test_a_message_of_another_run_or_wire_version_is_refused_with_its_code(
    played: tuple[Swarm, Payloads], of_another: str, code: str
) -> None:
    swarm, payloads = played
    sent = msgspec.msgpack.decode(payloads[1])
    change = {"run_id": "f" * 32} if of_another == "run" else {"version": wire.VERSION + 1}
    groups, refusals = gathered(swarm, payloads | {1: pack(sent | change)})
    assert [(r.node, r.slot, r.layer, r.code) for r in refusals] == [(1, None, "wire", code)]
    assert {c.node for group in groups for c in group.completions} == {0, 2}


def test_runs_of_other_settings_are_other_runs_and_the_attack_is_none_of_them(
    random_model: Path, other_model: Path
) -> None:
    """Honest nodes do not know who is malicious, nor how."""

    def id_of(model: Path = random_model, seed: int = 0, /, **changes: Any) -> str:
        return assemble(trial_config(model, **changes), seed).run_id

    plain = id_of()
    assert plain == id_of(attack={"foil": "gibberish"}, swarm={"malicious": 2})
    assert plain == id_of(evaluation={"every": 1}, checkpoint_every=1)
    others = [
        id_of(other_model),
        id_of(random_model, 1),
        id_of(defenses=[{"name": "logit"}]),
        id_of(grpo={"lr": 2e-3}),
        id_of(sampling={"top_k": 49}),
        id_of(task={"train": 63}),
        id_of(rounds=7),
        id_of(swarm={"topology": "vertical"}),
        id_of(exchange={"name": "memory", "nonce": "again"}),
    ]
    assert len({plain, *others}) == 10
