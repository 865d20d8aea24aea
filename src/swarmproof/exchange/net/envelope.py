"""Signed messages: a header of fixed layout, an Ed25519 signature over it, and perhaps a body.

The signature covers the header's bytes as they were received; nothing is encoded again to check
it. The header binds run, round, attempt, step, node, kind and body, so that a message counts in
one place only. Knows no network, and not what a body means.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from swarmproof.exchange.net.roster import Roster

VERSION = 2
_TAG = b"swarmproof/h"  # no signature for another purpose starts like this
_RELAY_TAG = b"swarmproof/r"
_LAYOUT = struct.Struct(">12sB32sQHBHB32sQ32sI32s")
HEADER_BYTES = _LAYOUT.size
SIGNATURE_BYTES = 64
SIGNED_BYTES = HEADER_BYTES + SIGNATURE_BYTES
NOTHING = bytes(32)

# Reasons why a message is not used.
Fault = Literal[
    "malformed", "oversized", "wrong run", "replayed", "unknown key", "bad signature", "equivocated"
]  # fmt: skip


class Kind(IntEnum):
    """The purpose of a message."""

    COMPLETIONS = 1  # a node's message of a round
    VIEW = 2  # the headers that a node relays in a step
    OUTCOME = 3  # what a node committed to as the outcome of a round
    HELLO = 4  # a node is ready for an attempt at a round
    VOTE = 5  # what a node votes for as the outcome of a round


class EnvelopeError(ValueError):
    """A message that is not used.

    Args:
        fault: a word for the records.
        detail: one line for a log.
    """

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(f"{fault}: {detail}")
        self.fault: Fault = fault


@dataclass(frozen=True, slots=True)
class Header:
    """What a signature covers. All hashes are SHA-256."""

    run: bytes  # 32 bytes: run id, roster and rules of agreement (`Roster.swarm_id`)
    round: int
    node: int  # number in the roster
    kind: Kind
    body: bytes  # hash of the body
    length: int  # of the body, in bytes
    # Of VIEW and HELLO: the attempt at a round that lacked a quorum. Of VOTE and OUTCOME: the turn.
    attempt: int = 0
    step: int = 0  # of VIEW
    weights: bytes = NOTHING  # fingerprint of the weights that the node drew with
    slots: int = 0  # number of completions in the body
    previous: bytes = NOTHING  # hash of the node's header of the same kind in an earlier round

    def encode(self) -> bytes:
        """The bytes to sign."""
        return _LAYOUT.pack(
            _TAG, VERSION, self.run, self.round, self.node, self.kind, self.attempt, self.step,
            self.body, self.length, self.weights, self.slots, self.previous,
        )  # fmt: skip

    @classmethod
    def decode(cls, raw: bytes) -> Header:
        """Read a header.

        Raises:
            EnvelopeError: it is no header of this version.
        """
        if len(raw) != HEADER_BYTES:
            raise EnvelopeError("malformed", f"a header of {len(raw)} bytes, not {HEADER_BYTES}")
        (tag, version, run, round, node, kind, attempt, step,
         body, length, weights, slots, previous) = _LAYOUT.unpack(raw)  # fmt: skip
        if tag != _TAG:
            raise EnvelopeError("malformed", "not a message of swarmproof")
        if version != VERSION:
            raise EnvelopeError(
                "malformed",
                f"a message of version {version}, and this node reads version {VERSION}; install "
                "the same swarmproof on all nodes",
            )
        if kind not in Kind.__members__.values():
            raise EnvelopeError("malformed", f"of the unknown kind {kind}")
        return cls(
            run, round, node, Kind(kind), body, length, attempt, step, weights, slots, previous
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Signed:
    """A header with the signature of its node, both as received."""

    raw: bytes  # the header's bytes
    signature: bytes
    header: Header

    @property
    def digest(self) -> bytes:
        """Hash of the header. Without the signature, of which one header may have several."""
        return hashlib.sha256(self.raw).digest()

    def encode(self) -> bytes:
        """Header and signature, `SIGNED_BYTES` long."""
        return self.raw + self.signature

    @classmethod
    def decode(cls, raw: bytes) -> Signed:
        """Read a header with its signature. Does not check the signature: `verify` does.

        Raises:
            EnvelopeError: it is malformed.
        """
        if len(raw) != SIGNED_BYTES:
            raise EnvelopeError("malformed", f"{len(raw)} bytes, not {SIGNED_BYTES}")
        head = raw[:HEADER_BYTES]
        return cls(head, raw[HEADER_BYTES:], Header.decode(head))


@dataclass(frozen=True, slots=True)
class Expected:
    """What a receiver knows of a header beforehand. A message counts there and nowhere else."""

    run: bytes
    round: int
    node: int
    kind: Kind
    attempt: int = 0
    step: int = 0


def expected_of(header: Header) -> Expected:
    return Expected(
        header.run, header.round, header.node, header.kind, header.attempt, header.step
    )  # fmt: skip


def verify(signed: Signed, expected: Expected, roster: Roster, limit: int) -> None:
    """Check that a header is its node's, for this place, and announces no more than `limit` bytes.

    The cheap checks come first, so that the signature of a replayed message costs nothing.

    Raises:
        EnvelopeError: it is not.
    """
    header = signed.header
    if header.run != expected.run:
        raise EnvelopeError("wrong run", f"of the run {header.run.hex()[:16]}")
    if not 0 <= header.node < len(roster.keys):
        raise EnvelopeError("unknown key", f"node {header.node} is not in the roster")
    if expected_of(header) != expected:
        raise EnvelopeError("replayed", f"{expected_of(header)} instead of {expected}")
    if header.length > limit:
        raise EnvelopeError("oversized", f"announces {header.length} bytes, more than {limit}")
    if not roster.verifies(header.node, signed.signature, signed.raw):
        raise EnvelopeError("bad signature", f"not signed by node {header.node}")


def open_message(
    raw: bytes, expected: Expected, roster: Roster, limit: int
) -> tuple[Signed, bytes]:
    """Header and body of a message that carries its body.

    Raises:
        EnvelopeError: it is not for this place, or not what its node signed.
    """
    if len(raw) > SIGNED_BYTES + limit:
        raise EnvelopeError("oversized", f"{len(raw)} bytes, more than {SIGNED_BYTES + limit}")
    signed, body = Signed.decode(raw[:SIGNED_BYTES]), raw[SIGNED_BYTES:]
    verify(signed, expected, roster, limit)
    if not holds(signed.header, body):
        raise EnvelopeError("malformed", "the body is not the one that was signed")
    return signed, body


def holds(header: Header, body: bytes) -> bool:
    """Whether this is the body that the header announces."""
    return len(body) == header.length and hashlib.sha256(body).digest() == header.body


def relay_bytes(digest: bytes, attempt: int) -> bytes:
    """What a node signs to relay a header in an attempt at its round."""
    return _RELAY_TAG + attempt.to_bytes(2, "big") + digest
