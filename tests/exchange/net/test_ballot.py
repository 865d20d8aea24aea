"""Votes on an outcome: whatever liars, the schedule and restarts do, one outcome at most."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarmproof.exchange.net.ballot import Ballot, Cast, Phase, Stated
from swarmproof.exchange.net.party import enough

A, B = b"a", b"b"


class Room:
    """Honest nodes and liars; what an honest node states may reach any node at any time, or never.

    Args:
        num: of nodes; the first `faults` of them lie.
        rng: draws the schedule.
    """

    def __init__(self, num: int, faults: int, rng: Random) -> None:
        self.num, self.faults, self.rng = num, faults, rng
        self.quorum = enough(num, faults)
        self.ballots = {node: self.ballot(node) for node in range(faults, num)}
        self.wishes = {node: rng.choice((A, B)) for node in self.ballots}
        self.said: list[Stated] = []
        self.settled: set[bytes] = set()

    def ballot(self, node: int, cast: Cast | None = None) -> Ballot:
        return Ballot(self.quorum, self.faults, (node,), cast or Cast())

    def move(self, node: int, *, expired: bool, wish: bytes | None = None) -> None:
        """One move; what the node states from then on can be delivered."""
        ballot = self.ballots[node]
        ballot.move(self.wishes[node] if wish is None else wish, expired=expired)
        cast = ballot.cast
        for phase, turn, digest in (
            (Phase.VOTE, cast.turn, cast.vote),
            (Phase.COMMIT, cast.commit_turn, cast.commit),
        ):
            if digest:
                said = Stated(phase, node, turn, digest)
                ballot.hear(said)
                self.said += [said] if said not in self.said else []
        self.note(node)

    def deliver(self, node: int) -> None:
        self.ballots[node].hear(self.rng.choice(self.said))
        self.note(node)

    def lie(self, node: int) -> None:
        turn = self.rng.randrange(2 + max(ballot.cast.turn for ballot in self.ballots.values()))
        liar, digest = self.rng.randrange(self.faults), self.rng.choice((A, B))
        self.ballots[node].hear(Stated(self.rng.choice(list(Phase)), liar, turn, digest))
        self.note(node)

    def restart(self, node: int) -> None:
        self.ballots[node] = self.ballot(node, self.ballots[node].cast)

    def note(self, node: int) -> None:
        self.settled |= {said.digest for said in self.ballots[node].settled()}

    def step(self) -> None:
        node, dice = self.rng.choice(list(self.ballots)), self.rng.random()
        if dice < 0.02:
            self.restart(node)
        elif dice < 0.25 and self.faults:
            self.lie(node)
        elif dice < 0.65 and self.said:
            self.deliver(node)
        else:
            self.wishes[node] = self.rng.choice((A, B))  # another leader each time
            self.move(node, expired=self.rng.random() < 0.3)


@pytest.mark.parametrize(("num", "faults"), [(3, 0), (4, 1), (5, 1), (7, 2)])
@settings(max_examples=60)
@given(seed=st.integers(0, 10**9))
def test_no_two_outcomes_are_settled(num: int, faults: int, seed: int) -> None:
    room = Room(num, faults, Random(seed))
    for _ in range(400):
        room.step()
        assert len(room.settled) <= 1


@settings(max_examples=60)
@given(seed=st.integers(0, 10**9))
def test_when_all_is_heard_and_a_leader_is_followed_one_is_settled_by_all(seed: int) -> None:
    """After any beginning, all that honest nodes state is heard in time."""
    room = Room(4, 1, Random(seed))
    for _ in range(room.rng.randrange(100)):
        room.step()
    for _ in range(20):
        leader = room.rng.choice(list(room.ballots))
        # Time is up some while after a quorum has voted, so that those behind come up.
        turns = {node: b.cast.turn for node, b in room.ballots.items()}
        voted = {node: b.num_voted(b.cast.turn) >= room.quorum for node, b in room.ballots.items()}
        for _ in range(4):
            for node, ballot in room.ballots.items():
                for said in [*room.said, *(p for b in room.ballots.values() for p in b.proof)]:
                    ballot.hear(said)
                wish = room.ballots[leader].cast.lock or room.wishes[leader]
                room.move(node, expired=False, wish=wish)
        if room.settled:
            break
        for node, ballot in room.ballots.items():
            if voted[node] and ballot.cast.turn == turns[node]:
                room.move(node, expired=True, wish=b"")
    assert len(room.settled) == 1
    (proof, *_) = filter(None, (ballot.settled() for ballot in room.ballots.values()))
    for ballot in room.ballots.values():
        for said in proof:
            ballot.hear(said)
        assert ballot.settled()


def vote(node: int, digest: bytes, turn: int = 0) -> Stated:
    return Stated(Phase.VOTE, node, turn, digest)


def test_a_quorum_of_votes_is_committed_to_and_a_quorum_of_commits_settles() -> None:
    ballot = Ballot(3, 1, (0,))
    assert ballot.move(A, expired=False)
    assert ballot.cast == Cast(vote=A)
    for node in (0, 1):
        ballot.hear(vote(node, A))
    assert not ballot.move(A, expired=False)
    ballot.hear(vote(2, A))
    assert ballot.move(A, expired=False)
    assert ballot.cast == Cast(0, A, 0, A, 0, A)
    assert not ballot.settled()
    for node, turn in ((0, 0), (1, 0), (2, 1)):  # of two turns
        ballot.hear(Stated(Phase.COMMIT, node, turn, A))
    assert not ballot.settled()
    ballot.hear(Stated(Phase.COMMIT, 3, 0, A))
    assert {said.node for said in ballot.settled()} == {0, 1, 3}


def test_split_votes_are_followed_by_another_turn_once_time_is_up() -> None:
    ballot = Ballot(3, 1, (0,))
    ballot.move(A, expired=False)
    for node, digest in ((0, A), (1, B)):
        ballot.hear(vote(node, digest))
    assert not ballot.move(A, expired=True)  # two nodes may be cut off from two others
    ballot.hear(vote(2, B))
    assert not ballot.move(A, expired=False)
    assert ballot.move(B, expired=True)
    assert ballot.cast == Cast(turn=1, vote=B)


def test_who_is_locked_votes_for_that_until_a_later_turn_agrees_on_another() -> None:
    locked = Cast(1, A, 0, A, 0, A)
    ballot = Ballot(3, 1, (0,), replace(locked, vote=b""))
    ballot.move(B, expired=False)
    assert ballot.cast == locked
    for node in (1, 2, 3):
        ballot.hear(vote(node, B, turn=1))
    ballot.move(A, expired=False)
    assert ballot.cast == Cast(1, A, 1, B, 1, B)
    assert {said.node for said in ballot.proof} == {1, 2, 3}


def test_one_liar_moves_nobody_to_a_far_turn() -> None:
    ballot = Ballot(3, 1, (0,))
    ballot.move(A, expired=False)
    for turn in range(60_000, 60_100):
        ballot.hear(vote(3, B, turn=turn))
    ballot.move(A, expired=False)
    assert ballot.cast.turn == 0
    assert sum(len(turns) for turns in ballot._heard[Phase.VOTE].values()) <= 16
    ballot.hear(vote(2, B, turn=7))  # two nodes: one of them is honest
    ballot.move(A, expired=False)
    assert ballot.cast.turn == 7


def test_what_a_node_stated_last_is_of_its_latest_turn() -> None:
    ballot = Ballot(3, 1, (0,))
    ballot.hear(vote(1, A))
    ballot.hear(Stated(Phase.COMMIT, 2, 0, A))
    ballot.hear(vote(2, B, turn=0))
    assert ballot.latest() == {1: {A}, 2: {A}}
    ballot.hear(vote(2, B, turn=1))
    assert ballot.latest() == {1: {A}, 2: {B}}


def test_two_statements_in_one_place_are_told_and_more_are_not_kept() -> None:
    ballot = Ballot(3, 1, (0,))
    assert ballot.hear(vote(3, A))
    assert ballot.hear(vote(3, A))
    assert not ballot.hear(vote(3, B))
    for n in range(100):
        assert not ballot.hear(vote(3, bytes([n])))
    assert sum(ballot.votes(0).values()) == 2
    assert ballot.vote_of(3, 0) == b""
