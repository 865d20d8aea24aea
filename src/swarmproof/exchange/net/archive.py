"""What a swarm agreed on, round by round: an append-only file that a third party can check.

An entry holds the signed headers and bodies that count in a round, the proofs against liars, and
what nodes signed about the outcome. A quorum of commits of one turn proves the outcome. So an entry
is believed whoever sends it.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from swarmproof.exchange.net import envelope
from swarmproof.exchange.net.agreement import Decision, RoundRules, guilty
from swarmproof.exchange.net.ballot import Phase, Stated
from swarmproof.exchange.net.envelope import SIGNED_BYTES, EnvelopeError, Expected, Kind, Signed
from swarmproof.exchange.net.messages import OUTCOME_BYTES

_MAGIC = b"swarmproof archive 1\n"
_HASH = 32
_PHASES = {Kind.VOTE: Phase.VOTE, Kind.OUTCOME: Phase.COMMIT}
_Node = Annotated[int, msgspec.Meta(ge=0, lt=1 << 16)]


class AgreedRound(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One round."""

    round: int
    headers: dict[_Node, bytes]  # signed headers that count, by node
    bodies: dict[_Node, bytes]
    equivocators: list[_Node]
    evidence: list[bytes]
    outcomes: dict[_Node, bytes]  # signed commits to the outcome
    absent: dict[_Node, str] = {}  # reasons, as the node that wrote the archive saw them

    @classmethod
    def of(
        cls,
        round: int,
        decision: Decision,
        outcomes: Mapping[int, bytes],
        absent: Mapping[int, str],
    ) -> AgreedRound:
        return cls(
            round,
            {node: signed.encode() for node, signed in decision.headers.items()},
            dict(decision.bodies),
            sorted(decision.equivocators),
            list(decision.evidence),
            dict(outcomes),
            dict(absent),
        )

    def decision(self) -> Decision:
        return Decision(
            {node: Signed.decode(raw) for node, raw in self.headers.items()},
            self.bodies,
            frozenset(self.equivocators),
            frozenset(),
            tuple(self.evidence),
        )


_decoder = msgspec.msgpack.Decoder(AgreedRound)


def encode(entry: AgreedRound) -> bytes:
    return msgspec.msgpack.encode(entry)


def entry_limit(rules: RoundRules) -> int:
    """The largest entry of a swarm with these rules."""
    num_nodes = len(rules.roster.keys)
    return 4096 + num_nodes * (rules.limit + 8 * SIGNED_BYTES + 256)


def decode(raw: bytes, rules: RoundRules) -> AgreedRound:
    """An entry from anybody, with everything in it checked, except how many signed its outcome.

    Args:
        raw: an encoded entry.
        rules: of the round that was asked for.

    Raises:
        EnvelopeError: it is not what nodes signed, or contradicts itself.
    """
    try:
        entry = _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EnvelopeError("malformed", f"not an entry: {str(error)[:100]!r}") from None
    if entry.round != rules.round:
        raise EnvelopeError("replayed", f"an entry of round {entry.round}, not {rules.round}")
    if entry.headers.keys() != entry.bodies.keys() or {*entry.headers} & {*entry.equivocators}:
        raise EnvelopeError("malformed", "headers and bodies are not of the same nodes")
    decision = entry.decision()
    for node, signed in decision.headers.items():
        envelope.verify(signed, rules.expected(node), rules.roster, rules.limit)
        if not envelope.holds(signed.header, entry.bodies[node]):
            raise EnvelopeError("malformed", f"the body of node {node} is not what it signed")
    convicted = {guilty(proof, rules.roster, rules.limit) for proof in entry.evidence}
    if not convicted >= {*entry.equivocators}:
        raise EnvelopeError("malformed", "a node is out without a proof against it")
    for node, statement in entry.outcomes.items():
        read_commit(statement, node, rules)
    return entry


def supporters(entry: AgreedRound, rules: RoundRules) -> frozenset[int]:
    """The nodes that committed, in one turn, to just the outcome of a checked entry."""
    digest = entry.decision().digest(rules)
    by_turn: dict[int, set[int]] = {}
    for node, raw in entry.outcomes.items():
        said = read_commit(raw, node, rules)
        if said.digest == digest:
            by_turn.setdefault(said.turn, set()).add(node)
    return frozenset(max(by_turn.values(), key=len, default=()))


def read_commit(raw: bytes, node: int, rules: RoundRules) -> Stated:
    """A node's commit to an outcome of a round.

    Raises:
        EnvelopeError: it is not that.
    """
    said = read_stated(raw, rules)
    if (said.phase, said.node) != (Phase.COMMIT, node):
        raise EnvelopeError("malformed", f"not a commit of node {node}")
    return said


def read_stated(raw: bytes, rules: RoundRules) -> Stated:
    """What a node, whichever it is, states of the outcome of a round.

    Raises:
        EnvelopeError: it is not a statement about this round.
    """
    header = Signed.decode(raw[:SIGNED_BYTES]).header
    if header.kind not in _PHASES:
        raise EnvelopeError("malformed", "not about an outcome")
    expected = Expected(rules.run, rules.round, header.node, header.kind, header.attempt)
    _, body = envelope.open_message(raw, expected, rules.roster, OUTCOME_BYTES)
    if len(body) != OUTCOME_BYTES:
        raise EnvelopeError("malformed", "an outcome without a digest")
    return Stated(_PHASES[header.kind], header.node, header.attempt, body, raw)


class Archive:
    """The entries of one run. May be read by several threads; written by one.

    A frame of the file is its length, a hash over it and the hash before it, and the entry. So
    nothing in the middle can be changed or left out. A half-written last frame is cut off.

    Args:
        path: the file; None: entries are kept in memory, only the last few.
        read_only: the file is not changed, and must exist.

    Raises:
        ValueError: the file is another's or damaged.
        OSError: it cannot be written.
    """

    def __init__(self, path: Path | None, *, read_only: bool = False) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._memory: dict[int, bytes] = {}
        self._where: dict[int, tuple[int, int]] = {}  # round -> offset and length
        self._hash, self._end = bytes(_HASH), len(_MAGIC)
        if path is not None:
            if not read_only and not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(_MAGIC)
            self._open(path)
            if not read_only:
                os.truncate(path, self._end)

    @property
    def last(self) -> int:
        """The last round in it; -1 if there is none."""
        return max((*self._where, *self._memory), default=-1)

    def append(self, round: int, raw: bytes) -> None:
        """Add the entry of the next round, on disk when this returns.

        Raises:
            OSError: the disk is full, for example; nothing was added.
        """
        assert round == self.last + 1 or self._path is None or not self._where
        if self._path is None:
            with self._lock:
                self._memory[round] = raw
                self._memory.pop(round - 4, None)
            return
        digest = hashlib.sha256(self._hash + raw).digest()
        frame = len(raw).to_bytes(8, "big") + digest + raw
        # Without a buffer, which would be written again when the file is closed.
        with self._path.open("r+b", buffering=0) as file:
            start, left = file.seek(self._end), memoryview(frame)
            try:
                while left:
                    left = left[file.write(left) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(start)
                raise
        with self._lock:
            self._where[round] = (start + 8 + _HASH, len(raw))
        self._hash, self._end = digest, start + len(frame)

    def read(self, round: int) -> bytes | None:
        """The entry of a round, encoded; None if there is none."""
        with self._lock:
            place, raw = self._where.get(round), self._memory.get(round)
        if place is None or self._path is None:
            return raw
        with self._path.open("rb") as file:
            file.seek(place[0])
            return file.read(place[1])

    def _open(self, path: Path) -> None:
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise ValueError(f"{path} is not an archive of swarmproof; choose another file")
            size = os.fstat(file.fileno()).st_size
            while (start := self._end) + 8 + _HASH <= size:
                length = int.from_bytes(file.read(8), "big")
                digest = file.read(_HASH)
                if start + 8 + _HASH + length > size:
                    break  # killed while it wrote
                raw = file.read(length)
                if hashlib.sha256(self._hash + raw).digest() != digest:
                    raise ValueError(f"{path} is damaged at byte {start}; put back a whole one")
                self._where[_round_of(raw, path)] = (start + 8 + _HASH, length)
                self._hash, self._end = digest, start + 8 + _HASH + length


class _Round(msgspec.Struct):
    round: int


def _round_of(raw: bytes, path: Path) -> int:
    try:
        return msgspec.msgpack.decode(raw, type=_Round).round
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ValueError(f"{path} is damaged; put back a whole one") from None
