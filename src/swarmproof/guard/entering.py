"""What a guard refuses before any defence reads it: completions that no model could score.

The same rule as admission's for token ids, for a trainer that has no admission. What is refused
here stops nobody: the others of its group are inspected. Knows no defence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from swarmproof.guard.gate import MOST_SUSPICIOUS, TOKENS
from swarmproof.guard.inspection import Verdicts
from swarmproof.policies.codec import Codec
from swarmproof.types import Completion, Group, Tokens, Verdict


class Limits(NamedTuple):
    """How long a completion may be; None where nothing is known."""

    tokens: int | None = None
    # Positions of the model that will score it. Beyond them a model computes with positions that it
    # never learnt, or fails.
    context: int | None = None


def entered(
    groups: Sequence[Group], codec: Codec | None, limits: Limits, *, scored: bool
) -> tuple[list[Group], list[list[Verdicts]]]:
    """Groups with tokens for every completion, where there is a tokenizer, and refusals.

    The exact rule. Token ids are of the tokenizer's vocabulary, and not more than the limits allow.
    If there are no token ids, the text is tokenised. End-of-text is added unless the text alone has
    as many tokens as are allowed. A refused completion has end-of-text in place of its tokens, so
    that a model can score the others.

    Args:
        groups: the groups of a round.
        codec: the tokenizer, if one is known.
        limits: of the length of a completion.
        scored: whether the caller has a score for each token that it gave, so that a refused
            completion keeps their number.

    Raises:
        ValueError: a prompt leaves no room in the context.
    """
    result: list[Group] = []
    extra: list[list[Verdicts]] = []
    for group in groups:
        room = _room(group, codec, limits.context)
        found = [
            _tokens(completion, codec, limits.tokens, room) for completion in group.completions
        ]
        completions = []
        for completion, (ids, why) in zip(group.completions, found, strict=True):
            if why and codec is not None:
                count = len(completion.token_ids or ()) if scored else 0
                ids = (codec.eos_token_id,) * max(1, count)
            same = ids is completion.token_ids
            completions.append(completion if same else replace(completion, token_ids=ids))
        same = all(new is old for new, old in zip(completions, group.completions, strict=True))
        result.append(group if same else replace(group, completions=tuple(completions)))
        extra.append([(_refusal(why),) if why else () for _, why in found])
    return result, extra


def _refusal(why: str) -> Verdict:
    return Verdict(TOKENS, False, MOST_SUSPICIOUS, why)


def _room(group: Group, codec: Codec | None, context: int | None) -> int | None:
    """The tokens that fit behind the prompt; None where nothing limits them."""
    if codec is None or context is None:
        return None
    room = context - len(codec.encode_prompt(group.prompt))
    if room < 1:
        raise ValueError(
            f"the prompt {group.prompt!r:.80} has {context - room} tokens, and the context of the "
            f"guard's model has {context} positions; use another model, or shorter prompts"
        )
    return room


def _tokens(
    completion: Completion, codec: Codec | None, most: int | None, room: int | None
) -> tuple[Tokens | None, str]:
    """Token ids of a completion, and the reason to refuse it, which may be empty."""
    ids = completion.token_ids
    if codec is not None and not ids:
        try:
            ids = codec.encode(completion.text)
        except ValueError as error:
            return ids, str(error)
        if most is not None and len(ids) == most + 1:
            ids = ids[:-1]  # it was cut there, and had no end-of-text
    elif codec is not None and ids and not codec.known_ids.issuperset(ids):
        return ids, "a token id outside the vocabulary"
    if most is not None and ids and len(ids) > most:
        return ids, f"{len(ids)} tokens, and sampling.max_new_tokens is {most}"
    if room is not None and ids and len(ids) > room:
        return ids, f"{len(ids)} tokens, and the model's context has room for {room}"
    return ids, ""
