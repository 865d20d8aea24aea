"""The archive of a node: the messages that counted in each round of a real swarm.

The hashes over the entries are checked. Signatures are not: `swarmproof node verify` does that. The
prompt is the id of the problem, and there are no rewards, since neither travels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from swarmproof.scan.readers.inputs import Advance, Input
from swarmproof.scan.rollout import Rollout

NAME = "swarmproof node archive"
MAGIC = b"swarmproof archive 1\n"
MAX_BYTES = 1 << 28  # of an entry
_LENGTH, _HASH = 8, 32


class _Round(msgspec.Struct):
    round: int
    bodies: dict[int, bytes]  # by node


class _Item(msgspec.Struct):
    problem_id: str
    index: int
    text: str
    token_ids: tuple[int, ...] | None = None


class _Message(msgspec.Struct):
    completions: list[_Item]


_rounds, _messages = msgspec.msgpack.Decoder(_Round), msgspec.msgpack.Decoder(_Message)
_BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read(source: Input, advance: Advance) -> Iterator[Rollout]:
    """Rollouts of all rounds.

    An entry that is not whole at the end of the file is left out: the node is still writing.

    Raises:
        ValueError: the file is damaged.
    """
    with source.open() as file:
        for start, raw in _entries(source, file):
            try:
                entry = _rounds.decode(raw)
            except _BROKEN:
                raise _damaged(source, start) from None
            for node, body in sorted(entry.bodies.items()):
                yield from _of_message(
                    f"{source.path}:{entry.round}/{node}", entry.round, node, body
                )
            advance(_LENGTH + _HASH + len(raw))


def _entries(source: Input, file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    at, before = len(MAGIC), bytes(_HASH)
    file.seek(at)
    while at + _LENGTH + _HASH <= source.size:
        length = int.from_bytes(file.read(_LENGTH), "big")
        digest = file.read(_HASH)
        if at + _LENGTH + _HASH + length > source.size:
            return
        if length > MAX_BYTES:
            raise ValueError(f"{source.path}: the entry at byte {at} has over {MAX_BYTES:,} bytes")
        raw = file.read(length)
        if hashlib.sha256(before + raw).digest() != digest:
            raise _damaged(source, at)
        yield at, raw
        at, before = at + _LENGTH + _HASH + length, digest


def _damaged(source: Input, at: int) -> ValueError:
    return ValueError(f"{source.path}: is damaged at byte {at}; put back a whole archive")


def _of_message(where: str, step: int, node: int, body: bytes) -> Iterator[Rollout]:
    """The completions of one node. What nodes agree on is that it was sent, not that it is good."""
    try:
        items = _messages.decode(body).completions
    except _BROKEN:
        why = "wire: not a message"
        yield Rollout(where, where, "", "", where, step, sender=str(node), masked=True, verdict=why)
        return
    for number, item in enumerate(items):
        yield Rollout(
            f"{where}/{number}",
            f"{where}/{number}",
            item.problem_id,
            item.text,
            f"{step}/{item.problem_id}",
            step,
            sender=str(node),
            token_ids=item.token_ids,
        )
