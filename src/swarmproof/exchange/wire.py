"""Messages between nodes: msgpack of a fixed schema, checked before anything is believed.

A message carries one node's completions of one round. Nothing in it costs anybody but its sender:
what is malformed becomes a `Refusal` with a reason. Knows slots and sizes; not tokenizers (see
`admission`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from swarmproof.types import Completion, NodeId, Refusal, Slot

# Far above what any tokenizer packs into one token on average, far below what hurts.
MAX_BYTES_PER_TOKEN = 64
_OVERHEAD_PER_SLOT = 512


class _Item(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    problem_id: str
    index: int
    text: str
    token_ids: tuple[int, ...] | None = None


class _Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    round: int
    completions: list[_Item]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Message)


def encode(round: int, completions: Sequence[Completion]) -> bytes:
    """The message of one node. Its identity is the transport's to vouch for, not the message's."""
    items = [
        _Item(c.slot.problem_id, c.slot.index, _wellformed(c.text), c.token_ids)
        for c in completions
    ]
    return _encoder.encode(_Message(round, items))


def decode(
    payload: bytes, *, node: NodeId, round: int, slots: Collection[Slot], max_new_tokens: int
) -> tuple[list[Completion], list[Refusal]]:
    """Check a message against the slots that its sender was to fill.

    Args:
        payload: as received.
        node: who sent it, according to the transport.
        round: which round this is.
        slots: the sender's, each to be filled at most once.
        max_new_tokens: the longest completion that may be sent.

    Returns:
        what may be looked at further, in the order of `slots`, and what may not, with reasons.
    """
    limit = len(slots) * (max_new_tokens * (MAX_BYTES_PER_TOKEN + 5) + _OVERHEAD_PER_SLOT)
    if len(payload) > limit:
        reason = f"message of {len(payload)} bytes, more than the {limit} its slots allow"
        return [], [Refusal(node, None, reason)]
    try:
        message = _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # The error quotes what was sent, which may be long, or have line breaks in it.
        return [], [Refusal(node, None, f"not a message: {str(error)[:200]!r}")]
    if message.round != round:
        return [], [Refusal(node, None, f"for round {message.round}, not {round}")]

    wanted = set(slots)
    filled: dict[Slot, Completion] = {}
    refusals: list[Refusal] = []
    for item in message.completions:
        slot = Slot(round, item.problem_id, item.index)
        if slot not in wanted:
            refusals.append(Refusal(node, None, "a slot that is not the sender's"))
        elif slot in filled:
            refusals.append(Refusal(node, slot, "a slot filled twice; the first one counts"))
        elif len(item.text.encode()) > max_new_tokens * MAX_BYTES_PER_TOKEN:
            refusals.append(Refusal(node, slot, f"a text of {len(item.text)} characters"))
        else:
            filled[slot] = Completion(slot, node, item.text, item.token_ids)
    return [filled[slot] for slot in slots if slot in filled], refusals


def _wellformed(text: str) -> str:
    """Lone surrogates have no place in UTF-8; a text with one goes out with `?` instead."""
    return text.encode("utf-8", "replace").decode("utf-8")
