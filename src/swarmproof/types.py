"""The values that flow through a round, from an assignment to what is logged.

Frozen and slotted: a value is built once, complete, and no later step writes into it.
This module knows no model, no task and no wire format.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from swarmproof.policies.policy import Policy
    from swarmproof.tasks.base import Task

NodeId = int


@dataclass(frozen=True, slots=True)
class Problem:
    """One question with what only the local, trusted side may know: its answer and solutions.

    `Problem("math_words/train/7", "Tom has 3 pens and buys 4. How many?", "7", ("3 + 4 = 7.",))`
    """

    id: str
    question: str
    answer: str
    # Worked solutions, best first, at least one, without the tags of the answer format
    # (`Task.oracle` puts them on). Never travels.
    solutions: tuple[str, ...]


def withheld(problem: Problem) -> Problem:
    """The problem as somebody without an oracle has it: its question alone."""
    return replace(problem, answer="", solutions=())


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """The unit of work and the address of all randomness: no node identity in it."""

    round: int
    problem_id: str
    index: int  # 0 … G-1 within the group


@dataclass(frozen=True, slots=True)
class Completion:
    """What a node says it wrote for a slot. From the wire: every field is a claim."""

    slot: Slot
    node: NodeId
    text: str
    # The tokens that the text is made of, with the end-of-text token if it was drawn. None only
    # until the receiver has tokenised a text that came alone: from `admit` on they are there, and
    # are what is verified, rewarded and trained on.
    token_ids: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Group:
    """The completions of one problem in one round, in slot order; advantages are relative to it."""

    problem: Problem
    completions: tuple[Completion, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A completion, or a whole message, that was malformed and never became a `Completion`."""

    node: NodeId
    slot: Slot | None
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """One defence's opinion of one completion."""

    defense: str
    accepted: bool | None  # None: abstained
    score: float  # higher is more suspicious; the scale is the defence's own
    # One line; empty if accepted. `at position N` in it names a token, which a report marks.
    reason: str
    # Weight of each token in the loss, in [0, 1], for defences that judge tokens one by one.
    token_weights: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """A completion ready to learn from."""

    completion: Completion
    verdicts: tuple[Verdict, ...]
    reward: float  # the task's, before any rejection
    kept: bool  # counted in the group's mean and deviation
    advantage: float
    loss_weight: float  # share of this completion in the loss: 1 / (groups x kept in its group)
    token_weights: tuple[float, ...] | None = None

    @property
    def tokens(self) -> tuple[int, ...]:
        assert self.completion.token_ids is not None
        return self.completion.token_ids

    @property
    def refused(self) -> bool:
        return any(verdict.accepted is False for verdict in self.verdicts)


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


@dataclass(frozen=True, slots=True)
class UpdateStats:
    """What one optimiser update did."""

    loss: float
    grad_norm: float  # before clipping
    kl: float | None
    tokens: int  # completion tokens with a gradient


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """What is logged of one round, for one cohort. No wall-clock in it."""

    round: int
    cohort: str
    # The attack's own success measure over the honest nodes' completions, of this round or on
    # held-out problems (`Attack.measure`); None where it was not measured.
    asr: float | None
    reward: float  # mean task reward of the honest nodes' completions
    length: float  # their mean length in tokens
    heldout_asr: float | None  # on held-out problems, where this round was evaluated
    heldout_accuracy: float | None
    # Completions of malicious nodes that were gathered, foils too, and how many were refused.
    poisoned: int
    poisoned_refused: int
    honest: int
    honest_refused: int
    by_defense: Mapping[str, Mapping[str, int]]
    malformed: int
    groups_learned: int  # groups with a non-zero advantage
    loss: float
    grad_norm: float
    kl: float | None
    generated_tokens: int
    learned_tokens: int
    # The attack's wider success measure, where it has one. Last, as older runs have none.
    asr_wide: float | None = None
    heldout_asr_wide: float | None = None
