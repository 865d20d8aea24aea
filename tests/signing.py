"""Builders for tests of the network: signers, rosters, signed headers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from swarmproof.exchange.net.envelope import Header, Kind, Signed
from swarmproof.exchange.net.keys import Signer
from swarmproof.exchange.net.roster import Roster

RUN = hashlib.sha256(b"a run").digest()


@cache
def signers(count: int) -> tuple[Signer, ...]:
    """The same in each test, so that a failure can be repeated."""
    return tuple(
        Signer(Ed25519PrivateKey.from_private_bytes(bytes([i] * 32))) for i in range(count)
    )


def roster_of(some: Sequence[Signer]) -> Roster:
    return Roster(tuple(signer.public for signer in some))


def header_of(node: int, body: bytes = b"body", **changes: Any) -> Header:
    values: dict[str, Any] = {
        "run": RUN,
        "round": 3,
        "kind": Kind.COMPLETIONS,
        "body": hashlib.sha256(body).digest(),
        "length": len(body),
    }
    return Header(node=node, **values | changes)


def signed(signer: Signer, header: Header) -> Signed:
    raw = header.encode()
    return Signed(raw, signer.sign(raw), header)
