"""Nodes that lie to their peers: real nodes with a real key whose answers are bent.

For research and tests: `swarmproof swarm up --liar NODE=KIND`, `swarmproof node run --lie KIND`
(docs/nodes.md). A liar follows the swarm, so that its lies are about the round that the others
play. What it asks, and what it trains on, is what an honest node asks and trains on. Nothing of
this is imported where no node lies.

The first paragraph of each docstring says what the lie is, the second what honest nodes say of it.
"""

from __future__ import annotations

import hashlib
import os
import random
import threading
import time
from collections.abc import Sequence
from typing import ClassVar

from swarmproof.exchange.net import messages
from swarmproof.exchange.net.agreement import Relay, RoundRules
from swarmproof.exchange.net.envelope import Header, Kind, Signed
from swarmproof.exchange.net.keys import Signer
from swarmproof.exchange.net.messages import seal
from swarmproof.exchange.net.outcomes import ASK
from swarmproof.exchange.net.transport import Values
from swarmproof.registry import did_you_mean

_MOST = 2**63 - 1  # the largest number of a round


class Liar(Values):
    """What a node answers. This one is honest.

    Args:
        node: its number.
        signer: its key.
        rules: of the swarm; their round is not used.
        deadline: seconds for the messages of a round.
    """

    # Reasons of which honest nodes must give one: that of an absence, or "proof" (in an archive),
    # "other slots" (malformed completions in the records), "two outcomes" (in the log).
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

    def is_own_header(self, key: str) -> int | None:
        """The round whose header of this node is asked for."""
        kind, _, rest = key.partition("/")
        number, _, of = rest.partition("/")
        return _number(number) if kind == "h" and of in ("", str(self.node)) else None

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
    """Signs two messages for each round; every second question for it gets the other one.

    Honest nodes: absent as `equivocated`; both headers stay in their archives as a proof.
    """

    expected = frozenset({"equivocated"})

    def get(self, key: str) -> bytes | None:
        round = self.is_own_header(key)
        if round in self.own:
            self.turn += 1
            if self.turn % 2:
                return self.another(round, b"the other body")
        return super().get(key)


class Withholding(Liar):
    """Announces a message in each round, and gives its body to nobody.

    Honest nodes: absent as `missing`.
    """

    expected = frozenset({"missing"})

    def get(self, key: str) -> bytes | None:
        own = tuple(self.own.values())  # the node's own thread adds to them
        withheld = {f"b/{signed.header.body.hex()}" for signed in own}
        return None if key in withheld else super().get(key)


class Late(Liar):
    """Shows its message a tenth of a second after the deadline, from the second round on.

    Honest nodes: absent as `late` or `missing`. A slow node may look the same.
    """

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
    """Sends its message of the round before instead of a new one.

    Honest nodes: absent as `replayed`.
    """

    expected = frozenset({"replayed"})

    def get(self, key: str) -> bytes | None:
        round = self.is_own_header(key)
        if round and round - 1 in self.own:
            return self.own[round - 1].encode()
        return super().get(key)


class Flooding(Liar):
    """Sends fifty replies of 200 random bytes to every question.

    Honest nodes: absent as `malformed`. They look at one reply of a session to a question.
    """

    expected = frozenset({"malformed"})

    def replies(self, key: str) -> Sequence[bytes]:  # noqa: ARG002
        return [os.urandom(200) for _ in range(50)]


class Oversized(Liar):
    """Announces a message longer than one may be, and answers all else with five megabytes.

    Honest nodes: absent as `oversized`.
    """

    expected = frozenset({"oversized"})

    def get(self, key: str) -> bytes | None:
        round = self.is_own_header(key)
        if round in self.own:
            return self.another(round, b"long", length=self.rules.limit + 1)
        return bytes(5_000_000)


class Dripping(Liar):
    """Takes longer for every answer than a peer waits for one.

    Honest nodes: absent as `late` or `missing`.
    """

    expected = frozenset({"late", "missing"})

    def __init__(self, node: int, signer: Signer, rules: RoundRules, deadline: float) -> None:
        super().__init__(node, signer, rules, deadline)
        self.left = threading.Event()

    def get(self, key: str) -> bytes | None:
        # Answers are given one after another. Without this a node could not leave for minutes.
        self.left.wait(ASK + 0.5)
        return super().get(key)

    def close(self) -> None:
        self.left.set()


class BodyCopying(Liar):
    """Sends another node's message under its own signature, and none if it has none to copy.

    Honest nodes: its message counts, and all its completions are malformed: they are for the slots
    of the other node. Its views have its true message, so archives may have both as a proof.
    """

    expected = frozenset({"other slots"})

    def __init__(self, node: int, signer: Signer, rules: RoundRules, deadline: float) -> None:
        super().__init__(node, signer, rules, deadline)
        self.victims: dict[int, Header] = {}
        self.copied: dict[int, bytes] = {}

    def put(self, key: str, value: bytes) -> None:
        kind, number, *rest = key.split("/")
        if kind == "h" and rest and int(rest[0]) != self.node:
            self.victims[int(number)] = Signed.decode(value).header
        super().put(key, value)

    def get(self, key: str) -> bytes | None:
        round = self.is_own_header(key)
        if round is None or round not in self.own:
            return super().get(key)
        victim = self.victims.get(round)
        body = victim and Values.get(self, f"b/{victim.body.hex()}")
        # A second copy, of another node's, would be an equivocation.
        if round not in self.copied and body:
            self.copied[round] = self.another(round, body)
        return self.copied.get(round)


class Garbage(Liar):
    """Answers every question with 300 random bytes, which is more than a header has.

    Honest nodes: absent as `malformed` or `oversized`.
    """

    expected = frozenset({"malformed", "oversized"})

    def get(self, key: str) -> bytes | None:  # noqa: ARG002
        return os.urandom(300)


class SplitViews(Liar):
    """Shows a second message of its own in the last step, to some nodes only.

    Honest nodes: absent as `equivocated`, or a proof in their archives.
    """

    expected = frozenset({"equivocated", "proof"})

    def get(self, key: str) -> bytes | None:
        kind, *rest = key.split("/")
        if kind == "v" and len(rest) == 4 and rest[-1] == str(self.node):
            round, attempt, step = map(_number, rest[:3], (_MOST, 2**16 - 1, 2**8 - 1))
            self.turn += 1
            if round in self.own and attempt is not None and step is not None and self.turn % 2:
                return self._view(round, attempt, step)
        return super().get(key)

    def _view(self, round: int, attempt: int, step: int) -> bytes:
        other = Signed.decode(self.another(round, b"the other body"))
        return messages.message(
            self.signer, Kind.VIEW, messages.encode_view([Relay(other, {})]),
            run=self.rules.run, round=round, node=self.node, attempt=attempt, step=step,
        )  # fmt: skip


class TwoOutcomes(Liar):
    """Votes for another outcome of the round in half of its answers.

    Honest nodes: its message counts; their logs say that it stated two outcomes.
    """

    expected = frozenset({"two outcomes"})

    def __init__(self, node: int, signer: Signer, rules: RoundRules, deadline: float) -> None:
        super().__init__(node, signer, rules, deadline)
        self.rng = random.Random(0)

    def get(self, key: str) -> bytes | None:
        kind, _, number = key.partition("/")
        round = _number(number)
        if kind == "o" and round is not None and self.rng.random() < 0.5:
            return messages.message(
                self.signer, Kind.VOTE, hashlib.sha256(b"x").digest(),
                run=self.rules.run, round=round, node=self.node,
            )  # fmt: skip
        return super().get(key)


LIARS: dict[str, type[Liar]] = {
    "equivocation": Equivocation,
    "withholding": Withholding,
    "late": Late,
    "replay": Replaying,
    "flood": Flooding,
    "oversized": Oversized,
    "slow-drip": Dripping,
    "copying": BodyCopying,
    "garbage": Garbage,
    "split-views": SplitViews,
    "two-outcomes": TwoOutcomes,
}


def find(kind: str) -> type[Liar]:
    """The liar of this name.

    Raises:
        ValueError: there is none; lists the known ones.
    """
    if kind not in LIARS:
        raise ValueError(
            f"no lie is called {kind!r:.60}{did_you_mean(kind, LIARS)}; `swarmproof node lies` "
            "says what each of them is"
        )
    return LIARS[kind]


def _number(text: str, most: int = _MOST) -> int | None:
    """A part of a key that is a number which a header can hold. Peers ask for anything."""
    number = int(text) if text.isdecimal() and len(text) < 20 else -1
    return number if 0 <= number <= most else None
