"""SPURIOUS TOKENS: do not learn rewarded tokens that are improbable where the model is sure.

For any swarm. Why it might work: a payload out of context is improbable, and rewarded because the
rest is right. Where it fails: a payload stands mostly where the model is unsure, so that its
entropy is not among the lowest; tokens that the model finds plausible (needless length) are never
masked; and what passes once is less improbable in the next round. Source: STAPO, arXiv 2602.15620,
which silences such tokens (S2T) for the sake of learning and is not meant as a defence. The paper
as we know it gives the three conditions and renormalises the loss. The scope of the quantile (a
round) and of the renormalisation (a completion) are our reading.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from swarmproof.defenses.base import Defense, DefenseView, Reads, better_than_mean
from swarmproof.registry import register
from swarmproof.types import Group, Verdict


@register("defense", "spurious_tokens")
class SpuriousTokens(Defense):
    """Mask rewarded tokens that are improbable where the model's entropy is low; refuses nothing.

    The exact rule. Under the receiver's current weights, at the sampling temperature and over the
    full vocabulary, a token is masked if all three hold: its completion is better than the mean of
    its group (before any refusal); its probability is below `probability`; and the entropy before
    it is at most the `entropy_share` quantile over all tokens of the round (the smallest value that
    this share of tokens does not exceed). A masked token has credit 0. The loss is renormalised:
    the other tokens of the completion share its part, so that a completion with T tokens, m of them
    masked, gives each of the others 1 / (T - m) of its weight. If all are masked, nothing of it is
    learnt. The score is the masked share of the completion's tokens.
    """

    reads: ClassVar[Reads] = "round"
    columns: ClassVar[tuple[str, ...]] = ("entropy",)

    probability: float = Field(
        default=0.01, gt=0, le=1, description="tokens with a probability below it may be masked"
    )
    entropy_share: float = Field(
        default=0.05, gt=0, le=1, description="share of the round's tokens with the lowest entropy"
    )

    def inspect(
        self,
        groups: Sequence[Group],  # noqa: ARG002 - scores and rewards are enough
        view: DefenseView,
    ) -> list[list[Verdict]]:
        entropies = view.column("entropy")
        limit = lowest(self.entropy_share, (of_one for row in entropies for of_one in row))
        return [
            [
                self._verdict(score.logprob, entropy, limit, better=better)
                for score, entropy, better in zip(*rows, better_than_mean(rewards), strict=True)
            ]
            for *rows, rewards in zip(view.scores, entropies, view.rewards, strict=True)
        ]

    def _verdict(
        self, logprob: np.ndarray, entropy: np.ndarray, limit: float, *, better: bool
    ) -> Verdict:
        masked = better & (logprob < math.log(self.probability)) & (entropy <= limit)
        if not masked.any():
            return self.verdict(True, 0.0)
        credit = (~masked).astype(np.float64).tolist()
        return self.verdict(True, float(masked.mean()), token_credit=credit, renormalised=True)


def lowest(share: float, values: Iterable[np.ndarray]) -> float:
    """The smallest of all values that at least this share of them do not exceed; NaN if none."""
    every = np.concatenate([np.zeros(0, np.float32), *values])
    # One completion whose scores are not numbers, which the guard refuses, must not hide the rest.
    every = np.sort(every[~np.isnan(every)])
    return float(every[math.ceil(share * len(every)) - 1]) if len(every) else math.nan
