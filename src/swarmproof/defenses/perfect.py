"""PERFECT: refuse exactly what malicious nodes sent: no defence, but the bound of all filters.

A simulation knows who is malicious. Why it is here: a filter can at best do the same, so the
distance between a defence and this one is what the defence loses. Where it fails: it is no upper
bound for defences that do more than filter. `refill` replaces what was refused, and a credit of
tokens keeps a part of it. It also refuses the worthless half of what an attacker sends. Source: the
usual oracle baseline.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from swarmproof.config import OnReject
from swarmproof.defenses.base import Defense, DefenseView, Reads
from swarmproof.registry import register
from swarmproof.types import Completion, Group, Verdict


@register("defense", "perfect")
class Perfect(Defense):
    """Refuse exactly the completions of malicious nodes; a bound that only a simulation knows."""

    reads: ClassVar[Reads] = "text"
    knows_senders: ClassVar[bool] = True

    on_reject: OnReject | None = Field(
        default="drop", description="what its refusals do to the group"
    )

    def inspect(self, groups: Sequence[Group], view: DefenseView) -> list[list[Verdict]]:
        if view.malicious is None:
            raise ValueError(
                "the defence 'perfect' needs to know who is malicious, which only a simulation "
                "does; give Guard `malicious`, or use another defence"
            )
        return [[self._verdict(c, view.malicious) for c in group.completions] for group in groups]

    def _verdict(self, completion: Completion, malicious: frozenset[object]) -> Verdict:
        refused = completion.node in malicious
        return self.verdict(not refused, float(refused), "its sender is malicious" * refused)
