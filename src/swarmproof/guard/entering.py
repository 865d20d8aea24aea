"""What a guard refuses before any defence reads it: completions that no model could score.

The same rule as admission's for token ids, for a trainer that has no admission. What is refused
here stops nobody: the others of its group are inspected. Knows no defence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from swarmproof.guard.gate import MOST_SUSPICIOUS, TOKENS
from swarmproof.guard.inspection import Verdicts
from swarmproof.policies.codec import Codec
from swarmproof.types import Completion, Group, Tokens, Verdict


def entered(
    groups: Sequence[Group],
    codec: Codec | None,
    most: int | None,
    *,
    scored: bool,
    context: int | None = None,
) -> tuple[Sequence[Group], list[list[Verdicts]]]:
    """Groups with tokens for every completion, where there is a tokenizer, and refusals.

    The exact rule. Token ids are of the tokenizer's vocabulary, and at most `most`; with the prompt
    they fit into the context. If there are no token ids, the text is tokenised. End-of-text is
    added unless the text alone has `most` tokens. A refused completion has end-of-text in place of
    its tokens, so that a model can score the others.

    Args:
        groups: the groups of a round.
        codec: the tokenizer, if one is known.
        most: tokens that a completion may have, if that is known.
        scored: whether the caller has a score for each token that it gave, so that a refused
            completion keeps their number.
        context: positions of the model that will score them, if it has a limit. Beyond it a model
            computes with positions that it never learnt, or fails.

    Raises:
        ValueError: a prompt leaves no room in the context.
    """
    extra: list[list[Verdicts]] = [[()] * len(group.completions) for group in groups]
    result = list(groups)
    for p, group in enumerate(groups):
        completions = list(group.completions)
        room = None if context is None or codec is None else _room(group, codec, context)
        for g, completion in enumerate(completions):
            ids, why = _tokens(completion, codec, most)
            if not why and room is not None and len(ids or ()) > room:
                why = f"{len(ids or ())} tokens, and the model's context has room for {room}"
            if why:
                extra[p][g] = (Verdict(TOKENS, False, MOST_SUSPICIOUS, why),)
                count = len(completion.token_ids or ()) if scored else 0
                ids = ids if codec is None else (codec.eos_token_id,) * max(1, count)
            if ids is not completion.token_ids:
                completions[g] = replace(completion, token_ids=ids)
        if any(new is not old for new, old in zip(completions, group.completions, strict=True)):
            result[p] = replace(group, completions=tuple(completions))
    return result, extra


def _room(group: Group, codec: Codec, context: int) -> int:
    room = context - len(codec.encode_prompt(group.prompt))
    if room < 1:
        raise ValueError(
            f"the prompt {group.prompt!r:.80} has {context - room} tokens, and the context of the "
            f"guard's model has {context} positions; use another model, or shorter prompts"
        )
    return room


def _tokens(
    completion: Completion, codec: Codec | None, most: int | None
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
    return ids, ""
