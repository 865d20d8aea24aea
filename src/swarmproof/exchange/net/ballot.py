"""Votes on the outcome of a round, in turns: a pure state machine without network or clock.

The protocol is that of Tendermint (arXiv 1807.04938), whose rounds are called turns here. In a turn
a node votes for one outcome. A node that sees `quorum` equal votes of its turn locks that outcome
and commits to it. `quorum` commits of one turn settle the outcome. If votes are split, a node goes
on to the next turn. There a locked node votes for what it has locked, until it sees `quorum` equal
votes of a later turn. Two quorums have an honest node in common, so no two outcomes are settled,
whatever the network does and whenever nodes stop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from enum import IntEnum

_LAST_TURN = 2**16 - 1  # as many as a header can count
_KEPT = 16  # turns of each node that are kept; the latest ones
_MOST_OF_TURN = 2  # digests of a node in one turn that are kept; an honest node states one


class Phase(IntEnum):
    """What a statement says of an outcome."""

    VOTE = 0
    COMMIT = 1


@dataclass(frozen=True, slots=True)
class Cast:
    """What a node has stated in a round, and must not forget. Outcomes are hashes; empty: none."""

    turn: int = 0
    vote: bytes = b""  # of the turn
    commit_turn: int = -1
    commit: bytes = b""  # the last one
    lock_turn: int = -1
    lock: bytes = b""


@dataclass(frozen=True, slots=True)
class Stated:
    """One statement of a node."""

    phase: Phase
    node: int
    turn: int
    digest: bytes
    raw: bytes = b""  # as it was signed


@dataclass(slots=True)
class Ballot:
    """The votes on one round, as one process sees them.

    Args:
        quorum: equal statements of one turn that are enough.
        faults: nodes that may lie.
        own: nodes of this process, which act as one.
        cast: what they stated before a restart.
    """

    quorum: int
    faults: int
    own: Collection[int]
    cast: Cast = Cast()
    proof: list[Stated] = field(default_factory=list)  # the votes behind the lock
    # phase -> node -> turn -> what it stated
    _heard: dict[Phase, dict[int, dict[int, list[Stated]]]] = field(
        default_factory=lambda: {phase: {} for phase in Phase}
    )

    def hear(self, said: Stated) -> bool:
        """Take in a statement; False if its node has stated something else in this place."""
        turns = self._heard[said.phase].setdefault(said.node, {})
        of_turn = turns.setdefault(said.turn, [])
        if all(before.digest != said.digest for before in of_turn) and len(of_turn) < _MOST_OF_TURN:
            of_turn.append(said)
        if len(turns) > _KEPT:
            del turns[min(turns)]
        return len(of_turn) < _MOST_OF_TURN

    def move(self, wish: bytes, *, expired: bool) -> bool:
        """Do what the statements heard so far ask for; whether `cast` has changed.

        Args:
            wish: the outcome that it votes for if nothing is locked; empty: none yet.
            expired: the time of the turn is over.
        """
        before = self.cast
        agreed = self._agreed(Phase.VOTE)
        if agreed and agreed[0].turn > self.cast.lock_turn:
            self.cast = replace(self.cast, lock_turn=agreed[0].turn, lock=agreed[0].digest)
            self.proof = agreed
        split = expired and self.num_voted(self.cast.turn) >= self.quorum
        turn = max(self._reached(), self.cast.turn + (split and self.cast.turn < _LAST_TURN))
        if turn > self.cast.turn:
            self.cast = replace(self.cast, turn=turn, vote=b"")
        if not self.cast.vote:
            self.cast = replace(self.cast, vote=self.cast.lock or wish)
        if agreed and agreed[0].turn == self.cast.turn > self.cast.commit_turn:
            self.commit(agreed[0])
        return self.cast != before

    def commit(self, to: Stated) -> None:
        """Commit to the outcome of a statement, in its turn."""
        self.cast = replace(self.cast, commit_turn=to.turn, commit=to.digest)

    def settled(self) -> list[Stated]:
        """The commits that settle the outcome; empty if there are too few."""
        return self._agreed(Phase.COMMIT)

    def votes(self, turn: int) -> Counter[bytes]:
        """How many nodes voted for each outcome in a turn."""
        heard = self._heard[Phase.VOTE].values()
        return Counter(said.digest for turns in heard for said in turns.get(turn, ()))

    def vote_of(self, node: int, turn: int) -> bytes:
        """The vote of a node in a turn; empty if it has none, or two."""
        said = self._heard[Phase.VOTE].get(node, {}).get(turn, [])
        return said[0].digest if len(said) == 1 else b""

    def latest(self) -> dict[int, set[bytes]]:
        """What each node stated last, in its latest turn; a commit counts before a vote."""
        found: dict[int, tuple[int, set[bytes]]] = {}
        for phase in Phase:
            for node, turns in self._heard[phase].items():
                turn = max(turns, default=-1)
                if turn >= found.get(node, (0, None))[0]:
                    found[node] = turn, {said.digest for said in turns[turn]}
        return {node: digests for node, (_, digests) in found.items()}

    def committed(self, turn: int = 0) -> set[int]:
        """The nodes that committed to an outcome in this turn or a later one."""
        heard = self._heard[Phase.COMMIT].items()
        return {node for node, turns in heard if max(turns, default=-1) >= turn}

    def num_voted(self, turn: int) -> int:
        """How many nodes have voted in this turn or a later one."""
        return sum(max(turns, default=-1) >= turn for turns in self._heard[Phase.VOTE].values())

    def _agreed(self, phase: Phase) -> list[Stated]:
        """The statements of the latest turn in which `quorum` nodes stated the same."""
        found: dict[tuple[int, bytes], list[Stated]] = {}
        for turns in self._heard[phase].values():
            for of_turn in turns.values():
                for said in of_turn:
                    found.setdefault((said.turn, said.digest), []).append(said)
        enough = [place for place, said in found.items() if len(said) >= self.quorum]
        return found[max(enough)] if enough else []

    def _reached(self) -> int:
        """The turn that at least one honest peer has reached."""
        turns = sorted(
            (
                max(own, default=0)
                for node, own in self._heard[Phase.VOTE].items()
                if node not in self.own
            ),
            reverse=True,
        )
        return turns[self.faults] if len(turns) > self.faults else 0
