"""Liars: each tells its lie, in messages that only the check it is meant for refuses."""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path

import pytest

from signing import RUN, header_of, roster_of, signed, signers
from swarmproof.exchange import Session
from swarmproof.exchange.net import archive, keys, liars
from swarmproof.exchange.net.agreement import RoundRules
from swarmproof.exchange.net.envelope import (
    EnvelopeError,
    Expected,
    Kind,
    Signed,
    open_message,
    verify,
)
from swarmproof.exchange.net.liars import LIARS, Dripping, Liar
from swarmproof.exchange.net.messages import decode_view, message
from swarmproof.exchange.net.outcomes import ASK
from swarmproof.exchange.net.over_zenoh import ZenohTransport
from swarmproof.exchange.net.plugin import Net

ME, LIMIT = 3, 1000
KEYS = signers(4)
ROSTER = roster_of(KEYS)


def rules(round: int) -> RoundRules:
    return RoundRules(RUN, round, ROSTER, 1, LIMIT)


def text(round: int, node: int) -> bytes:
    return b"round %d of node %d" % (round, node)


def place(body: bytes) -> str:
    return f"b/{hashlib.sha256(body).hexdigest()}"


def liar(kind: str, deadline: float = 20.0) -> Liar:
    """One that has sent in rounds 0 and 1, and has stated the outcome of round 0."""
    made = (LIARS[kind] if kind else Liar)(ME, KEYS[ME], rules(0), deadline)
    for round in (0, 1):
        raw = header(round).encode()
        made.put(place(text(round, ME)), text(round, ME))
        made.put(f"h/{round}", raw)
        made.put(f"h/{round}/{ME}", raw)
    made.put("o/0", b"an outcome")
    return made


def header(round: int, node: int = ME) -> Signed:
    return signed(KEYS[node], header_of(node, text(round, node), round=round))


def heard(made: Liar, key: str, round: int = 1) -> Signed:
    """The header in an answer, checked as peers do."""
    (value,) = made.replies(key)
    found = Signed.decode(value)
    verify(found, rules(round).expected(ME), ROSTER, LIMIT)
    return found


def fault(made: Liar, key: str, round: int = 1) -> str:
    """Why peers do not use a header."""
    with pytest.raises(EnvelopeError) as refused:
        heard(made, key, round)
    return refused.value.fault


def test_without_a_lie_a_node_answers_what_it_serves() -> None:
    made = liar("")
    made.source = lambda key: b"old" if key == "a/0" else None
    for _ in range(3):
        assert heard(made, "h/1") == heard(made, f"h/1/{ME}") == header(1)
        assert made.replies(place(text(1, ME))) == (text(1, ME),)
    assert made.replies("a/0") == (b"old",)
    assert made.replies("h/2") == ()


def test_an_equivocator_signs_two_messages_and_serves_both_bodies() -> None:
    made = liar("equivocation")
    answers = []
    for key in ("h/1", f"h/1/{ME}"):
        answers.append(heard(made, key))
        made.replies("y/1")  # what else peers ask makes no difference
    assert len({answer.digest for answer in answers}) == 2
    for answer in answers:
        (body,) = made.replies(f"b/{answer.header.body.hex()}")
        assert hashlib.sha256(body).digest() == answer.header.body


def test_a_withheld_body_is_that_of_its_own_message_alone() -> None:
    made = liar("withholding")
    made.put(place(text(1, 0)), text(1, 0))
    assert heard(made, "h/1") == header(1)
    assert made.replies(place(text(1, ME))) == ()
    assert made.replies(place(text(1, 0))) == (text(1, 0),)


def test_a_late_message_comes_after_the_deadline_and_not_before() -> None:
    before = time.monotonic()
    made = liar("late", deadline=0.1)
    decided = time.monotonic()
    assert heard(made, "h/0", round=0) == header(0)  # nobody has decided before round 0
    assert made.replies("h/1") == made.replies(f"h/1/{ME}") == ()
    while not made.replies("h/1"):
        assert time.monotonic() < decided + 5
    assert time.monotonic() >= before + 0.2
    assert heard(made, "h/1") == header(1)


def test_a_replayed_message_is_that_of_the_round_before() -> None:
    made = liar("replay")
    assert fault(made, "h/1") == fault(made, f"h/1/{ME}") == "replayed"
    assert heard(made, "h/0", round=0) == header(0)


def test_a_flood_is_fifty_replies_of_which_none_is_a_message() -> None:
    values = liar("flood").replies("o/0")
    assert len(set(values)) == 50
    for value in values:
        with pytest.raises(EnvelopeError, match="malformed"):
            Signed.decode(value)


def test_an_oversized_message_is_announced_by_a_true_signature() -> None:
    made = liar("oversized")
    assert fault(made, "h/1") == "oversized"
    (value,) = made.replies("v/1/0/2/3")
    assert len(value) == 5_000_000


def test_a_slow_drip_is_slower_than_peers_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    made = liar("slow-drip")
    waited: list[float] = []
    assert isinstance(made, Dripping)
    with monkeypatch.context() as patch:
        patch.setattr(made.left, "wait", waited.append)
        assert heard(made, "h/1") == header(1)
    (seconds,) = waited
    assert seconds > ASK
    began = time.monotonic()
    made.close()  # it has left, and hundreds of questions may wait
    assert heard(made, "h/1") == header(1)
    assert time.monotonic() < began + ASK


def test_a_copied_body_is_sent_under_another_signature() -> None:
    made = liar("copying")
    assert made.replies("h/1") == ()
    for node in (0, 1):
        made.put(place(text(1, node)), text(1, node))
        made.put(f"h/1/{node}", header(1, node).encode())
    copied = heard(made, "h/1")
    assert copied.header.node == ME
    made.put(place(text(1, 2)), text(1, 2))
    made.put("h/1/2", header(1, 2).encode())
    assert heard(made, f"h/1/{ME}") == copied  # two would be an equivocation
    (body,) = made.replies(f"b/{copied.header.body.hex()}")
    assert body == text(1, 1)
    assert made.replies("h/1/0") == (header(1, 0).encode(),)


def test_garbage_is_no_message() -> None:
    made = liar("garbage")
    assert fault(made, "h/1") in LIARS["garbage"].expected
    assert made.replies("h/1") != made.replies("h/1")


def test_a_split_view_has_a_second_message_and_goes_to_some_only() -> None:
    made, key = liar("split-views"), f"v/1/0/2/{ME}"
    honest = message(KEYS[ME], Kind.VIEW, b"\x90", run=RUN, round=1, node=ME, step=2)
    made.put(key, honest)
    (first,) = made.replies(key)
    made.replies("y/1")  # what else peers ask makes no difference
    assert made.replies(key) == (honest,)
    _, body = open_message(first, Expected(RUN, 1, ME, Kind.VIEW, 0, 2), ROSTER, LIMIT)
    (relay,) = decode_view(body, 4)
    verify(relay.signed, rules(1).expected(ME), ROSTER, LIMIT)
    assert relay.signed.digest != header(1).digest
    assert heard(made, "h/1") == header(1)


def test_a_false_vote_is_signed_and_given_in_some_answers() -> None:
    made = liar("two-outcomes")
    answers = [made.replies("o/0")[0] for _ in range(40)]
    false = [answer for answer in answers if answer != b"an outcome"]
    assert 10 < len(false) < 30
    said = archive.read_stated(false[0], rules(0))
    assert (said.node, said.digest) == (ME, hashlib.sha256(b"x").digest())


@pytest.mark.parametrize("kind", LIARS)
def test_no_question_of_a_peer_makes_a_liar_fail(kind: str) -> None:
    made = liar(kind)
    made.close()
    places = ("", "/", "h", "h/", "h/x", "h/-1", "h/²", "h/" + "9" * 5000, "h/1/x", "h/1/2/3",
              "v", "v/1", f"v/{ME}", f"v/1/x/y/{ME}", f"v/x/0/1/{ME}", f"v/1/0/999/{ME}",
              f"v/1/99999/2/{ME}", "o", "o/", "o/x",
              "o/" + "9" * 5000, "b/", "o/" + "9" * 19, "y/1", "a/1", "\x00")  # fmt: skip
    for key in places:
        for _ in range(2):
            made.replies(key)


def test_every_lie_says_what_honest_nodes_see() -> None:
    for kind in LIARS.values():
        lie, seen = (kind.__doc__ or "").split("\n\n")
        assert lie.strip().endswith(".")
        assert seen.strip().startswith("Honest nodes:")
        assert kind.expected
        for reason in kind.expected:
            assert reason.rpartition(" ")[2] in seen, reason


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ([(4, "late")], "there is no node 4; the swarm has nodes 0 to 3"),
        ([(-1, "late")], "there is no node -1"),
        ([(2, "late"), (2, "flood")], "node 2 is listed twice; give it one lie"),
        ([(2, "lat")], "no lie is called 'lat'; did you mean 'late'.*`swarmproof node lies`"),
    ],
)
def test_liars_that_cannot_be_are_refused(settings: list[tuple[int, str]], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Net(liars=tuple(settings)).require(4)


def test_a_process_that_plays_all_nodes_has_nobody_to_lie_to() -> None:
    nodes = (0, 1, 2)
    with pytest.raises(ValueError, match="start a process for each, with `swarmproof swarm up`"):
        Net(liars=((2, "late"),)).connect(Session("run", nodes, frozenset(nodes), LIMIT))


def test_a_liar_answers_peers_and_an_honest_node_pays_for_none_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = [keys.make_keys(tmp_path / str(n), f"node-{n}") for n in range(4)]
    settings = Net(roster=tuple(public), key=tmp_path / "2", listen=("tcp/127.0.0.1:0",))
    session = Session("run", (0, 1, 2, 3), frozenset({2}), LIMIT)

    def answers(net: Net) -> object:
        channel = net.connect(session)
        channel.leave()
        transport = channel._party.transport
        assert isinstance(transport, ZenohTransport)
        return transport._values

    monkeypatch.delitem(sys.modules, liars.__name__)
    monkeypatch.delattr("swarmproof.exchange.net.liars")
    assert type(answers(settings)).__name__ == "Values"
    assert liars.__name__ not in sys.modules
    # Another node of its swarm lies.
    assert type(answers(settings.model_copy(update={"liars": ((1, "late"),)}))).__name__ == "Values"
    monkeypatch.setitem(sys.modules, liars.__name__, liars)
    made = answers(settings.model_copy(update={"liars": ((2, "late"),), "deadline": 7.0}))
    assert isinstance(made, LIARS["late"])
    assert (made.node, made.deadline, made.rules.limit) == (2, 7.0, LIMIT)
    assert made.signer.public.hex() == public[2]
