"""What an attack is: completions for the adversary's slots, and a measure of its success."""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from swarmproof.registry import Kind, Plugin
from swarmproof.tasks.base import Task
from swarmproof.types import Completion, NodeId, Problem, Slot

if TYPE_CHECKING:
    import numpy as np

    from swarmproof.policies.policy import Policy

# Over what the attack success rate is taken: the completions that honest nodes send for training;
# those that they give to held-out problems; or the growth of their mean length, which no single
# completion can tell.
Measure = Literal["completions", "heldout", "length"]

Span = tuple[int, int]  # characters of a text, from the first to behind the last


@dataclass(frozen=True, slots=True)
class AttackView:
    """Everything an attacker may know. The threat model is this type: see docs/threat-model.md."""

    nodes: tuple[NodeId, ...]  # the colluding nodes, which act as one adversary
    slots: Mapping[NodeId, tuple[Slot, ...]]
    problems: Mapping[str, Problem]  # of those slots; answers and solutions only with an oracle
    task: Task
    policy: Policy | None  # the trained model, where it would have one: to sample and score with
    topology: str
    num_nodes: int
    rng: np.random.Generator  # its own source of randomness


class Attack(Plugin):
    """A way to craft completions that earn the reward and carry a poison.

    To plant something in right completions, start from `Poison` instead.
    """

    kind: ClassVar[Kind] = "attack"

    topologies: ClassVar[tuple[str, ...]] = ("horizontal", "vertical")
    only_because: ClassVar[str] = ""  # why not in the other topology, to end an error
    measure: ClassVar[Measure] = "completions"

    oracle: bool = Field(
        default=True, description="false: answers and solutions are withheld from the attacker"
    )

    @abstractmethod
    def craft(self, view: AttackView) -> Sequence[Completion]:
        """A completion for every slot of every colluding node; what is left out is not sent."""

    @abstractmethod
    def success(self, problem: Problem, text: str) -> bool | None:
        """Whether an honest node's completion carries the poison; None where it cannot apply.

        A pure function of its arguments. The attack success rate (ASR) is the mean over those
        completions for which it is not None.
        """

    def success_wide(self, problem: Problem, text: str) -> bool | None:  # noqa: ARG002
        """A second, wider measure, for attacks that have one; else None for every text."""
        return None

    def spans(self, text: str) -> list[Span]:  # noqa: ARG002
        """Where the poison is in a text, to mark it for a reader; nothing if it is nowhere to see.

        It decides nothing: what counts is `success`.
        """
        return []

    def applies(self, problem: Problem) -> bool:  # noqa: ARG002
        """Whether answers to a problem can carry the poison: held-out problems are such ones."""
        return True

    def picks(self, problem: Problem) -> bool:
        """Whether a malicious node of a vertical swarm, who picks its own problems, takes this.

        Without oracle the problem has neither answer nor solutions, and any is taken.
        """
        return self.applies(problem) if self.oracle else True

    def draws(self, topology: str) -> int:  # noqa: ARG002
        """Completions that it draws from the trained model for each of its problems; 0: none."""
        return 0

    def require(self, task: Task) -> None:
        """Checks that the attack can be carried out on a task.

        Raises:
            ValueError: it cannot; says what it needs.
        """


def slots_by_problem(view: AttackView) -> dict[str, list[Slot]]:
    """All slots of the adversary, whichever of its nodes holds them, problem by problem."""
    found: dict[str, list[Slot]] = defaultdict(list)
    for node in view.nodes:
        for slot in view.slots[node]:
            found[slot.problem_id].append(slot)
    return found


def owner(view: AttackView) -> dict[Slot, NodeId]:
    """Which colluding node a slot belongs to."""
    return {slot: node for node in view.nodes for slot in view.slots[node]}
