"""MAX TOKENS: refuse what is too long. The one answer to needless length that the paper gives.

Why it works: length attacks send completions much longer than the rest, and length cannot be
hidden. Where it fails: what stays below the bound passes, and teaches the model to write up to it;
a relative bound follows the model as it grows, an absolute one has to be known beforehand and
refuses honest long solutions. Source: "Hail to the Thief", arXiv 2511.09780, defences against DoS.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import ClassVar

from pydantic import Field

from swarmproof.defenses.base import Defense, DefenseView, Reads
from swarmproof.registry import register
from swarmproof.types import Group, Verdict


@register("defense", "max_tokens")
class MaxTokens(Defense):
    """Refuse completions of more tokens than `limit`, or than `factor` times the round's median.

    The median is that of all completions of the round, which fewer than half of the nodes cannot
    move far. It is not that of the receiver's own: identical nodes would then disagree. The score
    is the length over the bound, refused above 1.
    """

    reads: ClassVar[Reads] = "text"

    limit: int | None = Field(default=None, ge=1, description="tokens; instead of the median")
    factor: float = Field(default=2.0, ge=1, description="times the median, without a limit")

    def inspect(
        self,
        groups: Sequence[Group],
        view: DefenseView,  # noqa: ARG002 - lengths are enough
    ) -> list[list[Verdict]]:
        lengths_PG = [[len(c.token_ids or ()) for c in group.completions] for group in groups]
        every = [length for lengths in lengths_PG for length in lengths]
        if not every:
            return [[] for _ in groups]
        bound = self.factor * median(every) if self.limit is None else self.limit
        return [[self._verdict(length, bound) for length in lengths] for lengths in lengths_PG]

    def _verdict(self, length: int, bound: float) -> Verdict:
        reason = f"{length} tokens, and at most {bound:g} pass" if length > bound else ""
        return self.verdict(not reason, length / bound, reason)
