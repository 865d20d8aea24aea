"""REPLAY: refuse completions that are not the draw of their slot.

For swarms in which all nodes hold the same weights. Why it works: the noise of a draw is a function
of its address, so that every token of a slot is forced, and any other text is seen, also one that
the model finds plausible. Where it fails: where precisions differ, a tolerance is needed, and an
attacker can choose among the near ties that lie inside it. It decides only about what was sent. A
node that withholds some draws is met by `on_reject = "refill"` or `"void_node"`, and one that
chooses its problems by `swarm.problems = "dealt"`. Source: our own; the noise is Gumbel-max
sampling with a counter-based hash.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from swarmproof.defenses.base import Defense, DefenseView, Setting
from swarmproof.registry import register
from swarmproof.types import Completion, Group, Verdict


@register("defense", "replay")
class Replay(Defense):
    """Refuse a completion with any token that is not the forced draw at its address.

    The exact rule. One forward pass with the receiver's current weights gives the logits before
    each token, divided by the sampling temperature. The token must be the argmax, over the sampling
    support, of logit + noise(seed of the slot, position, token). The seed is the receiver's own; a
    seed that a peer claims is not read. A token's margin is the smallest error of the logits that
    could explain it. A rival that wins loses the draw if its sum falls below the token's, or if its
    logit falls out of the support. A token outside the support must first rise into it. The
    completion is refused if the margin of any token exceeds `tolerance`: a mean would miss one
    edited token. It is also refused if more than `ties` of its tokens have a margin above 0, since
    an attacker that uses every near tie inside the tolerance can steer. End-of-text is a token like
    the others. Nothing may follow it, and a completion without it must have the maximum length.

    Measured on the tiny models (docs/lab-log.md): where all nodes compute in float32, no honest
    draw had a margin above 0. Where bfloat16 meets float32 the largest was 0.13; use a tolerance of
    0.25 there. `swarmproof calibrate` measures it for other models.
    """

    threshold_field: ClassVar[str] = "tolerance"

    tolerance: float = Field(
        default=1e-3, ge=0, description="margin, in units of logit / temperature, that may be lost"
    )
    ties: int = Field(
        default=2, ge=0, description="tokens of a completion that may lose by up to the tolerance"
    )

    def require_in(self, setting: Setting) -> None:
        if setting.models > 1:
            raise ValueError(
                f"the defence 'replay' needs one model in all nodes, and swarm.models has "
                f'{setting.models}; use guard.preset = "several-models'
                + ('-code"' if setting.programs else '"')
            )

    def inspect(self, groups: Sequence[Group], view: DefenseView) -> list[list[Verdict]]:
        return [
            [
                self._verdict(completion, margin, view)
                for completion, margin in zip(group.completions, margins, strict=True)
            ]
            for group, margins in zip(groups, view.column("margin"), strict=True)
        ]

    def _verdict(self, completion: Completion, margin: np.ndarray, view: DefenseView) -> Verdict:
        token_ids = completion.token_ids or ()
        if not token_ids or np.isnan(margin).any():
            return self.verdict(False, math.inf, "the model's scores are not finite")
        if completion.node in view.foreign:
            return self.verdict(False, math.inf, "another model wrote it, so nothing can be proved")
        score = float(margin.max())
        if score > self.tolerance:
            at = int((margin > self.tolerance).argmax())
            reason = (
                f"{int((margin > self.tolerance).sum())} of {len(token_ids)} tokens are not the "
                f"draw of their slot, the first at position {at}"
            )
            return self.verdict(False, score, reason)
        num_ties = int((margin > 0).sum())
        if num_ties > self.ties:
            reason = f"{num_ties} tokens lose their draw by a little, and at most {self.ties} may"
            return self.verdict(False, score, reason)
        ends = [t for t, token in enumerate(token_ids) if token in view.end_ids]
        if ends and ends[0] + 1 < len(token_ids):
            return self.verdict(
                False, score, f"goes on after the end-of-text at position {ends[0]}"
            )
        if not ends and len(token_ids) < view.sampling.max_new_tokens:
            return self.verdict(False, score, "ends without end-of-text before the limit")
        return self.verdict(True, score)
