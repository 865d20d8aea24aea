"""From a claim to a completion that can be verified, rewarded and trained on.

There is one canonical object: the token ids must decode to the text, or the text is tokenised
here. Knows the receiver's tokenizer, but no defence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from swarmproof.types import Completion, Refusal

if TYPE_CHECKING:
    from swarmproof.policies.codec import Codec


def admit(
    completions: Sequence[Completion], codec: Codec, max_new_tokens: int
) -> tuple[list[Completion], list[Refusal]]:
    """Completions with token ids of the receiver's vocabulary, and the refusals of the rest.

    The exact rule. Token ids are 1 to `max_new_tokens` numbers within the vocabulary. An
    end-of-text token (a model may declare several) may only be the last one. The other tokens
    decode to exactly the text. If there are no token ids, the receiver's tokenizer tokenises the
    text; control tokens written in the text are treated as text. End-of-text is added unless the
    text alone fills `max_new_tokens`. The text must not be longer than that, and its tokens must
    decode to exactly the text.
    """
    admitted: dict[int, Completion] = {}
    refusals: list[Refusal] = []
    claimed: list[int] = []
    for i, completion in enumerate(completions):
        ids = completion.token_ids
        if ids is None:
            try:
                ids = codec.encode(completion.text)
            except ValueError as error:
                refusals.append(_refusal(completion, "not-tokenisable", str(error)))
                continue
            ids = ids[:-1] if len(ids) == max_new_tokens + 1 else ids
        else:
            claimed.append(i)
        if fault := _malformed(ids, max_new_tokens, codec):
            refusals.append(_refusal(completion, *fault))
        else:
            admitted[i] = replace(completion, token_ids=ids)

    claimed = [i for i in claimed if i in admitted]
    decoded = codec.decode([admitted[i].token_ids or () for i in claimed])
    for i, text in zip(claimed, decoded, strict=True):
        if text != completions[i].text:
            del admitted[i]
            reason = "the token ids are not what the text is made of"
            refusals.append(_refusal(completions[i], "not-its-text", reason))
    return list(admitted.values()), refusals


def _refusal(completion: Completion, code: str, reason: str) -> Refusal:
    return Refusal(completion.node, completion.slot, "admission", code, reason)


def _malformed(ids: tuple[int, ...], limit: int, codec: Codec) -> tuple[str, str] | None:
    """Code and reason why these are not valid tokens of a completion; None if they are valid."""
    if not ids:
        return "empty", "no tokens"
    if len(ids) > limit:
        return "too-long", f"{len(ids)} tokens, more than {limit}"
    if not codec.known_ids.issuperset(ids):
        return "unknown-token", "a token id outside the vocabulary"
    if not codec.end_ids.isdisjoint(ids[:-1]):
        return "after-end", "tokens after the end-of-text"
    return None
