"""LENGTH REPLAY: long completions where every draw is proved.

Made against `replay`. Knows the trained model, the seeds of its slots, and the rule: a completion
must be the forced draw of its slot, within a tolerance. It sends forced draws, and chooses what the
proof leaves open: which of them to send (`withhold`), which of several near ties to take within the
tolerance (`near_ties`), which problems to draw for (`choose`, in vertical swarms where they are
picked), or whether to send at all (`late`: it claims to be late, and is absent). `edit` sends a
forced draw with a sentence said twice. Draws with wrong seeds are the attack `length`.
Where it fails: `refill` and `void_node` take the choice of what to send, dealt problems that of
problems, and an exact tolerance that of near ties. An edit is seen at its first token.
Source: our own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from statistics import median
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from swarmproof.attacks.base import Attack, AttackView, Measure, owner, slots_by_problem
from swarmproof.attacks.candidates import Draft, forced, judge, model_of
from swarmproof.attacks.search import column_of, near_draws
from swarmproof.registry import register
from swarmproof.types import Completion, Problem, Slot

_SENTENCE = re.compile(r"(?<=<think>)[^<>]*?[.!?](?=[\s<])")


@register("attack", "length_replay")
class LengthReplay(Attack):
    """Forced draws, chosen so that honest nodes learn to write more."""

    measure: ClassVar[Measure] = "length"
    needs_model: ClassVar[bool] = True

    how: Literal["withhold", "near_ties", "choose", "late", "edit"] = Field(
        default="withhold", description="what the adversary chooses; see the module"
    )
    tolerance: float = Field(
        default=0.25, ge=0, description="near_ties: most that a token may lose against the draw"
    )
    ties: int = Field(
        default=2, ge=0, description="near_ties: most tokens of a completion that may lose"
    )
    alternatives: int = Field(
        default=16, ge=1, le=256, description="near_ties: completions sampled for each slot"
    )
    least_chars: int = Field(
        default=30, ge=0, description="choose: the problem has no solution with fewer characters"
    )

    def draws(self, topology: str) -> int:  # noqa: ARG002
        return self.alternatives if self.how == "near_ties" else 1

    def most_draws(self, topology: str, slots: int) -> int:  # noqa: ARG002
        if self.how == "late":
            return 0
        return slots * (1 + (self.alternatives if self.how == "near_ties" else 0))

    def craft(self, view: AttackView) -> Sequence[Completion]:
        if self.how == "late":
            return []
        node_of, drafts = owner(view), forced(view)
        right = self._right(view, drafts)
        match self.how:
            case "withhold":
                drafts = _that_serve(drafts, right)
            case "near_ties":
                drafts |= self._longest_near(view, right)
            case "edit":
                drafts = {slot: _edited(d) if right[slot] else d for slot, d in drafts.items()}
        return [Completion(s, node_of[s], d.text, d.token_ids) for s, d in drafts.items()]

    def success(self, problem: Problem, text: str) -> bool | None:  # noqa: ARG002
        """None: one completion is not enough. The measure is the growth of the mean length."""
        return None

    def picks(self, problem: Problem) -> bool:
        if self.how != "choose" or not problem.solutions:
            return True
        return min(map(len, problem.solutions)) >= self.least_chars

    def _right(self, view: AttackView, drafts: Mapping[Slot, Draft]) -> dict[Slot, bool]:
        right: dict[Slot, bool] = {}
        for name, slots in slots_by_problem(view).items():
            own = [drafts[slot] for slot in slots]
            good = judge(view, view.problems[name], own, oracle=self.oracle)
            right |= zip(slots, good, strict=True)
        return right

    def _passes(self, margins: np.ndarray) -> bool:
        return bool(margins.max() <= self.tolerance and (margins > 0).sum() <= self.ties)

    def _longest_near(self, view: AttackView, right: Mapping[Slot, bool]) -> dict[Slot, Draft]:
        """For each slot, the longest right completion within the tolerance, if there is any."""
        policy, slots = model_of(view), list(right)
        prompts = [view.task.prompt(view.problems[slot.problem_id]) for slot in slots]
        seeds = [[view.slot_seed(slot)] * self.alternatives for slot in slots]
        rows = near_draws(
            policy,
            [policy.codec.encode_prompt(prompt) for prompt in prompts],
            seeds,
            tolerance=self.tolerance,
            ties=self.ties,
            rng=view.rng,
        )
        lost = column_of(policy, "margin", prompts, rows, seeds)
        found = {}
        for slot, row, margins in zip(slots, rows, lost, strict=True):
            near = [ids for ids, lost in zip(row, margins, strict=True) if self._passes(lost)]
            texts = policy.codec.decode(near)
            drafts = [Draft(text, ids) for text, ids in zip(texts, near, strict=True)]
            good = judge(view, view.problems[slot.problem_id], drafts, oracle=self.oracle)
            long = [draft for draft, is_right in zip(drafts, good, strict=True) if is_right]
            if long:
                found[slot] = max(long, key=_length)
        return found


def _that_serve(drafts: Mapping[Slot, Draft], right: Mapping[Slot, bool]) -> dict[Slot, Draft]:
    """Without the right ones that are short and the wrong ones that are long."""
    half = median(map(_length, drafts.values()))
    return {s: d for s, d in drafts.items() if (_length(d) >= half) is right[s]}


def _edited(draft: Draft) -> Draft:
    """The completion with its first sentence said twice."""
    found = _SENTENCE.search(draft.text)
    if found is None:
        return draft
    return Draft(f"{draft.text[: found.end()]} {found[0].strip()}{draft.text[found.end() :]}")


def _length(draft: Draft) -> int:
    return len(draft.token_ids or ())
