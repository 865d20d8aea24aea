"""Right completions of honest policies, to measure the effect of a defence on them.

They are sampled from a policy, or read from the no-attack arm of a run. This module knows nothing
about thresholds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path

from swarmproof import registry
from swarmproof.config import BatchConfig, SwarmConfig
from swarmproof.defenses import Defense, DefenseView
from swarmproof.guard.gate import checked
from swarmproof.policies.policy import Policy
from swarmproof.randomness import derive_seed
from swarmproof.records.folder import RunFolder
from swarmproof.records.streams import read_completions
from swarmproof.swarm import topology, warmup
from swarmproof.tasks import Task
from swarmproof.types import Completion, Group, Problem, Slot, Verdict

_PROBLEMS_AT_ONCE = 64
_LAST_ROUNDS = 10  # last rounds of a run, in which the policies are trained

Pair = tuple[Problem, str]


def draw(
    policy: Policy, task: Task, problems: Sequence[Problem], count: int, *, each: int, seed: int
) -> list[Pair]:
    """The first `count` rewarded completions, fewer if the problems are used up.

    Args:
        each: completions sampled for each problem.
    """

    def rewarded() -> Iterator[Pair]:
        for start in range(0, len(problems), _PROBLEMS_AT_ONCE):
            batch = problems[start : start + _PROBLEMS_AT_ONCE]
            seeds = [[derive_seed(seed, "honest", p.id, i) for i in range(each)] for p in batch]
            drawn = policy.generator.generate([task.prompt(p) for p in batch], seeds)
            for of, rows in zip(batch, drawn, strict=True):
                texts = policy.codec.decode(rows)
                rewards = task.rewards(of, texts)
                yield from ((of, t) for t, r in zip(texts, rewards, strict=True) if r)

    return list(islice(rewarded(), count))


def recorded(path: Path, arm: str, count: int) -> tuple[Task, list[Pair]]:
    """Rewarded completions of honest nodes in the last ten rounds of a run's arm, all its seeds.

    Raises:
        ValueError: no run folder, no such arm, or the arm has no such completions.
    """
    folder = RunFolder.open(path)
    if arm not in folder.config.arms:
        raise ValueError(
            f"{path} has no arm {arm!r}{registry.did_you_mean(arm, folder.config.arms)}"
        )
    task = warmup.task_of(folder.config.arms[arm])
    problems = {p.id: p for split in ("train", "test") for p in task.problems(split)}
    found: list[Pair] = []
    for seed in folder.config.seeds:
        # Each model that received a completion has recorded it; it counts once.
        rows = {
            (row["round"], row["problem_id"], row["index"], row["node"]): row
            for row in read_completions(folder.trial_folder(arm, seed))
        }.values()
        first = max((row["round"] for row in rows), default=0) - _LAST_ROUNDS
        found += [
            (problems[row["problem_id"]], row["text"])
            for row in rows
            if row["round"] > first and row["reward"] and not row["poisoned"]
        ]
    if not found:
        raise ValueError(f"the arm {arm!r} of {path} has no rewarded completion of an honest node")
    step = max(1, len(found) // count)  # spread over rounds and seeds
    return task, found[::step][:count]


def verdicts(defense: Defense, task: Task, pairs: Sequence[Pair], seed: int) -> list[Verdict]:
    """Verdicts of a defence that reads texts, on completions that all have reward 1, in order."""
    groups = []
    for of, members in groupby(pairs, key=lambda pair: pair[0]):
        texts = [text for _, text in members]
        slots = (Slot(0, of.id, i) for i in range(len(texts)))
        made = (Completion(slot, 0, text, None) for slot, text in zip(slots, texts, strict=True))
        groups.append(Group(of, tuple(made), task.prompt(of)))
    view = DefenseView(
        rewards=[[1.0] * len(group.completions) for group in groups],
        seed=seed,
        programs=task.writes_programs,
    )
    return [v for row in checked(defense, groups, defense.inspect(groups, view)) for v in row]


def rounds(
    policy: Policy,
    task: Task,
    problems: Sequence[Problem],
    swarm: SwarmConfig,
    batch: BatchConfig,
    *,
    count: int,
    seed: int,
) -> Iterator[list[Group]]:
    """Groups of whole rounds without malicious nodes, until there are `count` completions.

    Each problem is used once; the last partial round is dropped.
    """
    needed = -(-count // (batch.problems * batch.group_size))
    for round in range(min(needed, len(problems) // batch.problems)):
        chosen = problems[round * batch.problems : (round + 1) * batch.problems]
        of = {problem.id: problem for problem in chosen}
        slots = (
            topology.horizontal(round, list(of), batch.group_size, swarm.nodes)
            if swarm.topology == "horizontal"
            else topology.vertical(round, topology.deal(list(of), swarm.nodes), batch.group_size)
        )
        node_of = {slot: node for node, own in slots.items() for slot in own}
        rows = [[Slot(round, name, i) for i in range(batch.group_size)] for name in of]
        seeds = [[derive_seed(seed, "honest", s.problem_id, s.index) for s in row] for row in rows]
        drawn = policy.generator.generate([task.prompt(problem) for problem in chosen], seeds)
        yield [
            Group(
                problem,
                tuple(
                    Completion(slot, node_of[slot], text, ids)
                    for slot, text, ids in zip(row, policy.codec.decode(ids_G), ids_G, strict=True)
                ),
                task.prompt(problem),
                tuple(seeds_G),
            )
            for problem, row, ids_G, seeds_G in zip(chosen, rows, drawn, seeds, strict=True)
        ]
