"""What an attack is: completions for the adversary's slots, and a measure of its success."""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from swarmproof.registry import Kind, Plugin
from swarmproof.tasks.base import Task
from swarmproof.types import Completion, NodeId, Problem, Slot

if TYPE_CHECKING:
    import numpy as np

    from swarmproof.policies.policy import Policy

# What the attack success rate is measured on: the completions that honest nodes send for training,
# their completions of held-out problems, or the growth of their mean length (which no single
# completion shows).
Measure = Literal["completions", "heldout", "length"]

Span = tuple[int, int]  # [start, end) in characters of a text


def _no_seeds(slot: Slot) -> int:
    raise ValueError(f"the attack draws the slot {slot.problem_id}, and was given no seeds")


@dataclass(frozen=True, slots=True)
class AttackView:
    """Everything an attacker may know. This type is the threat model: docs/threat-model.md."""

    nodes: tuple[NodeId, ...]  # the colluding nodes, which act as one adversary
    slots: Mapping[NodeId, tuple[Slot, ...]]
    problems: Mapping[str, Problem]  # of those slots; answers and solutions only with an oracle
    task: Task
    policy: Policy | None  # the trained model, if the attacker has it; to sample and score
    topology: str
    num_nodes: int
    rng: np.random.Generator  # its own source of randomness
    # The seed of a slot's noise. It is public: every receiver derives the same one.
    slot_seed: Callable[[Slot], int] = _no_seeds
    # What the honest nodes of this process send in this round, if the attack `sees_others`.
    seen: tuple[Completion, ...] = ()


class Attack(Plugin):
    """A way to craft completions that earn the reward and carry a poison.

    To plant something in right completions, start from `Poison` instead.
    """

    kind: ClassVar[Kind] = "attack"

    topologies: ClassVar[tuple[str, ...]] = ("horizontal", "vertical")
    only_because: ClassVar[str] = ""  # why the other topology is excluded; ends the error message
    measure: ClassVar[Measure] = "completions"
    # Whether every completion of it comes from the trained model: without one it sends nothing.
    needs_model: ClassVar[bool] = False
    # Whether the adversary speaks last, and is shown what honest nodes send in the round.
    sees_others: ClassVar[bool] = False

    oracle: bool = Field(
        default=True, description="false: answers and solutions are withheld from the attacker"
    )

    @property
    def always_poisons(self) -> bool:
        """Whether each of its rewarded completions is a success; `testing.check` asks for it."""
        return True

    @property
    def poisons_losers(self) -> bool:
        """Whether completions without a reward may be a success; else `testing.check` fails."""
        return False

    @abstractmethod
    def craft(self, view: AttackView) -> Sequence[Completion]:
        """Completions for the slots of all colluding nodes. A slot without one stays empty."""

    @abstractmethod
    def success(self, problem: Problem, text: str) -> bool | None:
        """Whether an honest node's completion carries the poison; None if it does not apply.

        A pure function of its arguments. The attack success rate (ASR) is the mean over the
        completions for which the result is not None.
        """

    def success_wide(self, problem: Problem, text: str) -> bool | None:  # noqa: ARG002
        """A second, wider measure. None for every text if the attack has no such measure."""
        return None

    def spans(self, text: str) -> list[Span]:  # noqa: ARG002
        """Where the poison is in a text, to highlight it in a report. Empty if there is none.

        For display only. The measure is `success`.
        """
        return []

    def applies(self, problem: Problem) -> bool:  # noqa: ARG002
        """Whether answers to a problem can carry the poison; selects the held-out problems."""
        return True

    def picks(self, problem: Problem) -> bool:
        """Whether a malicious node of a vertical swarm, which picks its own problems, picks this.

        Without the oracle, the problem has no answer and no solutions, and every problem is taken.
        """
        return self.applies(problem) if self.oracle else True

    def draws(self, topology: str) -> int:  # noqa: ARG002
        """Number of completions that it usually samples from the trained model for each of its
        problems. The estimate of a run's time counts it."""
        return 0

    def most_draws(self, topology: str, slots: int) -> int:  # noqa: ARG002
        """At most so many of them for a problem of which it has so many slots, with other rows of
        that length that it lets the model read. What a stranger asks to run is bounded by it."""
        return self.draws(topology)

    def require(self, task: Task) -> None:
        """Check that the attack can be carried out on a task.

        Raises:
            ValueError: it cannot; the message says what the attack needs.
        """


def slots_by_problem(view: AttackView) -> dict[str, list[Slot]]:
    """The slots of all colluding nodes, grouped by problem."""
    found: dict[str, list[Slot]] = defaultdict(list)
    for node in view.nodes:
        for slot in view.slots[node]:
            found[slot.problem_id].append(slot)
    return found


def owner(view: AttackView) -> dict[Slot, NodeId]:
    """The colluding node of each slot."""
    return {slot: node for node in view.nodes for slot in view.slots[node]}
