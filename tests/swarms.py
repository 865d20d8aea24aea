"""Builders of tiny swarms: a task that a random model solves now and then, configs, policies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase
from typing import Any

import torch
from pydantic import Field

from swarmproof.attacks.base import AttackView
from swarmproof.config import SamplingConfig, TrialConfig
from swarmproof.defenses import DefenseView
from swarmproof.guard.gate import checked
from swarmproof.policies.policy import Policy, load
from swarmproof.registry import register
from swarmproof.swarm import topology
from swarmproof.tasks import Task
from swarmproof.tasks.base import Split
from swarmproof.types import Completion, Group, NodeId, Problem, Slot, Verdict

# As in a trial: sums are split by thread.
torch.set_num_threads(1)


WAYS = ("capitals", "upper case", "print", "large", "tall", "block letters", "full size", "big")


@register("task", "letters")
class Letters(Task):
    """Write the second of two letters in upper case: a random text does so now and then."""

    train: int = Field(default=64, ge=1, le=600, description="problems to learn on")

    def problems(self, split: Split) -> Sequence[Problem]:
        pairs = [(a, b) for a in ascii_lowercase for b in ascii_lowercase]
        chosen = pairs[: self.train] if split == "train" else pairs[600:616]
        return [
            Problem(
                f"letters/{split}/{a}{b}",
                f"{a} {b}",
                b.upper(),
                tuple(f"{b} in {words}" for words in WAYS),
            )
            for a, b in chosen
        ]

    def prompt(self, problem: Problem) -> str:
        return f"{problem.question}:"

    def oracle(self, problem: Problem, variant: int = 0) -> str:
        solution = problem.solutions[variant % len(problem.solutions)]
        return f"<think>{solution}</think> {problem.answer}"

    def rewards(self, problem: Problem, completions: Sequence[str]) -> list[float]:
        return [float(self.answer(text) == problem.answer) for text in completions]

    def answer(self, completion: str) -> str | None:
        """The last capital: what was planted in front of it does not matter."""
        capitals = [char for char in completion if char in ascii_uppercase]
        return capitals[-1] if capitals else None


def trial_config(model: Path, /, **changes: Mapping[str, Any] | Sequence[Any] | int) -> TrialConfig:
    """Six rounds of 4 x 4 with an attacker in four nodes; tables in `changes` are laid on top."""
    table: dict[str, Any] = {
        "rounds": 6,
        "task": {"name": "letters"},
        "model": {"path": str(model)},
        "swarm": {"nodes": 4, "malicious": 1},
        "batch": {"problems": 4, "group_size": 4},
        "sampling": {"max_new_tokens": 56},
        "grpo": {"lr": 1e-3},
        "attack": {"name": "text"},
        "defenses": [],
        "evaluation": {"every": 3, "problems": 4},
        "checkpoint_every": 2,
    }
    for key, value in changes.items():
        old = table.get(key)
        both = isinstance(value, Mapping) and isinstance(old, dict)
        table[key] = {**old, **value} if both else value  # type: ignore[dict-item]
    return TrialConfig.model_validate(table)


@cache
def policy(model: Path, **sampling: Any) -> Policy:
    """A policy of its own for each sampling strategy; it cannot be trained."""
    return load(str(model), SamplingConfig(**sampling))


def problem(name: str = "p", question: str = "a b") -> Problem:
    return Problem(name, question, "B", ("b in capitals",))


def completion(
    text: str,
    token_ids: tuple[int, ...] | None = None,
    *,
    index: int = 0,
    node: int = 0,
    problem_id: str = "p",
) -> Completion:
    return Completion(Slot(0, problem_id, index), node, text, token_ids)


def draw_group(
    drawer: Policy, task: Task, of: Problem, seeds: Sequence[int], node: int = 0
) -> Group:
    """What a policy draws for a problem, one completion a seed."""
    (row,) = drawer.generator.generate([task.prompt(of)], [list(seeds)])
    texts = drawer.codec.decode(row)
    return Group(
        of,
        tuple(
            Completion(Slot(0, of.id, i), node, text, ids)
            for i, (text, ids) in enumerate(zip(texts, row, strict=True))
        ),
        task.prompt(of),
        tuple(seeds),
    )


def view_of(
    receiver: Policy, task: Task, groups: Sequence[Group], foreign: frozenset[NodeId] = frozenset()
) -> DefenseView:
    """What a receiver has at hand when it inspects these groups, all in one pass."""
    passes = receiver.scorer.passes(
        [group.prompt for group in groups],
        [group.token_ids for group in groups],
        [True] * len(groups),
    )
    ((order, forward),) = list(passes)
    assert order == list(range(len(groups))), "give groups in order of length"
    return DefenseView(
        rewards=task.group_rewards([(group.problem, group.texts) for group in groups]),
        seed=0,
        sampling=receiver.sampling,
        source=forward,
        codec=receiver.codec,
        model=receiver,
        foreign=foreign,
        programs=task.writes_programs,
    )


def verdicts_of(
    defense: Any,
    receiver: Policy,
    task: Task,
    group: Group,
    foreign: frozenset[NodeId] = frozenset(),
) -> list[Verdict]:
    """A defence's verdicts on one group, through the gate."""
    view = view_of(receiver, task, [group], foreign)
    (verdicts,) = checked(defense, [group], defense.inspect([group], view))
    return verdicts


def view_of_one(
    task: Task,
    problems: Sequence[Problem],
    *,
    kind: str,
    policy: Policy | None = None,
    group_size: int = 12,
    malicious: Sequence[NodeId] = (3,),
    nodes: int = 4,
    seed: int = 0,
    with_seen: bool = False,
) -> AttackView:
    """What colluding nodes of a small swarm know; `with_seen`: others send oracle solutions."""
    ids = [p.id for p in problems]
    everybody = (
        topology.horizontal(0, ids, group_size, nodes)
        if kind == "horizontal"
        else topology.vertical(0, topology.deal(ids, nodes), group_size)
    )
    of = {p.id: p for p in problems}
    honest = [node for node in everybody if node not in malicious]
    seen = [
        Completion(slot, node, task.oracle(of[slot.problem_id], slot.index), None)
        for node in honest
        for slot in everybody[node]
    ]
    slots = {node: everybody[node] for node in malicious}
    return attack_view(
        task, problems, slots, topology=kind, num_nodes=nodes, seed=seed, policy=policy,
        seen=seen if with_seen else (),
    )  # fmt: skip


def groups_of(view: AttackView, sent: Sequence[Completion], codec: Any, limit: int) -> list[Group]:
    """What an adversary sent, as a receiver groups it; everything must be admitted."""
    from swarmproof.exchange.admission import admit

    completions, refused = admit(sent, codec, limit)
    assert not refused, refused[0]
    return [
        Group(
            of,
            tuple(own),
            view.task.prompt(of),
            tuple(view.slot_seed(c.slot) for c in own),
        )
        for of in view.problems.values()
        if (own := [c for c in completions if c.slot.problem_id == of.id])
    ]


def refused_by(defense: Any, view: AttackView, sent: Sequence[Completion]) -> list[bool]:
    """Whether a receiver with the adversary's model refuses each of the completions."""
    from swarmproof.guard.guard import Guard

    policy = view.policy
    assert policy is not None
    groups = groups_of(view, sent, policy.codec, policy.sampling.max_new_tokens)
    guard = Guard([defense], model=policy, sampling=policy.sampling)
    rewards = view.task.group_rewards([(group.problem, group.texts) for group in groups])
    found = guard(groups, rewards, round=0)
    refused = {sample.completion.slot: sample.refused for row in found.samples for sample in row}
    return [refused[completion.slot] for completion in sent]


def attack_view(
    task: Task,
    problems: Sequence[Problem],
    slots: Mapping[NodeId, tuple[Slot, ...]],
    *,
    topology: str,
    num_nodes: int,
    seed: int = 0,
    policy: Policy | None = None,
    seen: Sequence[Completion] = (),
) -> AttackView:
    import numpy as np

    from swarmproof.swarm.node import slot_seed

    return AttackView(
        nodes=tuple(slots),
        slots=slots,
        problems={p.id: p for p in problems},
        task=task,
        policy=policy,
        topology=topology,
        num_nodes=num_nodes,
        rng=np.random.default_rng(seed),
        slot_seed=partial(slot_seed, seed),
        seen=tuple(seen),
    )
