"""Our own iterations, timed as a trial plays them: `round.play_round`, wire and all."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

from swarmproof.config import TrialConfig
from swarmproof.swarm.assembly import assemble
from swarmproof.swarm.round import Swarm, play_round
from swarmproof.tasks import CodeWords, MathWords
from swarmproof.tasks.programs import wrap
from swarmproof.types import Problem

# So small that the model, and so the work of an iteration, stays the same throughout.
LR = 1e-9


def parity(completions: Sequence[str]) -> list[float]:
    """A reward that gives every group an advantage: no side can skip a backward pass."""
    return [float(len(text) % 2) for text in completions]


class ParityWords(MathWords):
    """The problems of `math_words` with the reward above."""

    def rewards(self, problem: Problem, completions: Sequence[str]) -> list[float]:  # noqa: ARG002
        return parity(completions)


class MostlyWords(MathWords):
    """All but one of each group are right, as late in training: nearly all are judged."""

    def rewards(self, problem: Problem, completions: Sequence[str]) -> list[float]:  # noqa: ARG002
        return [float(i > 0) for i in range(len(completions))]


def swarm(
    *,
    problems: int,
    group_size: int,
    max_new_tokens: int,
    nodes: int = 4,
    malicious: int = 0,
    defenses: Sequence[dict[str, Any]] = (),
    every_group: bool = True,
    mostly_right: bool = False,
    endless: bool = False,
    models: Sequence[str] = ("tiny-math",),
    dtype: str = "float32",
    micro_batch_tokens: int = 2048,
) -> Swarm:
    """A swarm on the shipped model, or on several.

    Args:
        every_group: with the parity reward, or the task's own.
        mostly_right: instead of parity, all but one of each group earn the reward.
        endless: no token ends a text, so that every completion has `max_new_tokens`.
    """
    table: dict[str, Any] = {
        "rounds": 10**6,
        "task": {"name": "math_words"},
        # One model is named as in any experiment, so that the planner knows it.
        "model": {"path": models[0], "dtype": dtype},
        "swarm": {
            "nodes": nodes,
            "malicious": malicious,
            "models": list(models) if len(models) > 1 else [],
        },
        "batch": {"problems": problems, "group_size": group_size},
        "sampling": {"max_new_tokens": max_new_tokens},
        "grpo": {"lr": LR, "micro_batch_tokens": micro_batch_tokens},
        "attack": {"name": "text"},
        "defenses": list(defenses),
        "evaluation": {"every": 10**6, "problems": 1},
    }
    built = assemble(TrialConfig.model_validate(table), run_seed=0)
    if endless:
        built.cohorts[0].policy.codec.end_ids = frozenset()
    if not every_group:
        return built
    task = MostlyWords() if mostly_right else ParityWords()
    return replace(built, task=task, cohorts=tuple(replace(c, task=task) for c in built.cohorts))


def step(of: Swarm, round: int) -> tuple[float, dict[str, float], int]:
    """Play a round: its seconds, those of its steps, and the tokens that were generated."""
    start = time.perf_counter()
    outcomes = play_round(of, round)
    seconds = time.perf_counter() - start
    steps = sum((Counter(outcome.watch.seconds) for outcome in outcomes), Counter[str]())
    return seconds, dict(steps), sum(outcome.record.generated_tokens for outcome in outcomes)


CODE = CodeWords()


def programs(problems: int, group_size: int) -> list[tuple[Problem, list[str]]]:
    """Completions as a half-trained model writes them: right programs, and one mistake in others.

    All programs of a group differ, since equal ones would run once.
    """
    rng = Random("benchmarks/programs")
    sent = []
    for problem in CODE.problems("train")[:problems]:
        texts = set(problem.solutions[:group_size])
        while len(texts) < group_size:
            texts.add(_mistaken(rng, rng.choice(problem.solutions)))
        sent.append((problem, [wrap(text) for text in sorted(texts)]))
    return sent


def _mistaken(rng: Random, program: str) -> str:
    """With another number, operator or name, or cut off: about half of these still run."""
    numbers = [*re.finditer(r"\d+", program)]
    at = rng.choice(numbers)
    kinds = [
        program[: at.start()] + str(rng.randrange(1, 1000)) + program[at.end() :],
        re.sub(r" [-+*/]+ ", f" {rng.choice('+-*')} ", program, count=1),
        program.replace("print(", f"print({rng.choice('abcde')}_", 1),
        program[: rng.randrange(len(program) // 2, len(program))],
    ]
    return rng.choice(kinds)


def reward(sent: Sequence[tuple[Problem, list[str]]]) -> float:
    """Seconds to reward these completions, all of them at once as a round does."""
    start = time.perf_counter()
    CODE.group_rewards(sent)
    return time.perf_counter() - start
