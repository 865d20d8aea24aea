"""Group-relative advantages, and the effect of a refusal on its group. Pure, no torch.

The loss itself, which needs a model, is in `policies/loss.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from swarmproof.config import OnReject
from swarmproof.defenses.senders import nothing
from swarmproof.guard.gate import TOKENS
from swarmproof.types import Group, NodeId, Sample, Verdict

# Added to the standard deviation, as in TRL's GRPOTrainer.
STD_EPSILON = 1e-4


@dataclass(frozen=True, slots=True)
class Effect:
    """The effect of a refusal on a completion."""

    votes: bool  # it counts in its group's mean and deviation
    trains: bool  # its tokens have a gradient
    zeroed: bool  # it earns nothing: its reward counts as 0, or as the lowest of its group


# The only definition of the rules; docs/metrics.md has an example of each.
EFFECTS: Mapping[OnReject, Effect] = {
    "monitor": Effect(votes=True, trains=True, zeroed=False),
    "mask": Effect(votes=True, trains=False, zeroed=False),
    "drop": Effect(votes=False, trains=False, zeroed=False),
    "zero_reward": Effect(votes=True, trains=True, zeroed=True),
    # The receiver draws the slot itself, and the round is inspected again.
    "refill": Effect(votes=False, trains=False, zeroed=False),
    # Everything else that the node sent in this round is dropped as well.
    "void_node": Effect(votes=False, trains=False, zeroed=False),
}


@dataclass(frozen=True, slots=True)
class Rules:
    """How verdicts and rewards become samples."""

    by_defense: Mapping[str, OnReject]  # in the order of the config
    scale_rewards: bool = True
    # Nodes with completions by another model, and which of these completions train: all, or only
    # those that are better than their group's mean (ADR 0012).
    foreign: frozenset[NodeId] = frozenset()
    foreign_teach: Literal["all", "positive"] = "all"
    void: frozenset[NodeId] = frozenset()  # nodes that count for nothing in this round
    final: bool = False  # the second look at a round: what is to be drawn anew was drawn

    def effect(self, verdicts: Sequence[Verdict], node: NodeId) -> Effect:
        """The combined effect of all verdicts on one completion: the strictest of each kind."""
        if node in self.void:
            return EFFECTS["void_node"]
        if self.asks_refill(verdicts):
            return EFFECTS["refill"]
        refusals = [v for v in verdicts if v.accepted is False]
        if not refusals:
            return EFFECTS["monitor"]
        found = [EFFECTS[self.by_defense[v.defense]] for v in refusals]
        return Effect(
            votes=all(effect.votes for effect in found),
            trains=all(map(self._trains, refusals)),
            zeroed=any(effect.zeroed for effect in found),
        )

    def _trains(self, refusal: Verdict) -> bool:
        rule = self.by_defense[refusal.defense]
        # A mask with token credits hides only the tokens that it names.
        return EFFECTS[rule].trains or (rule == "mask" and refusal.token_credit is not None)

    def asks_refill(self, verdicts: Sequence[Verdict]) -> bool:
        """Whether a defence wants the receiver's own draw in place of this completion."""
        return any(
            (v.accepted is False or (v.redraw and not self.final))
            and self.by_defense[v.defense] == "refill"
            for v in verdicts
        )

    def voids(self, verdicts: Sequence[Verdict]) -> bool:
        """Whether a refusal leaves the whole node out of the round."""
        return any(
            v.accepted is False and self.by_defense[v.defense] == "void_node" for v in verdicts
        )

    def in_force(self, verdicts: Sequence[Verdict]) -> list[Verdict]:
        """Verdicts whose weights count: all except those of defences that only monitor."""
        return [v for v in verdicts if self.by_defense[v.defense] != "monitor"]


def advantages(
    rewards_G: Sequence[float], weights_G: Sequence[float], *, scale_rewards: bool = True
) -> np.ndarray:
    """Advantages of one group, (r - mean) / (std + 1e-4).

    Args:
        rewards_G: the rewards that count.
        weights_G: in [0, 1]: weight of each completion in the mean; 0: it is not in the group.
        scale_rewards: divide by the deviation (False: Dr. GRPO).

    Returns:
        float64 of shape (G,), 0 where the weight is 0. The mean is weighted. The deviation is the
        sample deviation (n - 1), as in TRL, of all completions with a positive weight, each counted
        once. With fewer than two of these, or with equal rewards, all advantages are 0.
    """
    rewards = np.asarray(rewards_G, dtype=np.float64)
    weights = np.asarray(weights_G, dtype=np.float64)
    votes = weights > 0
    result = np.zeros_like(rewards)
    among = rewards[votes]
    if len(among) < 2 or np.all(among == among[0]):
        return result
    equal = np.all(weights[votes] == 1)
    mean = among.mean() if equal else np.average(among, weights=weights[votes])
    centred = among - mean
    result[votes] = centred / (among.std(ddof=1) + STD_EPSILON) if scale_rewards else centred
    return result


def complete(
    group: Group,
    rewards: Sequence[float],
    verdicts: Sequence[tuple[Verdict, ...]],
    rules: Rules,
    *,
    num_groups: int,
) -> list[Sample]:
    """Samples of one group, with nothing left to fill in."""
    effects = [
        rules.effect(row, completion.node)
        for row, completion in zip(verdicts, group.completions, strict=True)
    ]
    in_force = [rules.in_force(row) for row in verdicts]
    weights = [_weight(row) * e.votes for row, e in zip(in_force, effects, strict=True)]
    least = nothing(rewards)
    counted = [least if e.zeroed else reward for reward, e in zip(rewards, effects, strict=True)]
    advantage = advantages(counted, weights, scale_rewards=rules.scale_rewards)
    if rules.foreign_teach == "positive":
        others = np.array([completion.node in rules.foreign for completion in group.completions])
        advantage = np.where(others, np.maximum(advantage, 0), advantage)
    training = [weight * e.trains for weight, e in zip(weights, effects, strict=True)]
    # Where every node is left out, nothing trains and no group counts.
    total = max(num_groups, 1) * (sum(training) or 1.0)
    return [
        Sample(
            completion=completion,
            verdicts=verdicts[g],
            reward=rewards[g],
            kept=weights[g] > 0,
            weight=weights[g],
            advantage=float(advantage[g]),
            loss_weight=training[g] / total,
            token_credit=_token_credit(in_force[g]),
        )
        for g, completion in enumerate(group.completions)
    ]


def can_teach(
    group: Group,
    rewards_G: Sequence[float],
    known_G: Sequence[Sequence[Verdict]],
    rules: Rules,
    to_come: Sequence[str],
) -> bool:
    """Whether a group can have an advantage, whatever the defences `to_come` say.

    If all rewards are equal, they stay equal when some are removed; some may still be zeroed.
    """
    may_zero = any(EFFECTS[rules.by_defense[name]].zeroed for name in to_come)
    effects = [
        rules.effect(row, completion.node)
        for row, completion in zip(known_G, group.completions, strict=True)
    ]
    least = nothing(rewards_G)
    left = {least if e.zeroed else r for r, e in zip(rewards_G, effects, strict=True) if e.votes}
    return len(left) > 1 or (may_zero and bool(left - {least}))


def _weight(verdicts: Sequence[Verdict]) -> float:
    """The product of the weights over all defences that give one."""
    weight = 1.0
    for verdict in verdicts:
        weight *= verdict.weight
    return weight


def _token_credit(verdicts: Sequence[Verdict]) -> tuple[float, ...] | None:
    """The product of the token credits over all defences that give them.

    It is divided by the mean absolute value of the product of the renormalised ones. A credit is at
    most the number of tokens after that.
    """
    if any(v.defense == TOKENS for v in verdicts):
        return None  # what the defences read in its place has other tokens
    given = [(v.token_credit, v.renormalised) for v in verdicts if v.token_credit is not None]
    if not given:
        return None
    if len(given) == 1 and not given[0][1]:
        return given[0][0]
    credit = np.prod([values for values, _ in given], axis=0, dtype=np.float64)
    if spread := [values for values, renormalised in given if renormalised]:
        left = np.abs(np.prod(spread, axis=0, dtype=np.float64)).mean()
        credit = credit / left if left > 0 else credit  # 0: nothing is left to give it to
    return tuple(credit.tolist())
