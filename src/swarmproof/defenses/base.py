"""What a defence is: a verdict on every completion, with a score and a reason."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from swarmproof.config import OnReject, SamplingConfig
from swarmproof.registry import Plugin
from swarmproof.types import Group, NodeId, Verdict

if TYPE_CHECKING:
    from swarmproof.policies.policy import ForwardPass, RoundScores, TokenScores
    from swarmproof.tasks.base import Task


@dataclass(frozen=True, slots=True)
class DefenseView:
    """What a receiver has at hand. Scores cost one forward pass, which learning uses again."""

    task: Task
    sampling: SamplingConfig
    eos_token_id: int
    forward: ForwardPass | RoundScores | None  # None for defences that read no scores
    rewards: Sequence[Sequence[float]]  # the task's, group by group
    seed: int  # the receiver's own, of this round: no peer can foresee what is drawn from it
    # Nodes whose completions another model than the receiver's wrote, as far as it can know: all
    # but those that run its own. Empty in a swarm of one model.
    foreign: frozenset[NodeId] = frozenset()

    @property
    def scores(self) -> list[list[TokenScores]]:
        """The receiver's own model on every token: one entry a completion, group by group."""
        assert self.forward is not None, "a defence that reads scores must say so: reads_scores"
        return self.forward.scores

    @property
    def digit_ids(self) -> frozenset[int]:
        """The receiver's tokens that have a digit in them."""
        assert self.forward is not None, "a defence that reads scores must say so: reads_scores"
        return self.forward.policy.digit_ids


class Defense(Plugin):
    """A filter between what is gathered and what is learnt from."""

    # False: texts and rewards are enough. It is then asked once a round about all groups, before
    # any forward pass, and what it drops is never computed.
    reads_scores: ClassVar[bool] = True
    # True: it compares the completions of a round with one another, and so is asked once a round,
    # with scores from a forward pass of its own.
    whole_round: ClassVar[bool] = False

    on_reject: OnReject | None = Field(
        default=None,
        description="what its refusals do to the group; grpo.on_reject where not given",
    )

    def require(self) -> None:
        """Checks, before anything is computed, that the defence can be had.

        Raises:
            ValueError: it cannot; one line with the remedy.
        """

    @abstractmethod
    def inspect(self, groups: Sequence[Group], view: DefenseView) -> list[list[Verdict]]:
        """A verdict on every completion, group by group.

        A node inspects its own completions like all others: identical nodes that treated their
        own differently would drift apart.
        """
