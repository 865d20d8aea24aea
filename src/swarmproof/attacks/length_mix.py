"""LENGTH MIX: long completions among ordinary ones, so that the lengths of a node look usual.

Made against `length_match`, whose weights fall where a node sends more long completions than the
others do. Knows the trained model and that rule. It sends a share of long right completions, taken
at a quantile of its draws and not at their end, and fills up with ordinary draws.
Where it fails: it can push only as far as the rule leaves room. Source: our own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field

from swarmproof.attacks.base import AttackView
from swarmproof.attacks.candidates import Draft
from swarmproof.attacks.length import Length
from swarmproof.attacks.poison import Material
from swarmproof.registry import register


@register("attack", "length_mix")
class LengthMix(Length):
    """Right draws, some of them long and the others ordinary."""

    share: float = Field(
        default=0.25, ge=0, le=1, description="of the right completions sent that are long"
    )
    quantile: float = Field(
        default=1.0, gt=0, le=1, description="of the lengths of right draws: no longer one is sent"
    )

    def material(self, view: AttackView, wanted: Mapping[str, int]) -> dict[str, Material]:
        found = super().material(view, wanted)
        mixed = {}
        for name, material in found.items():
            order = view.rng.permutation(len(material.mistakes))
            mistakes = [material.mistakes[i] for i in order]
            mixed[name] = Material(self._mix(view, material.poison, wanted[name]), mistakes)
        return mixed

    def _mix(self, view: AttackView, longest: Sequence[Draft], count: int) -> list[Draft]:
        """`count` of the right draws, given longest first."""
        start = round((1 - self.quantile) * len(longest))
        # A part of a completion is sent at random, so that a small share is one on average.
        num_long = int(self.share * count + view.rng.random())
        long = list(longest[start : start + num_long])
        rest = [draft for draft in longest if draft not in long]
        return long + [rest[i] for i in view.rng.permutation(len(rest))]
