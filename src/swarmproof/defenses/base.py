"""What a defence is: a verdict on every completion, with a score and a reason."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swarmproof.config import SamplingConfig
from swarmproof.registry import Plugin
from swarmproof.types import Group, Verdict

if TYPE_CHECKING:
    from swarmproof.policies.policy import ForwardPass, TokenScores
    from swarmproof.tasks.base import Task


@dataclass(frozen=True, slots=True)
class DefenseView:
    """What a receiver has at hand. Scores cost one forward pass, which learning uses again."""

    task: Task
    sampling: SamplingConfig
    eos_token_id: int
    forward: ForwardPass

    @property
    def scores(self) -> list[list[TokenScores]]:
        """The receiver's own model on every token: one entry a completion, group by group."""
        return self.forward.scores


class Defense(Plugin):
    """A filter between what is gathered and what is learnt from."""

    @abstractmethod
    def inspect(self, groups: Sequence[Group], view: DefenseView) -> list[list[Verdict]]:
        """A verdict on every completion, group by group.

        A node inspects its own completions like all others: identical nodes that treated their
        own differently would drift apart.
        """
