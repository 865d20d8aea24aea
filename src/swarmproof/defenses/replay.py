"""REPLAY: refuse completions that are not the draw of their slot.

For swarms in which all nodes hold the same weights. Why it works: the noise of a draw is a function
of its address, so that every token of a slot is forced, and any other text is seen, also one that
the model finds plausible. Where it fails: where precisions differ, a tolerance is needed, and an
attacker can choose among the near ties that lie inside it, a few times as often as by chance;
`near_ties = "redraw"` leaves it no choice.
It decides only about what was sent. A node that withholds some draws is met by `on_reject =
"refill"` or `"void_node"`, and one that chooses its problems by `swarm.problems = "dealt"`. Source:
our own; the noise is Gumbel-max sampling with a counter-based hash.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from swarmproof.defenses import senders
from swarmproof.defenses.base import Count, Defense, DefenseView, Rounds, Setting, State
from swarmproof.registry import register
from swarmproof.types import Completion, Group, Verdict

Margins = Sequence[Sequence[np.ndarray]]  # (T,) of each completion, group by group

_EXACT = 0.01  # a tolerance up to which no honest token loses its draw
# -log10 of the chance of a false alarm for one sender, and for one completion.
_LEVEL, _ONE = 8.0, 3.0


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
    the others. Nothing may follow it, and a completion without it must have the maximum length. The
    guard refuses one that is longer, if it was told the maximum.

    With a tolerance above 0.01, as where precisions differ, tokens with a margin above 0 are
    compared with chance. A completion may have more than `ties` of them, as long as
    P(Binomial(tokens, `flips`) >= count) is at least 10 ^ -3. A sender's are counted over the
    completions without a margin above the tolerance, up to their end-of-text, of the groups that
    are scored together and of `memory` rounds before. If that probability is below 10 ^ -8, its
    completions with such a token are refused; those without one are proved draws, and pass.

    With `near_ties = "redraw"` a completion with a margin above 0 that would pass is neither
    accepted nor refused: each receiver draws its slot itself, as after a refusal with "refill". So
    no choice among near ties reaches the update. It costs as many draws as honest completions have
    near ties, and receivers of different precision then learn from different texts in those slots.

    Measured on the tiny models (docs/lab-log.md): where all nodes compute in float32, no honest
    draw had a margin above 0. Where bfloat16 meets float32 the largest was 0.13; use a tolerance of
    0.25 there. `swarmproof calibrate` measures it for other models, and `flips` with it.
    """

    threshold_field: ClassVar[str] = "tolerance"
    # Of each round: node -> tokens that lost their draw, tokens.
    state_type: ClassVar[Any] = dict[Rounds, list[dict[str, tuple[Count, Count]]]]

    tolerance: float = Field(
        default=1e-3, ge=0, description="margin, in units of logit / temperature, that may be lost"
    )
    ties: int = Field(
        default=2, ge=0, description="tokens of a completion that may lose by up to the tolerance"
    )

    near_ties: Literal["chance", "redraw"] = Field(
        default="chance",
        description="chance: as many tokens may lose by up to the tolerance as chance explains; "
        "redraw: the receiver draws such slots itself (needs on_reject = 'refill')",
    )
    flips: float = Field(
        default=0.002,
        gt=0,
        lt=1,
        description="share of honest tokens that lose by up to a tolerance above 0.01",
    )
    memory: int = Field(default=5, ge=0, le=100, description="rounds before this one that count")

    @model_validator(mode="after")
    def _require_refill(self) -> Self:
        if self.near_ties == "redraw" and self.on_reject != "refill":
            raise ValueError("near_ties = 'redraw' needs on_reject = 'refill' in the same table")
        return self

    @property
    def kept(self) -> tuple[str, ...]:
        return () if self.tolerance <= _EXACT else ("margin",)

    def require_in(self, setting: Setting) -> None:
        if setting.models > 1:
            raise ValueError(
                f"the defence 'replay' needs one model in all nodes, and swarm.models has "
                f'{setting.models}; use guard.preset = "several-models'
                + ('-code"' if setting.programs else '"')
            )

    def inspect(self, groups: Sequence[Group], view: DefenseView) -> list[list[Verdict]]:
        margins_P = view.column("margin")
        verdicts = self._verdicts(groups, margins_P, view)
        suspects = (
            self._suspects(self._counts(groups, margins_P, verdicts, view), view.state)
            if self.tolerance > _EXACT
            else {}
        )
        for group, row in zip(groups, verdicts, strict=True):
            for g, completion in enumerate(group.completions):
                if not row[g].accepted or row[g].score == 0:
                    continue
                if reason := suspects.get(senders.key(completion.node)):
                    row[g] = self.verdict(False, row[g].score, reason)
                elif self.near_ties == "redraw" and not completion.refilled:
                    reason = "a token loses its draw by a little, so the receiver draws it"
                    row[g] = self.verdict(None, row[g].score, reason, redraw=True)
        return verdicts

    def remember(self, groups: Sequence[Group], view: DefenseView) -> State:
        if self.tolerance <= _EXACT:
            return view.state
        margins_P = view.column("margin")
        now = self._counts(groups, margins_P, self._verdicts(groups, margins_P, view), view)
        rounds = [*view.state.get("rounds", ()), {node: [*now[node]] for node in sorted(now)}]
        return {"rounds": rounds[max(0, len(rounds) - self.memory) :]}

    def rates(self, groups: Sequence[Group], view: DefenseView) -> dict[str, tuple[int, int]]:
        if self.tolerance <= _EXACT:
            return {}
        margins_P = view.column("margin")
        verdicts = self._verdicts(groups, margins_P, view)
        counts = self._counts(groups, margins_P, verdicts, view).values()
        return {"flips": (sum(lost for lost, _ in counts), sum(tokens for _, tokens in counts))}

    def _most_ties(self, tokens: int) -> int:
        """How many tokens of a completion may lose their draw by up to the tolerance."""
        most = self.ties
        if self.tolerance > _EXACT:
            while most < tokens and senders.suspicion(most + 1, tokens, self.flips) <= _ONE:
                most += 1
        return most

    def _suspects(self, now: Mapping[str, tuple[int, int]], state: State) -> dict[str, str]:
        """Senders with too many tokens that are not the draw, and the reason."""
        found = {}
        for node, (lost, tokens) in now.items():
            before = [entry[node] for entry in state.get("rounds", ()) if node in entry]
            lost_all = lost + sum(each for each, _ in before)
            tokens_all = tokens + sum(each for _, each in before)
            if senders.suspicion(lost_all, tokens_all, self.flips) > _LEVEL:
                found[node] = (
                    f"{lost_all} of its sender's {tokens_all} tokens lose their draw by a little, "
                    f"and about {self.flips:.1%} do by chance"
                )
        return found

    def _verdicts(
        self, groups: Sequence[Group], margins_P: Margins, view: DefenseView
    ) -> list[list[Verdict]]:
        """Of each completion alone."""
        return [
            [self._verdict(*pair, view) for pair in zip(group.completions, margins, strict=True)]
            for group, margins in zip(groups, margins_P, strict=True)
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
        num_ties, most = int((margin > 0).sum()), self._most_ties(len(token_ids))
        if num_ties > most:
            reason = f"{num_ties} tokens lose their draw by a little, and at most {most} may"
            return self.verdict(False, score, reason)
        ends = [t for t, token in enumerate(token_ids) if token in view.end_ids]
        if ends and ends[0] + 1 < len(token_ids):
            return self.verdict(
                False, score, f"goes on after the end-of-text at position {ends[0]}"
            )
        if not ends and len(token_ids) < view.sampling.max_new_tokens:
            return self.verdict(False, score, "ends without end-of-text before the limit")
        return self.verdict(True, score)

    def _counts(
        self,
        groups: Sequence[Group],
        margins_P: Margins,
        verdicts: Sequence[Sequence[Verdict]],
        view: DefenseView,
    ) -> dict[str, tuple[int, int]]:
        """Of each sender: tokens that are not the draw of their place, and tokens.

        A completion with a token beyond the tolerance is refused for that, and is no draw that lost
        by a little. Nothing behind the end-of-text counts: a sender could add proved draws there,
        as many as it needs to look honest. What a receiver drew itself says nothing of a sender.
        """
        counts: dict[str, tuple[int, int]] = {}
        for group, margins, row in zip(groups, margins_P, verdicts, strict=True):
            for completion, margin, verdict in zip(group.completions, margins, row, strict=True):
                if verdict.score <= self.tolerance and not completion.refilled:
                    lost, tokens = counts.get(node := senders.key(completion.node), (0, 0))
                    end_ids, ids = view.end_ids, completion.token_ids or ()
                    ends = (t for t, token in enumerate(ids) if token in end_ids)
                    drawn = margin[: next(ends, len(margin)) + 1]
                    counts[node] = lost + int((drawn > 0).sum()), tokens + len(drawn)
        return counts
