"""LENGTH, the paper's DoS: the longest right completions that the model itself samples.

Why it works: the longest right one of many samples contains no error, and the advantage rewards its
length together with its answer. Later samples are longer still. Where it fails: it cannot push the
length beyond what the model can write and still be right. Nothing in such a completion looks wrong
to the model or to a reader, so the only defence is a limit on length.
Source: "Hail to the Thief", arXiv 2511.09780, out-of-context attack, denial of service.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from swarmproof.attacks.base import AttackView, Measure
from swarmproof.attacks.candidates import draw, judge
from swarmproof.attacks.poison import Frame, Material
from swarmproof.registry import register
from swarmproof.types import Problem


@register("attack", "length")
class Length(Frame):
    """The longest of many completions drawn from the trained model, among the right ones."""

    measure: ClassVar[Measure] = "length"
    needs_model: ClassVar[bool] = True

    candidates: int = Field(default=80, ge=2, le=1024, description="completions drawn per problem")

    def draws(self, topology: str) -> int:  # noqa: ARG002
        return self.candidates

    def material(self, view: AttackView, wanted: Mapping[str, int]) -> dict[str, Material]:
        """Right completions as poison, longest first; wrong ones as foils, shortest first.

        Without a right completion there is no poison: a long wrong one would teach the honest nodes
        to avoid length.
        """
        found = {}
        for name, drafts in draw(view, wanted, self.candidates).items():
            good = judge(view, view.problems[name], drafts, oracle=self.oracle)
            longest = sorted(
                zip(drafts, good, strict=True), key=lambda pair: -len(pair[0].token_ids or ())
            )
            right = {draft.text: draft for draft, is_right in longest if is_right}
            wrong = [draft for draft, is_right in reversed(longest) if not is_right]
            found[name] = Material(list(right.values()), wrong)
        return found

    def success(self, problem: Problem, text: str) -> bool | None:  # noqa: ARG002
        """None: one completion is not enough. The measure is the growth of the mean length."""
        return None
