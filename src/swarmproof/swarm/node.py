"""Nodes: a cohort of identical honest ones, and the adversary that the malicious ones form.

Honest nodes with the same weights, data and defences do identical work on identical data, so one
cohort generates for all of them and learns once: exact, and m nodes cost what one costs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from swarmproof.attacks import Attack
from swarmproof.config import GrpoConfig, OnReject
from swarmproof.defenses import Defense, DefenseView
from swarmproof.guard.advantages import advantages
from swarmproof.policies.policy import ForwardPass, Policy, RoundScores
from swarmproof.randomness import derive_seed, generator
from swarmproof.tasks import Task
from swarmproof.tasks.base import Withheld
from swarmproof.types import (
    AttackView,
    Completion,
    Group,
    NodeId,
    Problem,
    Sample,
    Slot,
    UpdateStats,
    Verdict,
    withheld,
)

Assignment = Mapping[NodeId, tuple[Slot, ...]]


@dataclass(frozen=True, slots=True)
class Cohort:
    """Identical honest nodes; its policy is the only state, and changes from round to round."""

    name: str
    nodes: tuple[NodeId, ...]
    policy: Policy
    task: Task
    defenses: tuple[Defense, ...]
    run_seed: int
    # Nodes whose completions another model wrote, as far as is known: text is all that is used of
    # them. Empty in a swarm of one model.
    foreign: frozenset[NodeId] = frozenset()

    def produce(
        self, assignment: Assignment, problems: Mapping[str, Problem]
    ) -> dict[NodeId, list[Completion]]:
        """Sample a completion for every slot of these nodes, all in one batch."""
        slots: dict[str, list[tuple[Slot, NodeId]]] = {}
        for node in self.nodes:
            for slot in assignment[node]:
                slots.setdefault(slot.problem_id, []).append((slot, node))
        drawn = self.policy.generate(
            [self.task.prompt(problems[problem_id]) for problem_id in slots],
            [[self.slot_seed(slot) for slot, _ in row] for row in slots.values()],
        )
        texts = iter(self.policy.decode([ids for row in drawn for ids in row]))
        produced: dict[NodeId, list[Completion]] = {node: [] for node in self.nodes}
        for row, ids_of_row in zip(slots.values(), drawn, strict=True):
            for (slot, node), ids in zip(row, ids_of_row, strict=True):
                produced[node].append(Completion(slot, node, next(texts), ids))
        return produced

    def slot_seed(self, slot: Slot) -> int:
        """The seed of a slot's noise; without the node, so that identities buy no draws."""
        return derive_seed(self.run_seed, "completion", slot.round, slot.problem_id, slot.index)

    def learn(
        self, groups: Sequence[Group], grpo: GrpoConfig, round: int
    ) -> tuple[list[Sample], UpdateStats, int]:
        """Inspect, reward and learn from a round's groups.

        Returns:
            the samples, in the order of the groups; what the update did; and how many groups had
            an advantage.
        """
        rewards_PG = self.task.group_rewards(
            [(group.problem, [c.text for c in group.completions]) for group in groups]
        )
        rules = {d.name: d.on_reject or grpo.on_reject for d in self.defenses}
        seed = derive_seed(self.run_seed, "defense", round)

        def view(chosen: Iterable[int], forward: ForwardPass | RoundScores | None) -> DefenseView:
            policy, rewards = self.policy, [rewards_PG[p] for p in chosen]
            common = (self.task, policy.sampling, policy.eos_token_id)
            return DefenseView(*common, forward, rewards, seed, self.foreign)

        prompts = [self.task.prompt(group.problem) for group in groups]
        tokens_PG = [[c.token_ids or () for c in group.completions] for group in groups]
        readers = [d for d in self.defenses if d.reads_scores and not d.whole_round]
        others = [d for d in self.defenses if d not in readers]
        scored = any(defense.whole_round for defense in others)
        scores = self.policy.score(prompts, tokens_PG) if scored else None
        known_PG = inspect(others, groups, view(range(len(groups)), scores))
        may_zero = any(rules[defense.name] == "zero_reward" for defense in readers)
        learnable = [
            grpo.beta > 0 or _can_teach(rewards, known_G, rules, may_zero)
            for rewards, known_G in zip(rewards_PG, known_PG, strict=True)
        ]
        samples_PG: dict[int, list[Sample]] = {}
        for indices, forward in self.policy.passes(prompts, tokens_PG, learnable):
            told = inspect(readers, [groups[p] for p in indices], view(indices, forward))
            for p, told_G in zip(indices, told, strict=True):
                verdicts_G = _merge(known_PG[p], told_G, list(rules))
                samples_PG[p] = complete(
                    groups[p],
                    rewards_PG[p],
                    verdicts_G,
                    grpo,
                    rules,
                    num_groups=len(groups),
                    foreign=self.foreign,
                )
            self.policy.accumulate(forward, [samples_PG[p] for p in indices])
        stats = self.policy.step()
        useful = sum(any(s.advantage for s in samples) for samples in samples_PG.values())
        return [s for p in range(len(groups)) for s in samples_PG[p]], stats, useful


def inspect(
    defenses: Sequence[Defense], groups: Sequence[Group], view: DefenseView
) -> list[list[tuple[Verdict, ...]]]:
    """Every defence's verdict on every completion; no early exit, so each has its own rates."""
    by_defense = [defense.inspect(groups, view) for defense in defenses]
    return [
        [tuple(verdicts[p][g] for verdicts in by_defense) for g in range(len(group.completions))]
        for p, group in enumerate(groups)
    ]


def complete(
    group: Group,
    rewards: Sequence[float],
    verdicts: Sequence[tuple[Verdict, ...]],
    grpo: GrpoConfig,
    rules: Mapping[str, OnReject],
    *,
    num_groups: int,
    foreign: frozenset[NodeId] = frozenset(),
) -> list[Sample]:
    """Samples of one group, with nothing left to fill in.

    Args:
        rules: what a refusal does, by the name of the defence.
        foreign: the nodes whose completions another model wrote; `grpo.foreign` is about them.
    """
    effective, dropped = _after_rejection(rewards, verdicts, rules)
    advantage, kept = advantages(
        effective, dropped, on_reject="drop", scale_rewards=grpo.scale_rewards
    )
    if grpo.foreign == "positive":
        others = np.array([completion.node in foreign for completion in group.completions])
        advantage = np.where(others, np.maximum(advantage, 0), advantage)
    num_kept = max(1, int(kept.sum()))
    return [
        Sample(
            completion=completion,
            verdicts=verdicts[g],
            reward=rewards[g],
            kept=bool(kept[g]),
            advantage=float(advantage[g]),
            loss_weight=1.0 / (num_groups * num_kept),
            token_weights=_token_weights(verdicts[g]),
        )
        for g, completion in enumerate(group.completions)
    ]


def _after_rejection(
    rewards_G: Sequence[float],
    verdicts_G: Sequence[Sequence[Verdict]],
    rules: Mapping[str, OnReject],
) -> tuple[list[float], list[bool]]:
    """Rewards with those of refused completions at 0, and who is dropped: any `drop` drops."""
    refused = [{rules[v.defense] for v in row if v.accepted is False} for row in verdicts_G]
    rewards = [0.0 if by else reward for reward, by in zip(rewards_G, refused, strict=True)]
    return rewards, ["drop" in by for by in refused]


def _can_teach(
    rewards_G: Sequence[float],
    known_G: Sequence[Sequence[Verdict]],
    rules: Mapping[str, OnReject],
    may_zero: bool,
) -> bool:
    """Whether a group can have an advantage, whatever the defences that are still to come say.

    Where all rewards are equal, dropping some leaves them equal; a reward may still become 0.
    """
    rewards, dropped = _after_rejection(rewards_G, known_G, rules)
    left = {reward for reward, drop in zip(rewards, dropped, strict=True) if not drop}
    return len(left) > 1 or (may_zero and any(left))


def _merge(
    known_G: Sequence[tuple[Verdict, ...]],
    told_G: Sequence[tuple[Verdict, ...]],
    order: Sequence[str],
) -> list[tuple[Verdict, ...]]:
    """All verdicts on each completion, in the order of the config."""
    return [
        tuple(sorted((*known, *told), key=lambda verdict: order.index(verdict.defense)))
        for known, told in zip(known_G, told_G, strict=True)
    ]


def _token_weights(verdicts: Sequence[Verdict]) -> tuple[float, ...] | None:
    """The product over those defences that weigh tokens."""
    weights = [v.token_weights for v in verdicts if v.token_weights is not None]
    if not weights:
        return None
    return tuple(np.prod(np.asarray(weights), axis=0).tolist())


@dataclass(frozen=True, slots=True)
class Adversary:
    """The malicious nodes: colluding, so one mind."""

    nodes: tuple[NodeId, ...]
    attack: Attack
    task: Task
    policy: Policy  # the honest nodes' model, which the adversary trains along
    topology: str
    num_nodes: int
    run_seed: int

    def produce(
        self, round: int, assignment: Assignment, problems: Mapping[str, Problem]
    ) -> dict[NodeId, list[Completion]]:
        """What the attack crafts for the slots of these nodes."""
        slots = {node: assignment[node] for node in self.nodes}
        own = {s.problem_id: problems[s.problem_id] for row in slots.values() for s in row}
        task = self.task
        if not self.attack.oracle:
            own = {name: withheld(problem) for name, problem in own.items()}
            task = Withheld(of=task)
        view = AttackView(
            nodes=self.nodes,
            slots=slots,
            problems=own,
            task=task,
            policy=self.policy,
            topology=self.topology,
            num_nodes=self.num_nodes,
            rng=generator(self.run_seed, "attack", round),
        )
        produced: dict[NodeId, list[Completion]] = {node: [] for node in self.nodes}
        for completion in self.attack.craft(view):
            produced[completion.node].append(completion)
        return produced
