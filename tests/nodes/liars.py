"""Liars of the network: nodes with a real key that answer their peers otherwise than they should.

A liar is a real node whose answers are bent. It follows the swarm, so that its lies are about the
round that the others play. `EXPECTED` says by what the honest nodes must name each of them.
"""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import Sequence
from typing import ClassVar

from swarmproof.exchange.net import messages
from swarmproof.exchange.net.agreement import Relay, RoundRules
from swarmproof.exchange.net.envelope import Header, Kind, Signed
from swarmproof.exchange.net.keys import Signer
from swarmproof.exchange.net.messages import seal
from swarmproof.exchange.net.transport import Values


class Liar(Values):
    """What a node answers. This one is honest.

    Args:
        node: its number.
        signer: its key.
        rules: of the swarm; their round is not used.
        deadline: seconds for the messages of a round.
    """

    # Reasons for an absence of which one must be given for it; "proof", "other slots".
    expected: ClassVar[frozenset[str]] = frozenset()
    # Whether its only fault is the time: a message of it that comes in time is no lie.
    only_time: ClassVar[bool] = False

    def __init__(self, node: int, signer: Signer, rules: RoundRules, deadline: float) -> None:
        super().__init__()
        self.node, self.signer, self.rules, self.deadline = node, signer, rules, deadline
        self.turn = 0
        self.own: dict[int, Signed] = {}  # true headers by round
        self.bodies: dict[str, bytes] = {}  # of false headers, by key
        self.decided: dict[int, float] = {}  # when this node stated an outcome

    def put(self, key: str, value: bytes) -> None:
        kind, number, *rest = key.split("/")
        if kind == "h" and (not rest or int(rest[0]) == self.node):
            self.own[int(number)] = Signed.decode(value)
        if kind == "o":
            self.decided.setdefault(int(number), time.monotonic())
        super().put(key, value)

    def get(self, key: str) -> bytes | None:
        """One answer; called in threads of the transport."""
        return self.bodies.get(key) or super().get(key)

    def replies(self, key: str) -> Sequence[bytes]:
        """All that is sent in answer to a question."""
        value = self.get(key)
        return () if value is None else (value,)

    def is_own_header(self, key: str) -> int | None:
        """The round whose header of this node is asked for."""
        kind, _, rest = key.partition("/")
        number, _, of = rest.partition("/")
        return int(number) if kind == "h" and of in ("", str(self.node)) else None

    def another(self, round: int, body: bytes, **changes: int) -> bytes:
        """A second header of this node for a round, of a body that it serves as well."""
        true = self.own[round].header
        digest = hashlib.sha256(body).digest()
        self.bodies[f"b/{digest.hex()}"] = body
        header = Header(
            true.run, round, true.node, true.kind, digest, changes.get("length", len(body)),
            weights=true.weights, slots=true.slots, previous=true.previous,
        )  # fmt: skip
        return seal(self.signer, header).encode()


class Equivocation(Liar):
    """Two headers for one round; every second question gets the other one."""

    expected = frozenset({"equivocated"})

    def get(self, key: str) -> bytes | None:
        round = self.is_own_header(key)
        self.turn += 1
        if round in self.own and self.turn % 2:
            return self.another(round, b"the other body")
        return super().get(key)


class Withholding(Liar):
    """A header whose body nobody gets."""

    expected = frozenset({"missing"})

    def get(self, key: str) -> bytes | None:
        return None if key in {f"b/{s.header.body.hex()}" for s in self.own.values()} else (
            super().get(key)
        )  # fmt: skip


class Late(Liar):
    """Its header comes a moment after the deadline, from the second round on."""

    expected = frozenset({"late", "missing"})
    only_time = True

    def get(self, key: str) -> bytes | None:
        round = self.is_own_header(key)
        if round:
            due = self.decided.get(round - 1, time.monotonic()) + self.deadline + 0.1
            if time.monotonic() < due:
                return None
        return super().get(key)


class Replaying(Liar):
    """Old messages instead of new ones."""

    expected = frozenset({"replayed"})

    def get(self, key: str) -> bytes | None:
        round = self.is_own_header(key)
        if round and round - 1 in self.own:
            return self.own[round - 1].encode()
        return super().get(key)


class Flooding(Liar):
    """Fifty replies of rubbish to every question, and no end of questions."""

    expected = frozenset({"malformed"})

    def replies(self, key: str) -> Sequence[bytes]:  # noqa: ARG002
        return [os.urandom(200)] * 50


class Oversized(Liar):
    """A signed header that announces more than a message may have, and huge answers."""

    expected = frozenset({"oversized"})

    def get(self, key: str) -> bytes | None:
        round = self.is_own_header(key)
        if round in self.own:
            return self.another(round, b"long", length=self.rules.limit + 1)
        return bytes(5_000_000)


class Dripping(Liar):
    """Every answer takes longer than a peer waits for one."""

    expected = frozenset({"late", "missing"})

    def get(self, key: str) -> bytes | None:
        time.sleep(2.5)
        return super().get(key)


class BodyCopying(Liar):
    """Another node's message under its own signature."""

    expected = frozenset({"other slots"})
    copied: dict[int, bytes]

    def put(self, key: str, value: bytes) -> None:
        kind, number, *rest = key.split("/")
        if kind == "h" and rest and int(rest[0]) != self.node:
            self.victims = getattr(self, "victims", {})
            self.victims[int(number)] = Signed.decode(value).header
        super().put(key, value)

    def get(self, key: str) -> bytes | None:
        round = self.is_own_header(key)
        if round in self.own:
            victim = getattr(self, "victims", {}).get(round)
            body = victim and Values.get(self, f"b/{victim.body.hex()}")
            # Nothing before it can copy, and nothing else than its first copy.
            copied = self.bodies.get(f"h/{round}")
            if copied is None and body:
                copied = self.bodies[f"h/{round}"] = self.another(round, body)
            return copied
        return super().get(key)


class Garbage(Liar):
    """Random bytes for everything, more than a header has."""

    expected = frozenset({"malformed", "oversized"})

    def get(self, key: str) -> bytes | None:  # noqa: ARG002
        return os.urandom(300)


class SplitViews(Liar):
    """In the last step it shows a second header, to some nodes only."""

    expected = frozenset({"equivocated", "proof"})

    def get(self, key: str) -> bytes | None:
        kind, number, *rest = key.split("/")
        self.turn += 1
        if kind == "v" and rest[-1] == str(self.node) and int(number) in self.own and self.turn % 2:
            round, attempt, step = int(number), int(rest[0]), int(rest[1])
            other = Signed.decode(self.another(round, b"the other body"))
            return messages.message(
                self.signer, Kind.VIEW, messages.encode_view([Relay(other, {})]),
                run=self.rules.run, round=round, node=self.node, attempt=attempt, step=step,
            )  # fmt: skip
        return super().get(key)


class Returning(Liar):
    """Tells no lie; the harness stops it, puts back its state of rounds ago, and starts it."""

    expected = frozenset({"missing", "late"})
    only_time = True


class TwoOutcomes(Liar):
    """Votes for another outcome in half of its answers."""

    expected = frozenset({"two outcomes"})
    rng = random.Random(0)

    def get(self, key: str) -> bytes | None:
        kind, number, *_ = key.split("/")
        if kind == "o" and number.isdecimal() and self.rng.random() < 0.5:
            return messages.message(
                self.signer, Kind.VOTE, hashlib.sha256(b"x").digest(),
                run=self.rules.run, round=int(number), node=self.node,
            )  # fmt: skip
        return super().get(key)


KINDS: dict[str, type[Liar]] = {
    "equivocation": Equivocation,
    "withholding": Withholding,
    "late by a little": Late,
    "replay": Replaying,
    "flood": Flooding,
    "oversized": Oversized,
    "slow drip": Dripping,
    "copying": BodyCopying,
    "garbage": Garbage,
    "split views": SplitViews,
    "old state": Returning,
    "two outcomes": TwoOutcomes,
}
