"""Envelopes: a message counts in one place, as its node signed it, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signing import RUN, header_of, roster_of, signed, signers
from swarmproof.exchange.net import envelope
from swarmproof.exchange.net.envelope import (
    HEADER_BYTES,
    SIGNED_BYTES,
    EnvelopeError,
    Header,
    Kind,
    Signed,
)

ALL = signers(3)
ROSTER = roster_of(ALL)
LIMIT = 100
PLACE = envelope.expected_of(header_of(1))

headers = st.builds(
    Header,
    run=st.binary(min_size=32, max_size=32),
    round=st.integers(0, 2**64 - 1),
    node=st.integers(0, 2**16 - 1),
    kind=st.sampled_from(Kind),
    body=st.binary(min_size=32, max_size=32),
    length=st.integers(0, 2**64 - 1),
    attempt=st.integers(0, 2**16 - 1),
    step=st.integers(0, 255),
    weights=st.binary(min_size=32, max_size=32),
    slots=st.integers(0, 2**32 - 1),
    previous=st.binary(min_size=32, max_size=32),
)


def message(node: int = 1, body: bytes = b"body", **changes: Any) -> bytes:
    return signed(ALL[node], header_of(node, body, **changes)).encode() + body


def fault_of(raw: bytes, limit: int = LIMIT) -> str | None:
    try:
        envelope.open_message(raw, PLACE, ROSTER, limit)
    except EnvelopeError as error:
        return None if "\n" in str(error) else error.fault
    return None


def test_a_peer_of_another_version_is_told_apart() -> None:
    raw = header_of(1).encode()
    at = raw.index(bytes([envelope.VERSION]), 12)  # behind the tag
    later = raw[:at] + bytes([envelope.VERSION + 1]) + raw[at + 1 :]
    with pytest.raises(EnvelopeError, match=r"version 3, and this node reads version 2; install"):
        Header.decode(later)
    with pytest.raises(EnvelopeError, match="not a message of swarmproof"):
        Header.decode(b"x" + raw[1:])


@given(headers)
def test_a_header_comes_back_as_it_was_encoded(header: Header) -> None:
    raw = header.encode()
    assert len(raw) == HEADER_BYTES
    assert Header.decode(raw) == header


@given(headers, headers)
def test_two_headers_never_have_the_same_bytes(one: Header, other: Header) -> None:
    assert (one.encode() == other.encode()) == (one == other)


def test_what_a_node_signed_for_this_place_is_opened() -> None:
    found, body = envelope.open_message(message(), PLACE, ROSTER, LIMIT)
    assert (found.header, body) == (header_of(1), b"body")
    assert fault_of(message(body=b"x" * LIMIT)) is None


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (message(run=bytes(32)), "wrong run"),
        (message(round=4), "replayed"),
        (message(round=2), "replayed"),
        (message(0), "replayed"),  # of another node, rightly signed by it
        (message(kind=Kind.VIEW), "replayed"),
        (message(attempt=1), "replayed"),
        (message(step=1), "replayed"),
        (message(body=b"x" * (LIMIT + 1)), "oversized"),
        (b"x" * (SIGNED_BYTES + LIMIT + 1), "oversized"),
        (b"", "malformed"),
        (message()[:-1], "malformed"),
        (message() + b"x", "malformed"),
        (message()[:SIGNED_BYTES], "malformed"),
        (b"x" * SIGNED_BYTES, "malformed"),
    ],
)
def test_nothing_counts_elsewhere(raw: bytes, fault: str) -> None:
    assert fault_of(raw) == fault


def test_an_announced_length_is_refused_before_its_body_is_asked_for() -> None:
    found = signed(ALL[1], replace(header_of(1), length=2**63))
    with pytest.raises(EnvelopeError, match="oversized"):
        envelope.verify(found, PLACE, ROSTER, LIMIT)


def test_only_the_key_of_the_node_signs_for_it() -> None:
    forged = signed(ALL[2], header_of(1)).encode() + b"body"
    assert fault_of(forged) == "bad signature"
    unknown = signed(ALL[2], header_of(3)).encode() + b"body"
    assert fault_of(unknown) == "unknown key"


@given(st.integers(0, SIGNED_BYTES + 3), st.integers(1, 255))
def test_no_bit_can_be_changed(at: int, flip: int) -> None:
    raw = bytearray(message())
    raw[at] ^= flip
    assert fault_of(bytes(raw)) is not None


@given(st.binary(max_size=600))
def test_any_bytes_are_refused_with_a_fault(raw: bytes) -> None:
    assert fault_of(raw) in ("malformed", "oversized")


def test_a_digest_does_not_depend_on_the_signature() -> None:
    mine, other = (signed(signer, header_of(1)) for signer in ALL[:2])
    assert mine.signature != other.signature
    assert mine.digest == other.digest
    assert Signed.decode(mine.encode()) == mine


def test_a_relay_counts_in_one_attempt_and_never_as_a_header() -> None:
    digest = signed(ALL[1], header_of(1)).digest
    texts = {envelope.relay_bytes(digest, attempt) for attempt in range(300)}
    assert len(texts) == 300
    assert all(len(text) != HEADER_BYTES and not text.startswith(b"swarmproof/h") for text in texts)
    assert RUN not in envelope.relay_bytes(digest, 0)  # it is in the digest
