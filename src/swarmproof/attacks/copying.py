"""COPYING: the longest right completions that other nodes send, as if they were one's own.

Made against `signature`, `novelty` and `replay`. Sees what the honest nodes send in this round
(`AttackView.seen`). It writes only what others wrote, so that it has no words of its own, and
pushes length. With `victim = "one"` it copies a single node: a comparison of senders may then take
the victim for the copier, or the nodes that write otherwise for the odd ones.
Where it fails: a copy is not the draw of its slot (`replay`), and one text twice is easily seen.
Horizontal only: there, other nodes answer the same problems. Source: our own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from swarmproof.attacks.base import Attack, AttackView, Measure, owner, slots_by_problem
from swarmproof.attacks.candidates import Draft, judge
from swarmproof.registry import register
from swarmproof.types import Completion, Problem


@register("attack", "copying")
class Copying(Attack):
    """Copies of the longest right completions of other nodes on the same problems."""

    topologies: ClassVar[tuple[str, ...]] = ("horizontal",)
    only_because: ClassVar[str] = "in a vertical swarm no other node answers its problems"
    measure: ClassVar[Measure] = "length"
    sees_others: ClassVar[bool] = True

    victim: Literal["any", "one"] = Field(
        default="any", description="whose completions are copied: of all nodes, or of one"
    )

    def craft(self, view: AttackView) -> Sequence[Completion]:
        first = min((sent.node for sent in view.seen), key=str, default=None)
        by_problem: dict[str, list[Draft]] = defaultdict(list)
        for sent in view.seen:
            if self.victim == "any" or sent.node == first:
                by_problem[sent.slot.problem_id].append(Draft(sent.text, sent.token_ids))
        node_of, crafted = owner(view), []
        for name, slots in slots_by_problem(view).items():
            drafts = sorted(by_problem[name], key=lambda d: -len(d.token_ids or d.text))
            good = judge(view, view.problems[name], drafts, oracle=self.oracle)
            right = {d.text: d for d, is_right in zip(drafts, good, strict=True) if is_right}
            crafted += [
                Completion(slot, node_of[slot], draft.text, draft.token_ids)
                for slot, draft in zip(slots, right.values(), strict=False)
            ]
        return crafted

    def success(self, problem: Problem, text: str) -> bool | None:  # noqa: ARG002
        """None: one completion is not enough. The measure is the growth of the mean length."""
        return None
