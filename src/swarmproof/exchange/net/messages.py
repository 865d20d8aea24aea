"""The bodies of the messages by which nodes agree: views and outcomes. All are hostile input.

A view is the list of headers that a node relays in a step. An outcome is the hash of what a node
decided about a round.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated

import msgspec

from swarmproof.exchange.net.agreement import Relay
from swarmproof.exchange.net.envelope import (
    SIGNATURE_BYTES,
    SIGNED_BYTES,
    EnvelopeError,
    Header,
    Kind,
    Signed,
)
from swarmproof.exchange.net.keys import Signer

OUTCOME_BYTES = 32
_Signature = Annotated[bytes, msgspec.Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]
_Node = Annotated[int, msgspec.Meta(ge=0, lt=1 << 16)]


class _Item(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    signed: Annotated[bytes, msgspec.Meta(min_length=SIGNED_BYTES, max_length=SIGNED_BYTES)]
    signatures: list[tuple[_Node, _Signature]]


_decoder = msgspec.msgpack.Decoder(list[_Item])


def view_limit(num_nodes: int, faults: int) -> int:
    """The largest body of a view: two headers of each node, with a signature for each step."""
    return 16 + 2 * num_nodes * (SIGNED_BYTES + 16 + (faults + 2) * (SIGNATURE_BYTES + 8))


def encode_view(relays: Sequence[Relay]) -> bytes:
    return msgspec.msgpack.encode(
        [_Item(relay.signed.encode(), list(relay.signatures.items())) for relay in relays]
    )


def decode_view(body: bytes, num_nodes: int) -> list[Relay]:
    """The headers of a view. Their signatures are not checked yet.

    Raises:
        EnvelopeError: it is malformed, or longer than the view of an honest node.
    """
    try:
        items = _decoder.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise EnvelopeError("malformed", f"not a view: {str(error)[:100]!r}") from None
    if len(items) > 2 * num_nodes:
        raise EnvelopeError("oversized", f"a view with {len(items)} headers")
    return [Relay(Signed.decode(item.signed), dict(item.signatures)) for item in items]


def seal(signer: Signer, header: Header) -> Signed:
    """Sign a header."""
    raw = header.encode()
    return Signed(raw, signer.sign(raw), header)


def message(
    signer: Signer,
    kind: Kind,
    body: bytes,
    *,
    run: bytes,
    round: int,
    node: int,
    attempt: int = 0,
    step: int = 0,
) -> bytes:
    """A signed message that carries its body."""
    digest = hashlib.sha256(body).digest()
    header = Header(run, round, node, kind, digest, len(body), attempt, step)
    return seal(signer, header).encode() + body
