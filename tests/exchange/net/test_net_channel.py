"""Nodes in threads over a network in memory, with faults: one view, reasons, proofs, recovery."""

from __future__ import annotations

import hashlib
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from nodes.hostile import LIES, Hostile
from signing import header_of, roster_of, signers
from swarmproof.exchange import Gathered, Session
from swarmproof.exchange.net import outcomes, rounds
from swarmproof.exchange.net.agreement import Agreement, Decision, RoundRules, guilty
from swarmproof.exchange.net.archive import AgreedRound, Archive, encode
from swarmproof.exchange.net.channel import NetChannel
from swarmproof.exchange.net.envelope import Kind, Signed
from swarmproof.exchange.net.keys import Signer
from swarmproof.exchange.net.messages import message, seal
from swarmproof.exchange.net.party import Terms
from swarmproof.exchange.net.transport import Loopback

MAX_BYTES = 1000
STEP = 0.4
TERMS = Terms(1, 3, STEP)


@dataclass
class Nodes:
    """A swarm of `num` nodes; some of them may be played by a test instead of a channel."""

    num: int = 4
    terms: Terms = TERMS
    network: Loopback = field(default_factory=Loopback)
    archives: Path | None = None
    channels: dict[int, NetChannel] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.keys = signers(self.num)
        self.roster = roster_of(self.keys)
        self.run = self.roster.swarm_id("run", self.terms.faults, self.terms.quorum)

    def start(self, node: int) -> NetChannel:
        session = Session("run", tuple(range(self.num)), frozenset({node}), MAX_BYTES)
        path = self.archives / f"{node}.archive" if self.archives else None
        channel = NetChannel(
            session,
            self.roster,
            self.terms,
            {node: Signer(self.keys[node]._key)},
            self.network.join(node),
            Archive(path),
            STEP,
        )
        self.channels[node] = channel
        return channel

    def play(
        self, nodes: range | tuple[int, ...], of: range, deadline: float = 20.0
    ) -> dict[int, list[Gathered]]:
        """All nodes play these rounds, each in a thread of its own."""

        def one(node: int) -> list[Gathered]:
            channel = self.channels.get(node) or self.start(node)
            found = []
            for round in of:
                channel.publish(round, node, text(round, node))
                found.append(channel.gather(round, range(self.num), deadline))
            return found

        with ThreadPoolExecutor(len(nodes)) as pool:
            return dict(zip(nodes, pool.map(one, nodes), strict=True))

    def close(self) -> None:
        with ThreadPoolExecutor(len(self.channels) or 1) as pool:
            list(pool.map(NetChannel.close, self.channels.values()))

    def signed(self, node: int, round: int, body: bytes) -> bytes:
        header = header_of(node, body, round=round, run=self.run)
        return seal(self.keys[node], header).encode()


def text(round: int, node: int) -> bytes:
    return f"round {round} of node {node}".encode()


@pytest.fixture
def swarm() -> Iterator[Callable[..., Nodes]]:
    made: list[Nodes] = []

    def make(**settings: object) -> Nodes:
        made.append(Nodes(**settings))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for nodes in made:
        nodes.close()


def one_view(found: dict[int, list[Gathered]]) -> list[dict[int | str, bytes]]:
    """The payloads of each round, which all nodes have alike."""
    views = [[dict(gathered.payloads) for gathered in of] for of in found.values()]
    assert all(view == views[0] for view in views)
    return views[0]


def whole(round: int, nodes: range | tuple[int, ...]) -> dict[int, bytes]:
    return {node: text(round, node) for node in nodes}


@pytest.mark.parametrize("faults", [0, 1, 2])
def test_all_nodes_gather_what_all_sent(
    swarm: Callable[..., Nodes], faults: int, caplog: pytest.LogCaptureFixture
) -> None:
    found = swarm(terms=Terms(faults, 3, STEP)).play(range(4), range(3))
    assert one_view(found) == [whole(round, range(4)) for round in range(3)]
    assert all(not g.absent and not g.evidence for of in found.values() for g in of)
    assert caplog.text == ""


def test_who_learns_an_outcome_from_its_peers_can_have_the_messages_at_once(
    swarm: Callable[..., Nodes], caplog: pytest.LogCaptureFixture
) -> None:
    """The first to decide waits for statements of those who wait for its messages."""

    def weather(asker: int, node: int, key: str) -> float | None:
        # The last of them does not hear the views of the last step.
        return None if asker == 3 and key.startswith("v/0/0/3") and node != 3 else 0.0

    nodes = swarm(network=Loopback(weather), terms=Terms(2, 3, 4.0))
    began = time.monotonic()
    found = nodes.play(range(4), range(1), deadline=60.0)
    assert one_view(found) == [whole(0, range(4))]
    assert time.monotonic() - began < 10.0
    assert "not confirmed" not in caplog.text
    nodes.network.weather = lambda *_: 0.0


def test_delay_and_loss_change_nothing(
    swarm: Callable[..., Nodes], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (outcomes, rounds):
        monkeypatch.setattr(module, "ASK", 0.1)
    count = itertools.count()

    def weather(asker: int, node: int, key: str) -> float | None:  # noqa: ARG001
        n = next(count)
        return None if n % 5 == 0 else 0.01 * (n % 4)

    network = Loopback(weather)
    nodes = swarm(network=network, terms=Terms(1, 3, 3.0))
    found = nodes.play(range(4), range(2), deadline=60.0)
    assert next(count) > 100
    assert one_view(found) == [whole(round, range(4)) for round in range(2)]
    network.weather = lambda *_: 0.0


def test_two_nodes_without_a_link_get_all_of_each_other_from_the_others(
    swarm: Callable[..., Nodes], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (outcomes, rounds):
        monkeypatch.setattr(module, "ASK", 0.1)
    nodes = swarm(terms=Terms(1, 3, 40.0))
    nodes.play(range(4), range(1), deadline=60.0)
    nodes.network.weather = lambda a, b, _: None if {a, b} == {0, 3} else 0.0
    began = time.monotonic()
    found = nodes.play(range(4), range(1, 3), deadline=60.0)
    # A node that has all headers and lacks a body would wait for half a step.
    assert time.monotonic() - began < 15.0
    assert one_view(found) == [whole(round, range(4)) for round in range(1, 3)]
    nodes.network.weather = lambda *_: 0.0


def test_a_round_that_misses_a_node_goes_on_and_the_next_does_not_wait_for_it(
    swarm: Callable[..., Nodes],
) -> None:
    nodes = swarm()
    began = time.monotonic()
    found = nodes.play((0, 1, 2), range(3), deadline=3.0)
    assert one_view(found) == [whole(round, (0, 1, 2)) for round in range(3)]
    assert all(dict(g.absent) == {3: "missing"} for of in found.values() for g in of)
    # The deadline to meet, and then half a step in each round; not a second deadline.
    assert 3.0 + 3 * STEP / 2 <= time.monotonic() - began < 2 * 3.0


def test_a_node_that_comes_late_is_late_for_all_and_takes_over_their_view(
    swarm: Callable[..., Nodes],
) -> None:
    nodes = swarm()
    nodes.play(range(4), range(1))
    slow = threading.Event()

    def late() -> Gathered:
        slow.wait()
        nodes.channels[3].publish(1, 3, text(1, 3))
        return nodes.channels[3].gather(1, range(4), 0.5)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(late)
        found = nodes.play((0, 1, 2), range(1, 2), deadline=0.5)
        slow.set()
        mine = waiting.result(30)
    assert one_view(found) == [whole(1, (0, 1, 2))]
    assert mine.payloads == whole(1, (0, 1, 2))
    again = nodes.play(range(4), range(2, 4))
    assert one_view(again) == [whole(round, range(4)) for round in (2, 3)]


# Node 3 lies --------------------------------------------------------------------------------------

Answers = Callable[[int, str], bytes | None]


def views(nodes: Nodes, key: str) -> bytes | None:
    """A liar's hellos and empty views, so that nobody waits for it."""
    kind, round, *rest = key.split("/")
    if kind == "y":
        made = header_of(3, b"", run=nodes.run, round=int(round), kind=Kind.HELLO)
        return seal(nodes.keys[3], made).encode()
    if kind == "v" and rest[2] == "3":
        body = b"\x90"
        made = header_of(
            3, body, run=nodes.run, round=int(round), kind=Kind.VIEW,
            attempt=int(rest[0]), step=int(rest[1]),
        )  # fmt: skip
        return seal(nodes.keys[3], made).encode() + body
    return None


def serving(nodes: Nodes, header: Callable[[int, int], bytes], *bodies: bytes) -> Answers:
    """A liar that shows each asker a header of its choice."""
    by_hash = {hashlib.sha256(body).hexdigest(): body for body in bodies}

    def answer(asker: int, key: str) -> bytes | None:
        kind, rest = key.split("/", 1)
        if kind == "h" and rest.isdecimal():
            return header(asker, int(rest))
        return by_hash.get(rest) if kind == "b" else views(nodes, key)

    return answer


def played(nodes: Nodes, answers: Answers, deadline: float = 20.0) -> list[Gathered]:
    """What the honest nodes gather in round 0."""
    nodes.network.liars[3] = answers
    found = nodes.play((0, 1, 2), range(1), deadline)
    one_view(found)
    return [gathered for (gathered,) in found.values()]


def test_a_liar_with_two_faces_is_out_for_all_and_proved(swarm: Callable[..., Nodes]) -> None:
    nodes = swarm()
    two = [nodes.signed(3, 0, body) for body in (b"one", b"two")]
    for found in played(nodes, serving(nodes, lambda asker, _: two[asker % 2], b"one", b"two")):
        assert found.payloads == whole(0, (0, 1, 2))
        assert found.absent == {3: "equivocated"}
        (proof,) = found.evidence
        assert guilty(proof, nodes.roster, MAX_BYTES) == 3


def test_a_header_that_one_node_is_shown_counts_for_all(swarm: Callable[..., Nodes]) -> None:
    nodes = swarm()
    raw = nodes.signed(3, 0, b"for one")
    for found in played(
        nodes, serving(nodes, lambda a, _: raw if a == 1 else b"", b"for one"), 0.6
    ):
        assert found.payloads == {**whole(0, (0, 1, 2)), 3: b"for one"}


def test_a_node_that_is_back_is_heard_in_every_step(
    swarm: Callable[..., Nodes], caplog: pytest.LogCaptureFixture
) -> None:
    """It alone is shown a header; what it relays counts, though nobody waited for it at first."""
    nodes = swarm(terms=Terms(1, 2, 3.0))
    raw = nodes.signed(3, 1, b"for one")
    nodes.network.liars[3] = serving(
        nodes, lambda a, r: raw if (a, r) == (2, 1) else b"", b"for one"
    )
    nodes.play((0, 1), range(1), 0.5)  # nodes 2 and 3 are away
    nodes.play((2,), range(1))

    def weather(asker: int, node: int, key: str) -> float | None:  # noqa: ARG001
        if node == 2 and key == "h/1/3":  # no copy: only the view of node 2 tells of it
            return None
        return 1.0 if node == 2 and key[0] == "v" else 0.0

    nodes.network.weather = weather
    found = nodes.play((0, 1, 2), range(1, 2), 6.0)
    assert one_view(found) == [{**whole(1, (0, 1, 2)), 3: b"for one"}]
    assert "round 1: its outcome" not in caplog.text
    nodes.network.weather = lambda *_: 0.0


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (lambda _: b"garbage", "malformed"),
        (lambda _: b"x" * 10**6, "oversized"),
        (lambda n: n.signed(3, 0, b"x" * (MAX_BYTES + 1)), "oversized"),
        (lambda n: n.signed(3, 5, b"body"), "replayed"),
        (lambda n: n.signed(2, 0, b"body"), "replayed"),
        (lambda n: n.signed(3, 0, b"body")[:-1] + b"x", "bad signature"),
        (lambda n: seal(n.keys[3], header_of(3, round=0)).encode(), "wrong run"),
        (lambda n: seal(n.keys[3], header_of(9, round=0, run=n.run)).encode(), "unknown key"),
        (lambda n: n.signed(3, 0, b"kept back"), "missing"),
    ],
)
def test_absence_has_a_reason(
    swarm: Callable[..., Nodes], raw: Callable[[Nodes], bytes], reason: str
) -> None:
    nodes = swarm()
    sent = raw(nodes)
    for found in played(nodes, serving(nodes, lambda *_: sent, b"body"), 0.6):
        assert found.payloads == whole(0, (0, 1, 2))
        assert found.absent == {3: reason}
        assert found.evidence == ()


def test_hostile_answers_of_every_kind_change_nothing(swarm: Callable[..., Nodes]) -> None:
    nodes = swarm()
    liar = Hostile(nodes.keys[3], nodes.run, [nodes.signed(3, 7, b"old")])
    sent: Counter[str] = Counter()

    def answer(asker: int, key: str) -> bytes:  # noqa: ARG001
        with lock:
            kind, value = liar.answer(f"3/{key}")
            sent[kind] += 1
        return value

    lock = threading.Lock()
    nodes.network.liars[3] = answer
    found = nodes.play((0, 1, 2), range(4), 0.4)
    assert one_view(found) == [whole(round, (0, 1, 2)) for round in range(4)]
    assert all(sent[lie] >= 10 for lie in LIES), sent


# Recovery -----------------------------------------------------------------------------------------


def test_below_the_quorum_the_swarm_waits_and_goes_on_when_peers_return(
    swarm: Callable[..., Nodes], caplog: pytest.LogCaptureFixture
) -> None:
    nodes = swarm()
    nodes.play(range(4), range(1))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(nodes.play, (0, 1), range(1, 2), 0.3)
        time.sleep(1.5)
        assert not first.done()
        second = pool.submit(nodes.play, (2, 3), range(1, 2), 0.3)
        found = {**first.result(30), **second.result(30)}
    assert one_view(found) == [whole(1, range(4))]
    assert "messages of 2 nodes count, and it needs 3" in caplog.text


def test_a_partition_heals(swarm: Callable[..., Nodes]) -> None:
    """Three go on without the fourth; it takes over what it missed, and takes part again."""
    nodes = swarm()
    nodes.play(range(4), range(1))
    nodes.network.weather = lambda a, b, _: None if (a == 3) != (b == 3) else 0.0
    with ThreadPoolExecutor(2) as pool:
        most = pool.submit(nodes.play, (0, 1, 2), range(1, 4), 0.5)
        cut = pool.submit(nodes.play, (3,), range(1, 4), 0.5)
        found = most.result(30)
        assert one_view(found) == [whole(round, (0, 1, 2)) for round in (1, 2, 3)]
        assert not cut.done()
        nodes.network.weather = lambda *_: 0.0
        assert one_view({**found, **cut.result(30)})
    assert one_view(nodes.play(range(4), range(4, 6))) == [whole(r, range(4)) for r in (4, 5)]


def split(monkeypatch: pytest.MonkeyPatch, blind: tuple[int, ...]) -> None:
    """As after a partition in the middle of a step: these miss the message of node 3 in round 0."""
    for module in (outcomes, rounds):
        monkeypatch.setattr(module, "ASK", 0.1)
    decide = Agreement.decide

    def bent(self: Agreement) -> Decision:
        found = decide(self)
        if self.rules.round > 0 or not {*self._signers} & {*blind}:
            return found
        headers = {n: signed for n, signed in found.headers.items() if n != 3}
        return replace(found, headers=headers, bodies={n: found.bodies[n] for n in headers})

    monkeypatch.setattr(Agreement, "decide", bent)


@pytest.mark.parametrize("sides", [((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0,), (1, 2, 3))])
def test_nodes_with_different_views_of_a_round_end_with_one(
    swarm: Callable[..., Nodes], monkeypatch: pytest.MonkeyPatch, sides: tuple[tuple[int, ...], ...]
) -> None:
    split(monkeypatch, sides[0])
    found = swarm().play(range(4), range(2))
    first, second = one_view(found)
    assert first in (whole(0, (0, 1, 2)), whole(0, range(4)))
    assert second == whole(1, range(4))


@pytest.mark.parametrize("exists", [False, True])
def test_a_leader_that_lies_costs_a_turn_and_decides_nothing(
    swarm: Callable[..., Nodes], monkeypatch: pytest.MonkeyPatch, exists: bool
) -> None:
    """Node 1 leads the second turn, for an outcome that nobody has, or for its message alone."""
    split(monkeypatch, (0,))
    nodes = swarm()
    rules = RoundRules(nodes.run, 0, nodes.roster, 1, MAX_BYTES)

    def lie(_: int, key: str) -> bytes | None:
        true = nodes.network.values[1].get(key)
        header = nodes.network.values[1].get("h/0")
        if header is None:
            return true
        own = Signed.decode(header)
        alone = Decision({1: own}, {1: text(0, 1)}, frozenset(), frozenset(), ())
        if key == "a/0" and exists:
            return encode(AgreedRound.of(0, alone, {}, {}))
        if key == "o/0":
            led = alone.digest(rules) if exists else b"x" * 32
            key_of = nodes.keys[1]
            return message(key_of, Kind.VOTE, led, run=nodes.run, round=0, node=1, attempt=1)
        return true

    # Its own process is honest, so that it plays on.
    nodes.start(1)
    nodes.network.liars[1] = lie
    found = nodes.play(range(4), range(1))
    del nodes.network.liars[1]
    assert one_view(found) == [whole(0, range(4))]


def test_a_node_that_was_killed_plays_its_archive_and_then_takes_part(
    swarm: Callable[..., Nodes], tmp_path: Path
) -> None:
    nodes = swarm(archives=tmp_path)
    nodes.play(range(4), range(2))
    nodes.channels.pop(3)
    nodes.network.values.pop(3)
    missed = nodes.play((0, 1, 2), range(2, 4), 0.5)
    again = nodes.play((3,), range(4))
    expected = [whole(r, range(4)) for r in (0, 1)] + [whole(r, (0, 1, 2)) for r in (2, 3)]
    assert one_view(again) == expected
    assert one_view(missed) == expected[2:]
    assert one_view(nodes.play(range(4), range(4, 6))) == [whole(r, range(4)) for r in (4, 5)]


def test_a_key_does_not_start_with_an_old_archive(tmp_path: Path) -> None:
    nodes = Nodes(num=3, terms=Terms(1, 2, STEP))
    signer = Signer(nodes.keys[0]._key)
    for round in range(3):
        signer.note(nodes.run, round, bytes([round] * 32))
    session = Session("run", (0, 1, 2), frozenset({0}), MAX_BYTES)
    with pytest.raises(ValueError, match="signed round 2 of this run, and the archive ends with"):
        NetChannel(
            session, nodes.roster, nodes.terms, {0: signer}, nodes.network.join(0),
            Archive(tmp_path / "old"), STEP,
        )  # fmt: skip
