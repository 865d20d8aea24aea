"""Agreement against an adversary who controls some nodes, what they send, and every order.

What honest nodes send in a step reaches all honest nodes in that step. All the rest is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signing import RUN, header_of, roster_of, signed, signers
from swarmproof.exchange.net.agreement import Agreement, Decision, Relay, RoundRules, guilty
from swarmproof.exchange.net.envelope import EnvelopeError, Header, Kind, Signed, relay_bytes

LIMIT = 100


@dataclass
class World:
    """A round among `num_nodes` nodes, the first `num_liars` of which lie."""

    num_nodes: int
    num_liars: int
    faults: int
    honest: dict[int, Agreement] = field(init=False)
    own: dict[int, Signed] = field(init=False)
    # Everything that anybody has signed, which the adversary may send on.
    signatures: dict[bytes, dict[int, bytes]] = field(default_factory=dict)
    known: dict[bytes, Signed] = field(default_factory=dict)
    bodies: dict[bytes, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.keys = signers(self.num_nodes)
        rules = RoundRules(RUN, 3, roster_of(self.keys), self.faults, LIMIT)
        honest = range(self.num_liars, self.num_nodes)
        self.honest = {n: Agreement(rules, {n: self.keys[n]}) for n in honest}
        self.own = {n: self.message(n, f"body of {n}".encode()) for n in honest}
        for node, sent in self.own.items():
            self.honest[node].send(sent, self.bodies[sent.header.body])

    def message(self, node: int, body: bytes) -> Signed:
        sent = signed(self.keys[node], header_of(node, body))
        self.bodies[sent.header.body] = body
        self.known[sent.digest] = sent
        return sent

    def lie(self, digest: bytes, liars: Sequence[int]) -> Relay:
        """A header with the signatures of some liars, and all that honest nodes gave it."""
        text = relay_bytes(digest, 0)
        forged = {n: self.keys[n].sign(text) for n in liars}
        return Relay(self.known[digest], {**self.signatures.get(digest, {}), **forged})

    def play_step(self, views: dict[int, list[Relay]], lies: Sequence[Lie]) -> None:
        """Deliver what honest nodes send, and the lies before or after it."""
        for early in (True, False):
            for lie in lies:
                if lie.early == early and lie.target in self.honest:
                    self.honest[lie.target].receive(self.lie(lie.digest, lie.liars))
                    if lie.with_body:
                        self.honest[lie.target].give(
                            self.bodies[self.known[lie.digest].header.body]
                        )
            if early:
                for target in self.honest.values():
                    for view in views.values():
                        for relay in view:
                            target.receive(relay)
        for node, machine in self.honest.items():
            for header, holders in machine.wants():
                if any(self.held(holder, header) for holder in holders if holder != node):
                    machine.give(self.bodies[header.body])

    def held(self, node: int, header: Header) -> bool:
        return node in self.honest and header.body in self.honest[node]._bodies

    def play(self, lies: Sequence[Sequence[Lie]]) -> dict[int, Decision]:
        views = {n: [Relay(sent, {})] for n, sent in self.own.items()}
        for step, of_step in enumerate(lies):
            self.play_step(views, of_step)
            if step < self.faults:
                views = {n: machine.advance() for n, machine in self.honest.items()}
                for relay in (r for view in views.values() for r in view):
                    kept = self.signatures.setdefault(relay.signed.digest, {})
                    kept.update({n: s for n, s in relay.signatures.items() if n in self.honest})
        return {n: machine.decide() for n, machine in self.honest.items()}


@dataclass(frozen=True)
class Lie:
    target: int
    digest: bytes
    liars: tuple[int, ...]
    with_body: bool
    early: bool


@st.composite
def worlds(draw: st.DrawFn, beyond: int = 0) -> tuple[World, list[list[Lie]]]:
    """A world, and what its liars do in each step; with `beyond` more liars than allowed for."""
    faults = draw(st.integers(1 if beyond else 0, 3))
    num_liars = faults + beyond
    world = World(num_liars + draw(st.integers(2, 3)), num_liars, faults)
    for liar in range(num_liars):
        for n in range(draw(st.integers(0, 3))):
            world.message(liar, b"lie %d of %d" % (n, liar))
    if not world.known:
        return world, [[] for _ in range(faults + 1)]
    lie = st.builds(
        Lie,
        target=st.integers(num_liars, world.num_nodes - 1),
        digest=st.sampled_from(sorted(world.known)),
        liars=st.lists(st.integers(0, max(0, num_liars - 1)), max_size=num_liars, unique=True).map(
            tuple
        ),
        with_body=st.booleans(),
        early=st.booleans(),
    )
    return world, [draw(st.lists(lie, max_size=6)) for _ in range(faults + 1)]


def views_of(decisions: dict[int, Decision]) -> set[tuple[object, ...]]:
    return {
        (tuple((s, h.digest) for s, h in d.headers.items()), d.equivocators)
        for d in decisions.values()
    }


@settings(max_examples=100)
@given(worlds())
def test_honest_nodes_decide_the_same_and_count_one_another(
    drawn: tuple[World, list[list[Lie]]],
) -> None:
    world, lies = drawn
    decisions = world.play(lies)
    assert len(views_of(decisions)) == 1
    for decision in decisions.values():
        assert {n: decision.headers.get(n) for n in world.own} == world.own
        assert decision.equivocators <= set(range(world.num_liars))
        assert decision.headers.keys() == decision.bodies.keys()
        for node, header in decision.headers.items():
            assert decision.bodies[node] == world.bodies[header.header.body]
    (digest,) = {d.digest(world.honest[n].rules) for n, d in decisions.items()}
    assert len(digest) == 32


@settings(max_examples=40)
@given(worlds())
def test_nobody_is_convicted_who_did_not_sign_twice(drawn: tuple[World, list[list[Lie]]]) -> None:
    world, lies = drawn
    roster = roster_of(world.keys)
    for decision in world.play(lies).values():
        convicted = [guilty(proof, roster, LIMIT) for proof in decision.evidence]
        assert set(convicted) >= decision.equivocators
        assert set(convicted) <= set(range(world.num_liars))


def split(world: World, num_steps: int) -> list[list[Lie]]:
    """The classic: the last honest node alone gets the lie, in the last step, fully signed."""
    sent = world.message(0, b"for one of them")
    last = Lie(world.num_nodes - 1, sent.digest, tuple(range(world.num_liars)), True, True)
    return [[] for _ in range(num_steps - 1)] + [[last]]


@pytest.mark.parametrize("faults", [1, 2, 3])
def test_one_liar_more_than_allowed_for_splits_the_view(faults: int) -> None:
    """So the number of steps and of signatures is needed, and the test above can fail."""
    within = World(faults + 2, faults, faults)
    assert len(views_of(within.play(split(within, faults + 1)))) == 1
    beyond = World(faults + 3, faults + 1, faults)
    assert len(views_of(beyond.play(split(beyond, faults + 1)))) == 2


def test_a_pair_convicts_its_node_and_nothing_else_does() -> None:
    keys = signers(3)
    roster = roster_of(keys)
    one, other = (signed(keys[1], header_of(1, body)) for body in (b"a", b"b"))
    assert guilty(one.encode() + other.encode(), roster, LIMIT) == 1
    forged = signed(keys[2], header_of(1, b"b"))
    next_round = signed(keys[1], header_of(1, b"b", round=4))
    outcome = signed(keys[1], header_of(1, b"b", kind=Kind.OUTCOME))
    for second in (one, forged, next_round, outcome, signed(keys[2], header_of(2))):
        with pytest.raises(EnvelopeError):
            guilty(one.encode() + second.encode(), roster, LIMIT)
    with pytest.raises(EnvelopeError):
        guilty(one.encode() + other.encode() + b"x", roster, LIMIT)
    statements = [signed(keys[1], header_of(1, b, kind=Kind.OUTCOME)) for b in (b"a", b"b")]
    with pytest.raises(EnvelopeError, match="several messages"):
        guilty(b"".join(each.encode() for each in statements), roster, LIMIT)
    again = Signed(one.raw, signed(keys[1], header_of(1, b"a")).signature, one.header)
    with pytest.raises(EnvelopeError, match="the same header twice"):
        guilty(one.encode() + again.encode(), roster, LIMIT)


def attempts() -> Iterator[Agreement]:
    keys = signers(3)
    for attempt in (0, 1):
        yield Agreement(RoundRules(RUN, 3, roster_of(keys), 1, LIMIT), {1: keys[1]}, attempt)


def test_signatures_of_an_earlier_attempt_do_not_count_in_the_next() -> None:
    keys = signers(3)
    sent, (first, second) = signed(keys[0], header_of(0)), attempts()
    old = Relay(sent, {2: keys[2].sign(relay_bytes(sent.digest, 0))})
    for machine in (first, second):
        machine.advance()
        machine.receive(old)
        machine.give(b"body")
    assert (first.decide().headers, second.decide().headers) == ({0: sent}, {})
    assert second.decide().late == {0}


def test_signatures_that_are_wrong_or_of_nobody_do_not_count() -> None:
    keys = signers(4)
    sent = signed(keys[0], header_of(0))
    machine = Agreement(RoundRules(RUN, 3, roster_of(keys[:3]), 1, LIMIT), {1: keys[1]})
    machine.advance()
    text = relay_bytes(sent.digest, 0)
    wrong = {
        0: keys[0].sign(text),  # the sender again
        2: keys[3].sign(text),
        3: keys[3].sign(text),
        -1: keys[2].sign(text),  # node 2 under another number
    }
    machine.receive(Relay(sent, wrong))
    assert machine.wants() == []
    machine.receive(Relay(sent, {2: keys[2].sign(text)}))
    assert machine.wants() == [(sent.header, (0, 2))]


def test_a_header_without_its_body_is_neither_signed_nor_counted() -> None:
    keys = signers(3)
    sent = signed(keys[0], header_of(0))
    machine = Agreement(RoundRules(RUN, 3, roster_of(keys), 1, LIMIT), {1: keys[1]})
    machine.receive(Relay(sent, {}))
    assert machine.wants() == [(sent.header, (0,))]
    machine.give(b"not it")
    assert machine.advance() == []
    decision = machine.decide()
    assert decision.headers == {}


def test_of_a_body_that_is_kept_back_the_sender_is_missing_not_late() -> None:
    keys = signers(3)
    sent = signed(keys[0], header_of(0))
    machine = Agreement(RoundRules(RUN, 3, roster_of(keys), 1, LIMIT), {1: keys[1]})
    machine.advance()
    machine.receive(Relay(sent, {2: keys[2].sign(relay_bytes(sent.digest, 0))}))
    assert machine.decide().late == frozenset()


def test_a_body_that_came_in_no_step_makes_its_sender_missing() -> None:
    keys = signers(3)
    machine = Agreement(RoundRules(RUN, 3, roster_of(keys), 1, LIMIT), {1: keys[1]})
    machine.receive(Relay(signed(keys[0], header_of(0)), {}))
    machine.advance()
    assert machine.decide().late == frozenset()
    machine.receive(Relay(signed(keys[2], header_of(2)), {}))  # in step 2, without a relay
    assert machine.decide().late == {2}


def test_a_message_of_another_round_is_refused_by_name() -> None:
    keys = signers(2)
    machine = Agreement(RoundRules(RUN, 3, roster_of(keys), 1, LIMIT), {1: keys[1]})
    for changes, fault in ({"round": 2}, "replayed"), ({"run": bytes(32)}, "wrong run"):
        with pytest.raises(EnvelopeError, match=fault):
            machine.receive(Relay(signed(keys[0], header_of(0, **changes)), {}))
    with pytest.raises(EnvelopeError, match="oversized"):
        machine.receive(Relay(signed(keys[0], header_of(0, b"x" * (LIMIT + 1))), {}))
    assert machine.decide().headers == {}


def test_a_flood_of_headers_of_one_liar_keeps_two() -> None:
    keys = signers(3)
    machine = Agreement(RoundRules(RUN, 3, roster_of(keys), 1, LIMIT), {1: keys[1]})
    for i in range(200):
        machine.receive(Relay(signed(keys[0], header_of(0, b"%d" % i)), {}))
    assert len(machine._seen[0]) == 2
    assert machine.decide().equivocators == {0}
    assert len(machine.advance()) == 2


@pytest.mark.parametrize("length", [4, 3, 0])
@pytest.mark.parametrize("copier", [1, 2])
def test_who_copies_the_hash_of_a_body_keeps_its_author_not_out(copier: int, length: int) -> None:
    """Before the body arrived, and also with a length that is not the body's."""
    keys, author = signers(3), 3 - copier
    machine = Agreement(RoundRules(RUN, 3, roster_of(keys), 1, LIMIT), {0: keys[0]})
    for node in (1, 2):
        changes = {"length": length} if node == copier else {}
        machine.receive(Relay(signed(keys[node], header_of(node, b"body", **changes)), {}))
    assert machine.give(b"body")
    machine.advance()
    expected = {author, copier} if length == len(b"body") else {author}
    assert machine.decide().headers.keys() == expected
