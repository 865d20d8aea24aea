"""KL GATE: learn from another model's completions only where the receiver could have written them.

For swarms of several models. Why it might work: a payload out of context is far less likely under
the receiver's model than text that it would write itself, and the mean over tokens keeps that
visible in a short completion. Where it fails: one wrong digit disappears in a mean; text that the
receiver itself finds plausible passes (needless length); a payload that the receiver has begun to
learn passes more and more; and models that really differ need a wider gate. Source: F-TIS, arXiv
2605.22537, which filters completions of other models by a KL gate. The writer's probabilities are
a claim, which a swarm cannot believe, so the estimate, which puts the receiver's own entropy in
their place, is our reading.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from swarmproof.defenses.base import Defense, DefenseView, Setting
from swarmproof.registry import register
from swarmproof.types import Group, Verdict


@register("defense", "kl_gate")
class KlGate(Defense):
    """Refuse another model's completion that is too far from what the receiver's own would write.

    The exact rule. Under the receiver's current weights, at the sampling temperature and over the
    full vocabulary, a token's excess is -log p(token) minus the entropy before it. The score of a
    completion is the mean excess of its tokens, in nats. For text drawn from the receiver's own
    distribution its expectation is 0. For text of another writer q it is KL(q || p) + H(q) - H(p),
    so it is the KL divergence where both are equally sure. Above `threshold` the completion is
    refused. It abstains on completions of the receiver's own model.
    """

    threshold_field: ClassVar[str] = "threshold"

    threshold: float = Field(default=0.5, description="mean excess of its tokens that passes, nats")

    def require_in(self, setting: Setting) -> None:
        if setting.models == 1:
            raise ValueError(
                "the defence 'kl_gate' is for completions of other models, and all nodes have the "
                'same; use "logit", or guard.preset = "one-model"'
            )

    def inspect(self, groups: Sequence[Group], view: DefenseView) -> list[list[Verdict]]:
        return [
            [
                self._verdict(excess(score.logprob, entropy), foreign=c.node in view.foreign)
                for c, score, entropy in zip(group.completions, scores, entropies, strict=True)
            ]
            for group, scores, entropies in zip(
                groups, view.scores, view.column("entropy"), strict=True
            )
        ]

    def _verdict(self, score: float, *, foreign: bool) -> Verdict:
        if not foreign:
            return self.verdict(None, score, "the receiver's own model wrote it")
        if score <= self.threshold:
            return self.verdict(True, score)
        reason = f"{score:.2f} nats a token less likely than own text, and {self.threshold:g} pass"
        return self.verdict(False, score, reason)


def excess(logprob: np.ndarray, entropy: np.ndarray) -> float:
    """Mean of -log p(token) - entropy over the tokens, (T,) each."""
    return float(-(logprob.astype(np.float64) + entropy.astype(np.float64)).mean())
