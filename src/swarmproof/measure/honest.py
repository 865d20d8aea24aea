"""Right completions of honest policies, to measure what a defence does to them.

Drawn here from a policy, or read from the no-attack arm of a run. Knows nothing of thresholds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import cast

from swarmproof import registry
from swarmproof.config import GrpoConfig, ModelConfig, SamplingConfig
from swarmproof.defenses import Defense, DefenseView
from swarmproof.policies.policy import Policy
from swarmproof.randomness import derive_seed
from swarmproof.records.folder import RunFolder
from swarmproof.records.streams import read_completions
from swarmproof.tasks import Task
from swarmproof.types import Completion, Group, Problem, Slot, Verdict

_PROBLEMS_AT_ONCE = 64
_LAST_ROUNDS = 10  # of a run: the policies as they were trained

Pair = tuple[Problem, str]


def draw(
    policy: Policy, task: Task, problems: Sequence[Problem], count: int, *, each: int, seed: int
) -> list[Pair]:
    """The first `count` rewarded completions, fewer if the problems are used up.

    Args:
        each: completions drawn of each problem.
    """

    def rewarded() -> Iterator[Pair]:
        for start in range(0, len(problems), _PROBLEMS_AT_ONCE):
            batch = problems[start : start + _PROBLEMS_AT_ONCE]
            seeds = [[derive_seed(seed, "honest", p.id, i) for i in range(each)] for p in batch]
            drawn = policy.generate([task.prompt(p) for p in batch], seeds)
            for of, rows in zip(batch, drawn, strict=True):
                texts = policy.decode(rows)
                rewards = task.rewards(of, texts)
                yield from ((of, t) for t, r in zip(texts, rewards, strict=True) if r)

    return list(islice(rewarded(), count))


def load_policy(model: ModelConfig, sampling: SamplingConfig) -> Policy:
    """A policy to draw from, not to train."""
    return Policy(model, GrpoConfig(), sampling)


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
    task = cast(Task, registry.build("task", folder.config.arms[arm].task))
    problems = {p.id: p for split in ("train", "test") for p in task.problems(split)}
    found: list[Pair] = []
    for seed in folder.config.seeds:
        rows = list(read_completions(folder.trial_folder(arm, seed)))
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
    """What a defence that reads texts says of completions that all have reward 1, in order."""
    groups = []
    for of, members in groupby(pairs, key=lambda pair: pair[0]):
        texts = [text for _, text in members]
        slots = (Slot(0, of.id, i) for i in range(len(texts)))
        made = (Completion(slot, 0, text, None) for slot, text in zip(slots, texts, strict=True))
        groups.append(Group(of, tuple(made)))
    rewards = [[1.0] * len(group.completions) for group in groups]
    view = DefenseView(task, SamplingConfig(), 0, None, rewards, seed)
    return [verdict for row in defense.inspect(groups, view) for verdict in row]
