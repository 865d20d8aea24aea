"""What an attack is: completions for the adversary's slots, and a measure of its success."""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from typing import ClassVar

from swarmproof.registry import Plugin
from swarmproof.types import AttackView, Completion, Problem, Slot


class Attack(Plugin):
    """A way to craft completions that earn the reward and carry a poison."""

    topologies: ClassVar[tuple[str, ...]] = ("horizontal", "vertical")

    @abstractmethod
    def craft(self, view: AttackView) -> Sequence[Completion]:
        """A completion for every slot of every colluding node; what is left out is not sent."""

    @abstractmethod
    def success(self, problem: Problem, text: str) -> bool | None:
        """Whether an honest node's completion carries the poison; None where it cannot apply.

        A pure function of its arguments. The attack success rate (ASR) is the mean over those
        completions for which it is not None.
        """


def slots_by_problem(view: AttackView) -> dict[str, list[Slot]]:
    """All slots of the adversary, whichever of its nodes holds them, problem by problem."""
    found: dict[str, list[Slot]] = defaultdict(list)
    for node in view.nodes:
        for slot in view.slots[node]:
            found[slot.problem_id].append(slot)
    return found


def owner(view: AttackView) -> dict[Slot, int]:
    """Which colluding node a slot belongs to."""
    return {slot: node for node in view.nodes for slot in view.slots[node]}
