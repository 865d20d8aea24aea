"""LOGIT: refuse completions that the receiver's own model could not have sampled.

For swarms in which all nodes hold the same weights. Why it works: a payload from outside has
tokens that the model ranks far below the top k, and one such token is enough. Where it fails: a
poison passes if the model itself finds it plausible (2+2=5 is often within the top 50), or if it
was sampled from the model (needless length). Source: "Hail to the Thief", arXiv 2511.09780, logit
check.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from swarmproof.defenses.base import Defense, DefenseView
from swarmproof.registry import register
from swarmproof.types import Group, Verdict


@register("defense", "logit")
class Logit(Defense):
    """Refuse a completion with any token outside the support that sampling could have drawn from.

    The exact rule. The completion's tokens are those that were sent or, if only text was sent, the
    receiver's own tokenisation of it. One forward pass with the receiver's current weights gives
    the logits before each token, divided by the sampling temperature. The support is that of the
    generation strategy: every token whose logit is at least the k-th largest (ties at the boundary
    are inside), then the smallest set of the most likely of these that reaches top-p. The
    shortfall of a token is the distance of its logit from the lowest logit in the support, and 0
    inside the support. The completion is refused if any shortfall exceeds `tolerance`. End-of-text
    is checked like any other token, and is the last one checked. A completion that ends without it
    before the length limit is refused as well, since generation would have continued. The guard
    refuses one that is longer than the limit, if it was told one.

    A completion by another model was sampled from another support, and an unlikely completion need
    not be malicious. On such completions the rule abstains, and its score and reason report what
    it would have decided.
    """

    threshold_field: ClassVar[str] = "tolerance"

    tolerance: float = Field(
        default=1e-3,
        ge=0,
        description="shortfall, in units of logit / temperature, that rounding may explain",
    )
    heterogeneous: Literal["abstain", "act"] = Field(
        default="abstain", description="what to do with completions that another model wrote"
    )

    def inspect(self, groups: Sequence[Group], view: DefenseView) -> list[list[Verdict]]:
        return [
            [
                self._in_the_swarm(
                    self._verdict(completion.token_ids or (), score.shortfall.tolist(), view),
                    foreign=completion.node in view.foreign,
                )
                for completion, score in zip(group.completions, scores, strict=True)
            ]
            for group, scores in zip(groups, view.scores, strict=True)
        ]

    def _in_the_swarm(self, verdict: Verdict, *, foreign: bool) -> Verdict:
        if not foreign or self.heterogeneous == "act":
            return verdict
        would = f"would refuse: {verdict.reason}" if verdict.reason else "would accept"
        return replace(verdict, accepted=None, reason=f"another model wrote it; {would}")

    def _verdict(
        self, token_ids: tuple[int, ...], shortfall: list[float], view: DefenseView
    ) -> Verdict:
        if not token_ids:
            return self.verdict(False, math.inf, "it has no tokens; give token_ids or a tokenizer")
        # Comparisons with NaN are false, so `max` could skip a NaN.
        if any(map(math.isnan, shortfall)):
            return self.verdict(False, math.inf, "the model's scores are not finite")
        score = max(shortfall)
        if score > self.tolerance:
            outside = [t for t, x in enumerate(shortfall) if x > self.tolerance]
            reason = (
                f"{len(outside)} of {len(token_ids)} tokens outside the sampling support, "
                f"the first at position {outside[0]}"
            )
            return self.verdict(False, score, reason)
        if token_ids[-1] not in view.end_ids and len(token_ids) < view.sampling.max_new_tokens:
            return self.verdict(False, score, "ends without end-of-text before the limit")
        return self.verdict(True, score)
