"""Messages between nodes: msgpack of a fixed schema, checked before any of it is used.

A message carries one node's completions of one round and, in a vertical swarm, the problems that
it picked. A malformed part harms only its sender: it becomes a `Refusal` with a reason, at most one
for each slot and one for each message. Knows slots and sizes, but not tokenizers (`admission`) or
which problems may be picked (`swarm.assignment`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import msgspec

from swarmproof.types import Completion, NodeId, Refusal, Slot

VERSION = 1
# Much more than the average token of any tokenizer, and small enough to be harmless.
MAX_BYTES_PER_TOKEN = 64
_OVERHEAD_PER_SLOT = 512
_OVERHEAD = 512


class _Item(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    problem_id: str
    index: int
    text: str
    token_ids: tuple[int, ...] | None = None


class _Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    run_id: str
    round: int
    completions: list[_Item]
    # The problems that the sender picked, in its order; None: the problems assigned to it.
    picks: list[str] | None = None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Message)


@dataclass(frozen=True, slots=True)
class Opened:
    """A message of this run and round, its completions not yet matched with slots."""

    node: NodeId
    round: int
    picks: tuple[str, ...] | None
    items: tuple[_Item, ...]


def max_bytes(num_slots: int, max_new_tokens: int) -> int:
    """The largest message of a node with this number of slots."""
    return _OVERHEAD + num_slots * (max_new_tokens * (MAX_BYTES_PER_TOKEN + 5) + _OVERHEAD_PER_SLOT)


def encode(
    round: int,
    completions: Sequence[Completion],
    *,
    run_id: str,
    picks: Sequence[str] | None = None,
) -> bytes:
    """The message of one node. The transport authenticates the sender, not the message."""
    items = [
        _Item(c.slot.problem_id, c.slot.index, _wellformed(c.text), c.token_ids)
        for c in completions
    ]
    chosen = None if picks is None else list(picks)
    return _encoder.encode(_Message(VERSION, run_id, round, items, chosen))


def open_message(
    payload: bytes, *, node: NodeId, round: int, run_id: str, limit: int
) -> Opened | Refusal:
    """Check a message as a whole.

    Args:
        payload: as received.
        node: the sender, according to the transport.
        round: number of this round.
        run_id: id of this run.
        limit: maximum size of the message in bytes.
    """

    def refuse(code: str, reason: str) -> Refusal:
        return Refusal(node, None, "wire", code, reason)

    if len(payload) > limit:
        reason = f"message of {len(payload)} bytes, more than the {limit} its slots allow"
        return refuse("too-large", reason)
    try:
        message = _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # The error quotes the message, which may be long or contain line breaks.
        return refuse("not-a-message", f"not a message: {str(error)[:200]!r}")
    if message.version != VERSION:
        return refuse("wrong-version", f"of wire version {message.version}, not {VERSION}")
    if message.run_id != run_id:
        return refuse("wrong-run", f"of the run {message.run_id[:32]!r}, not {run_id!r}")
    if message.round != round:
        return refuse("wrong-round", f"for round {message.round}, not {round}")
    picks = None if message.picks is None else tuple(message.picks)
    return Opened(node, round, picks, tuple(message.completions))


def match(
    message: Opened, slots: Collection[Slot], max_new_tokens: int
) -> tuple[list[Completion], list[Refusal]]:
    """Match a message's completions with the slots of its sender.

    Args:
        message: a message of this run and round.
        slots: the sender's slots, each to be filled at most once.
        max_new_tokens: the longest completion that may be sent.

    Returns:
        the completions that pass, in the order of `slots`, and the refusals with reasons.
    """
    wanted = set(slots)
    filled: dict[Slot, Completion] = {}
    refused: dict[Slot, Refusal] = {}
    num_foreign = 0
    for item in message.items:
        slot = Slot(message.round, item.problem_id, item.index)
        if slot not in wanted:
            num_foreign += 1
        elif slot in filled or slot in refused:
            if slot not in refused:
                reason = "a slot filled twice; the first one counts"
                refused[slot] = Refusal(message.node, slot, "wire", "filled-twice", reason)
        elif len(item.text.encode()) > max_new_tokens * MAX_BYTES_PER_TOKEN:
            reason = f"a text of {len(item.text)} characters"
            refused[slot] = Refusal(message.node, slot, "wire", "text-too-long", reason)
        else:
            filled[slot] = Completion(slot, message.node, item.text, item.token_ids)
    refusals = [refused[slot] for slot in slots if slot in refused]
    if num_foreign:
        reason = f"{num_foreign} completions for slots that are not the sender's"
        refusals.append(Refusal(message.node, None, "wire", "not-its-slot", reason))
    return [filled[slot] for slot in slots if slot in filled], refusals


def _wellformed(text: str) -> str:
    """Replace lone surrogates, which UTF-8 cannot encode, by `?`."""
    return text.encode("utf-8", "replace").decode("utf-8")
