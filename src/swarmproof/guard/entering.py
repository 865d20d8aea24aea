"""What a guard refuses before any defence reads it: completions that no model could score.

The same rule as admission's for token ids, for a trainer that has no admission. What is refused
here stops nobody: the others of its group are inspected. Knows no defence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from swarmproof.guard.gate import MOST_SUSPICIOUS, TOKENS
from swarmproof.guard.inspection import Inspection, Verdicts
from swarmproof.policies.codec import Codec
from swarmproof.types import Completion, Group, Sample, Tokens, Verdict

_SHORT = "0"  # the prompt of what is scored in place of a group; every tokenizer has digits
_NO_PROMPT = "the prompt has no tokens, and a model can score only what follows one"


class Limits(NamedTuple):
    """How long a completion may be; None where nothing is known."""

    tokens: int | None = None
    # Positions of the model that will score it. Beyond them a model computes with positions that it
    # never learnt, or fails.
    context: int | None = None
    scored: bool = False  # whether a model scores it, for which a prompt needs at least a token


def entered(
    groups: Sequence[Group], codec: Codec | None, limits: Limits, *, scored: bool
) -> tuple[list[Group], list[list[Verdicts]]]:
    """Groups with tokens for every completion, where there is a tokenizer, and refusals.

    The exact rule. Token ids are of the tokenizer's vocabulary, and not more than the limits allow.
    If there are no token ids, the text is tokenised. End-of-text is added unless the text alone has
    as many tokens as are allowed. A refused completion has end-of-text in place of its tokens, so
    that a model can score the others. A prompt without tokens, or one that leaves no room in the
    context, which may be a peer's too, refuses its group.

    Args:
        groups: the groups of a round.
        codec: the tokenizer, if one is known.
        limits: of the length of a completion.
        scored: whether the caller has a score for each token that it gave, so that a refused
            completion keeps their number.
    """
    result: list[Group] = []
    extra: list[list[Verdicts]] = []
    for group in groups:
        count = len(codec.encode_prompt(group.prompt)) if codec and limits.scored else None
        room = _room(limits.context, count)
        found = [
            (completion.token_ids, _NO_PROMPT)
            if count == 0
            else _tokens(completion, codec, limits.tokens, room)
            for completion in group.completions
        ]
        rows = zip(group.completions, found, strict=True)
        completions = tuple(_entered(*row, codec, scored=scored) for row in rows)
        if completions != group.completions:
            group = replace(group, completions=completions)
        if 0 in (count, room):
            group = replace(group, prompt=_SHORT)
        result.append(group)
        extra.append([(_refusal(why),) if why else () for _, why in found])
    return result, extra


def _entered(
    completion: Completion, found: tuple[Tokens | None, str], codec: Codec | None, *, scored: bool
) -> Completion:
    ids, why = found
    if why and codec is not None:
        count = len(completion.token_ids or ()) if scored else 0
        ids = (codec.eos_token_id,) * max(1, count)
    return completion if ids is completion.token_ids else replace(completion, token_ids=ids)


def with_own_tokens(found: Inspection, groups: Sequence[Group]) -> Inspection:
    """The result with the tokens that the caller gave, where others were scored in their place."""
    samples = [
        [_restored(sample, completion) for sample, completion in zip(*pair, strict=True)]
        for pair in zip(found.samples, (g.completions for g in groups), strict=True)
    ]
    return replace(found, samples=samples)


def _restored(sample: Sample, completion: Completion) -> Sample:
    stopped = any(v.defense == TOKENS for v in sample.verdicts)
    return replace(sample, completion=completion) if stopped and completion.token_ids else sample


def _refusal(why: str) -> Verdict:
    return Verdict(TOKENS, False, MOST_SUSPICIOUS, why)


def _room(context: int | None, count: int | None) -> int | None:
    """The tokens that fit behind a prompt of so many; None where nothing limits them."""
    return None if context is None or count is None else max(0, context - count)


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
    return ids, _too_long(len(ids or ()), most, room)


def _too_long(count: int, most: int | None, room: int | None) -> str:
    if most is not None and count > most:
        return f"{count} tokens, and sampling.max_new_tokens is {most}"
    if room is not None and count > room:
        return f"{count} tokens, and the model's context has room for {room}"
    return ""
