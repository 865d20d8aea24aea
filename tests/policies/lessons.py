"""Tiny policies that learn, what they draw, and complete samples to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from swarmproof.config import GrpoConfig, ModelConfig, SamplingConfig
from swarmproof.policies.policy import Policy, TrainedPolicy, train
from swarmproof.types import Completion, Sample, Slot, Tokens, UpdateStats

PROMPTS = ("one and two", "Q?")
REWARDS_PG = ((1.0, -1.0, 0.5, -0.5), (0.0, 0.0, 0.0, 0.0))
Out = Literal["drop", "mask"]


def trained(
    folder: Path, *, top_k: int = 20, top_p: float = 1.0, dtype: str = "float32", **grpo: Any
) -> TrainedPolicy:
    sampling = SamplingConfig(top_k=top_k, top_p=top_p, max_new_tokens=10)
    config = ModelConfig.model_validate({"path": str(folder), "dtype": dtype})
    return train(config, GrpoConfig(**grpo), sampling)


def samples(
    rows_PG: Sequence[Sequence[Tokens]],
    advantages_PG: Sequence[Sequence[float]] = REWARDS_PG,
    *,
    out: tuple[int, int] | None = None,
    how: Out = "drop",
) -> list[list[Sample]]:
    """Samples with these advantages; the one that is `out`, (p, g), is as `complete` makes it.

    One that is dropped has no vote and so no advantage; a masked one has both, and does not train.
    """

    def sample(p: int, g: int, row: Tokens, advantage: float) -> Sample:
        is_out = (p, g) == out
        votes = not is_out or how == "mask"
        return Sample(
            completion=Completion(Slot(0, str(p), g), 0, "", row),
            verdicts=(),
            reward=0.0,
            kept=votes,
            weight=float(votes),
            advantage=advantage if votes else 0.0,
            loss_weight=0.0 if is_out else 1 / 8,
        )

    return [
        [sample(p, g, *pair) for g, pair in enumerate(zip(rows, advantages, strict=True))]
        for p, (rows, advantages) in enumerate(zip(rows_PG, advantages_PG, strict=True))
    ]


def drawn(of: Policy, round: int = 0) -> list[list[Tokens]]:
    seeds = [[100 * round + 10 * p + g for g in range(4)] for p in range(2)]
    return of.generator.generate(PROMPTS, seeds)


def accumulate(
    policy: TrainedPolicy,
    rows_PG: Sequence[Sequence[Tokens]],
    samples_PG: Sequence[Sequence[Sample]],
    *,
    look: bool = False,
) -> None:
    """`look`: a defence reads the scores of every pass before the loss learns from it."""
    kl = policy.learner.reference is not None
    learnable = [kl or any(s.advantage for s in group) for group in samples_PG]
    for indices, forward in policy.scorer.passes(PROMPTS, rows_PG, learnable):
        if look:
            assert len(forward.scores) == len(indices)
        policy.learner.accumulate(forward, [samples_PG[p] for p in indices])


def gradients(policy: TrainedPolicy) -> dict[str, Tensor]:
    named = policy.model.named_parameters()
    return {name: p.grad.clone() for name, p in named if p.grad is not None}


def play(policy: TrainedPolicy, round: int) -> tuple[list[list[Tokens]], UpdateStats]:
    rows_PG = drawn(policy, round)
    accumulate(policy, rows_PG, samples(rows_PG))
    return rows_PG, policy.learner.step()


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], atol=1e-7, rtol=1e-5, msg=name)
