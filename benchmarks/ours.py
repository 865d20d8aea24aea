"""Our own iterations, timed as a trial plays them: `round.play_round`, wire and all."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from swarmproof.config import TrialConfig
from swarmproof.experiment import assemble
from swarmproof.round import Swarm, play_round
from swarmproof.tasks import MathWords
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


def swarm(
    *,
    problems: int,
    group_size: int,
    max_new_tokens: int,
    nodes: int = 4,
    malicious: int = 0,
    logit: bool = False,
    every_group: bool = True,
    endless: bool = False,
) -> Swarm:
    """A swarm on the shipped model.

    Args:
        every_group: with the parity reward, or the task's own.
        endless: no token ends a text, so that every completion has `max_new_tokens`.
    """
    table: dict[str, Any] = {
        "rounds": 10**6,
        "task": {"name": "math_words"},
        "swarm": {"nodes": nodes, "malicious": malicious},
        "batch": {"problems": problems, "group_size": group_size},
        "sampling": {"max_new_tokens": max_new_tokens},
        "grpo": {"lr": LR},
        "attack": {"name": "text"},
        "defenses": [{"name": "logit"}] if logit else [],
        "evaluation": {"every": 10**6},
    }
    built = assemble(TrialConfig.model_validate(table), run_seed=0)
    if endless:
        built.cohorts[0].policy.eos_token_id = -1
    if not every_group:
        return built
    task = ParityWords()
    return replace(built, task=task, cohorts=tuple(replace(c, task=task) for c in built.cohorts))


def step(of: Swarm, round: int) -> tuple[float, dict[str, float], int]:
    """Play a round: its seconds, those of its steps, and the tokens that were generated."""
    start = time.perf_counter()
    (outcome,) = play_round(of, round)
    seconds = time.perf_counter() - start
    return seconds, dict(outcome.seconds), outcome.record.generated_tokens
