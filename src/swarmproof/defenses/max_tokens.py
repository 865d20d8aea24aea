"""MAX TOKENS: refuse completions that are too long. The paper's only defence against length.

Why it works: length attacks send completions much longer than the rest, and length cannot be
hidden. Where it fails: completions just below the bound pass, and teach the model to write up to
it. A relative bound grows with the model's completions. An absolute bound must be known in advance
and refuses long honest solutions. Source: "Hail to the Thief", arXiv 2511.09780, defences against
DoS.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import ClassVar

from pydantic import Field

from swarmproof.defenses.base import Defense, DefenseView, Reads
from swarmproof.registry import register
from swarmproof.types import Completion, Group, Verdict


@register("defense", "max_tokens")
class MaxTokens(Defense):
    """Refuse completions of more tokens than `limit`, or than `factor` times the round's median.

    The median is taken over all completions of the round, so that fewer than half of the nodes
    cannot move it far. A median over the receiver's own completions would make identical nodes
    disagree. The score is the length divided by the bound; scores above 1 are refused. The bound is
    at least one token.
    """

    reads: ClassVar[Reads] = "text"

    limit: int | None = Field(default=None, ge=1, description="tokens; replaces the median")
    factor: float = Field(default=2.0, ge=1, description="multiple of the median, without a limit")

    def inspect(
        self,
        groups: Sequence[Group],
        view: DefenseView,  # noqa: ARG002 - lengths are enough
    ) -> list[list[Verdict]]:
        lengths_PG = [[_length(c) for c in group.completions] for group in groups]
        every = [length for lengths in lengths_PG for length in lengths]
        if not every:
            return [[] for _ in groups]
        bound = max(1.0, self.factor * median(every)) if self.limit is None else self.limit
        return [[self._verdict(length, bound) for length in lengths] for lengths in lengths_PG]

    def _verdict(self, length: int, bound: float) -> Verdict:
        reason = f"{length} tokens, and at most {bound:g} pass" if length > bound else ""
        return self.verdict(not reason, length / bound, reason)


def _length(completion: Completion) -> int:
    if completion.token_ids is None:
        raise ValueError(
            "the defence 'max_tokens' counts tokens, and a completion has none; give token_ids or "
            "a tokenizer"
        )
    return len(completion.token_ids)
