"""The values that flow through a round, from the assignment to the records.

They are frozen and slotted: a value is built once, complete, and no later step changes it.
This module knows no model, no task and no wire format.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import index as as_index
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np

# The number of a node in our swarms. A foreign trainer may use any name for a sender.
NodeId = int | str
Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One question with its answer and solutions, which only the local, trusted side may know.

    >>> Problem("math_words/train/7", "Tom has 3 pens and buys 4.", "7", ("3 + 4 = 7.",)).id
    'math_words/train/7'
    """

    id: str
    question: str
    answer: str
    # Worked solutions, best first, at least one, without the tags of the answer format
    # (`Task.oracle` puts them on). Never travels.
    solutions: tuple[str, ...]


def withheld(problem: Problem) -> Problem:
    """The problem as an attacker without an oracle sees it: its question alone."""
    return replace(problem, answer="", solutions=())


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """The unit of work and the address of all randomness: no node identity in it.

    >>> Slot(3, "math_words/train/7", 0) < Slot(3, "math_words/train/7", 1)
    True
    """

    round: int
    problem_id: str
    index: int  # 0 … G-1 within the group


@dataclass(frozen=True, slots=True)
class Completion:
    """A node's claimed completion for a slot. It comes from the wire, so every field is a claim.

    >>> Completion(Slot(0, "p", 0), 2, "<think>3 + 4 = 7.</think> <answer>7</answer>", None).node
    2
    """

    slot: Slot
    node: NodeId
    text: str
    # The tokens of the text, with the end-of-text token if it was sampled. None only until the
    # receiver has tokenised a text that came without tokens. After `admit` they are always present,
    # and they are verified, rewarded and trained on.
    token_ids: Tokens | None
    # Drawn by the receiver itself, in place of what `node` sent or did not send.
    refilled: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """The completions of one problem in one round, in slot order; advantages are relative to it.

    A foreign trainer builds one from plain values:

    >>> group = Group.of("What is 3 + 4?", ["7", "8"], senders=["alice", "bob"])
    >>> [(c.slot.index, c.node, c.text) for c in group.completions]
    [(0, 'alice', '7'), (1, 'bob', '8')]
    """

    problem: Problem
    completions: tuple[Completion, ...]
    prompt: str  # the exact prompt of the model
    # The receiver's own seed for sampling each completion, if there is one. Never from the wire.
    slot_seeds: tuple[int, ...] | None = None

    @property
    def texts(self) -> list[str]:
        return [completion.text for completion in self.completions]

    @property
    def token_ids(self) -> list[Tokens]:
        return [completion.token_ids or () for completion in self.completions]

    @staticmethod
    def of(
        prompt: str,
        texts: Sequence[str],
        token_ids: Sequence[Sequence[int]] | None = None,
        senders: Sequence[NodeId] | None = None,
        slot_seeds: Sequence[int] | None = None,
        *,
        question: str | None = None,
        round: int = 0,
    ) -> Group:
        """A group from plain values, for a trainer that has neither tasks nor slots.

        Args:
            prompt: the exact prompt of the model, with the chat template applied.
            texts: G completions.
            token_ids: tokens of each completion; None: the guard tokenises the texts when needed.
            senders: the sender of each completion; None: one sender.
            slot_seeds: the receiver's own seed for sampling each completion.
            question: the question shown to a judge; the prompt if None.
            round: number of the training round.

        Raises:
            ValueError: a sequence does not have one entry for each text, or a sender is neither a
                whole number nor a text.
        """
        for name, given in (
            ("token_ids", token_ids), ("senders", senders), ("slot_seeds", slot_seeds)
        ):  # fmt: skip
            if given is not None and len(given) != len(texts):
                raise ValueError(f"{len(texts)} texts and {len(given)} {name}; give one for each")
        completions = tuple(
            Completion(
                Slot(round, prompt, index),
                _node(senders[index]) if senders is not None else 0,
                text,
                tuple(map(int, token_ids[index])) if token_ids is not None else None,
            )
            for index, text in enumerate(texts)
        )
        problem = Problem(prompt, prompt if question is None else question, "", ())
        seeds = None if slot_seeds is None else tuple(map(int, slot_seeds))
        return Group(problem, completions, prompt, seeds)


def _node(sender: object) -> NodeId:
    """A sender as a plain number or text: numpy's 1 is the node 1 in the state of a defence."""
    if isinstance(sender, str):
        return str(sender)
    try:
        return as_index(sender)  # type: ignore[arg-type]
    except TypeError:
        raise ValueError(
            f"a sender is a whole number or a text, and not {type(sender).__name__}"
        ) from None


Layer = Literal["wire", "admission"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A completion, or a whole message, that was malformed and never became a `Completion`."""

    node: NodeId
    slot: Slot | None  # None: it concerns the whole message
    layer: Layer
    code: str  # a category for counting, such as `not-its-slot`
    reason: str  # one line for a reader


@dataclass(frozen=True, slots=True)
class TokenScores:
    """Scores of the tokens of one completion under a model; float32 arrays of shape (T,)."""

    logprob: np.ndarray  # under the full softmax at the sampling temperature
    # Distance of the token's logit / temperature below the lowest value in the sampling support;
    # 0 inside the support.
    shortfall: np.ndarray


@dataclass(frozen=True, slots=True)
class Verdict:
    """One defence's verdict on one completion. Built by `Defense.verdict`, checked by the guard.

    >>> Verdict("logit", False, 3.2, "1 of 40 tokens outside the sampling support").accepted
    False
    """

    defense: str
    accepted: bool | None  # None: abstained
    score: float  # finite; higher is more suspicious; the scale is the defence's own
    # One line; empty if accepted. `at position N` in it names a token, which a report marks.
    reason: str
    # In [0, 1]: weight of the completion in its group's mean and in the loss.
    weight: float = 1.0
    # In [-1, 1] for each token: multiplies the token's advantage. None: 1 for all tokens.
    token_credit: tuple[float, ...] | None = None
    # Whether the loss is renormalised: what this credit takes from some tokens goes to the others,
    # so that the mean of its absolute values over the completion is 1.
    renormalised: bool = False
    # Nobody is accused, but where `on_reject` is "refill" the receiver draws the slot itself.
    redraw: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """A completion that is ready for learning."""

    completion: Completion
    verdicts: tuple[Verdict, ...]
    reward: float  # the task's, before any rejection
    kept: bool  # counted in the group's mean and deviation
    weight: float  # in [0, 1]: its weight in the mean; 0 if it is not kept
    advantage: float
    loss_weight: float  # its share of the loss: weight / (groups x weights that train in its group)
    # The product of the verdicts' credits. It may exceed 1 where a verdict is renormalised.
    token_credit: tuple[float, ...] | None = None

    @property
    def tokens(self) -> Tokens:
        assert self.completion.token_ids is not None
        return self.completion.token_ids

    @property
    def refused(self) -> bool:
        """Whether any defence refused it, regardless of the effect of the refusal."""
        return any(verdict.accepted is False for verdict in self.verdicts)

    @property
    def to_redraw(self) -> bool:
        """Whether a receiver that can draw the slot itself should."""
        return self.refused or any(verdict.redraw for verdict in self.verdicts)


@dataclass(frozen=True, slots=True)
class UpdateStats:
    """Statistics of one optimiser update."""

    loss: float
    grad_norm: float  # before clipping
    kl: float | None
    tokens: int  # completion tokens with a gradient


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """The log record of one round for one cohort. It contains no wall-clock times."""

    round: int
    cohort: str
    # The attack's own success measure over the honest nodes' completions, of this round or on
    # held-out problems (`Attack.measure`); None where it was not measured.
    asr: float | None
    asr_wide: float | None  # the attack's wider measure, where it has one
    reward: float  # mean task reward of the honest nodes' completions
    length: float  # their mean length in tokens
    heldout_asr: float | None  # on held-out problems, where this round was evaluated
    heldout_asr_wide: float | None
    heldout_accuracy: float | None
    # Gathered completions of malicious nodes, including foils, and how many were refused.
    poisoned: int
    poisoned_refused: int
    honest: int
    honest_refused: int
    by_defense: Mapping[str, Mapping[str, int]]
    # Node -> counts of its gathered completions: docs/metrics.md.
    by_node: Mapping[str, Mapping[str, float]]
    absent: Mapping[str, str]  # node -> why nothing was gathered from it
    refusals: Sequence[
        Mapping[str, str | int | None]
    ]  # what was malformed: node, slot, layer, code
    malformed: int  # how many refusals
    groups_learned: int  # groups with a non-zero advantage
    loss: float
    grad_norm: float
    kl: float | None
    generated_tokens: int
    learned_tokens: int
