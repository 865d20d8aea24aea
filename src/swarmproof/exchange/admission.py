"""From a claim to a completion that can be verified, rewarded and trained on.

One canonical object: the token ids must be what the text is made of, or the text is tokenised
here. Knows the receiver's tokenizer, and no defence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from swarmproof.types import Completion, Refusal

if TYPE_CHECKING:
    from swarmproof.policies.policy import Policy


def admit(
    completions: Sequence[Completion], policy: Policy
) -> tuple[list[Completion], list[Refusal]]:
    """Completions with token ids of the receiver's vocabulary, and the refusals of the rest.

    The rule, to the letter. Token ids are 1 to `max_new_tokens` numbers within the vocabulary;
    end-of-text may only be the last; the rest decode to exactly the text. Where there are none,
    the text is tokenised by the receiver's tokenizer, with control tokens spelt out in it taken as
    text, and end-of-text is added unless the text alone fills `max_new_tokens`; it must not be
    longer, and its tokens must decode to exactly the text.
    """
    admitted: dict[int, Completion] = {}
    refusals: list[Refusal] = []
    limit = policy.sampling.max_new_tokens
    claimed: list[int] = []
    for i, completion in enumerate(completions):
        ids = completion.token_ids
        if ids is None:
            try:
                ids = policy.encode(completion.text)
            except ValueError as error:
                refusals.append(Refusal(completion.node, completion.slot, str(error)))
                continue
            ids = ids[:-1] if len(ids) == limit + 1 else ids
        else:
            claimed.append(i)
        if reason := _malformed(ids, limit, policy):
            refusals.append(Refusal(completion.node, completion.slot, reason))
        else:
            admitted[i] = replace(completion, token_ids=ids)

    claimed = [i for i in claimed if i in admitted]
    decoded = policy.decode([admitted[i].token_ids or () for i in claimed])
    for i, text in zip(claimed, decoded, strict=True):
        if text != completions[i].text:
            del admitted[i]
            reason = "the token ids are not what the text is made of"
            refusals.append(Refusal(completions[i].node, completions[i].slot, reason))
    return list(admitted.values()), refusals


def _malformed(ids: tuple[int, ...], limit: int, policy: Policy) -> str:
    """Why these cannot be the tokens of a completion; empty if they can."""
    if not ids:
        return "no tokens"
    if len(ids) > limit:
        return f"{len(ids)} tokens, more than {limit}"
    if min(ids) < 0 or max(ids) >= policy.vocab_size:
        return "a token id outside the vocabulary"
    if policy.eos_token_id in ids[:-1]:
        return "tokens after the end-of-text"
    return ""
