"""What strangers ask to run is bounded by `most_draws`: no attack samples more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from swarmproof import registry
from swarmproof.attacks import Attack, search
from swarmproof.config import ModelConfig, SamplingConfig
from swarmproof.policies.policy import Policy, load
from swarmproof.tasks import Task
from swarms import view_of_one

TASK = registry.build(Task, {"name": "math_words"})
PROBLEMS = TASK.problems("train")[:4]


@pytest.fixture(scope="module")
def tiny_math() -> Policy:
    return load(ModelConfig(path="tiny-math"), SamplingConfig(max_new_tokens=64))


@pytest.mark.parametrize("kind", ["horizontal", "vertical"])
@pytest.mark.parametrize(
    "table",
    [
        {"name": "text", "candidates": 3},
        {"name": "text", "candidates": 3, "oracle": False},
        {"name": "text_in_support", "candidates": 3},
        {"name": "length", "candidates": 3},
        {"name": "length_replay", "how": "withhold"},
        {"name": "length_replay", "how": "near_ties", "alternatives": 2},
        {"name": "length_replay", "how": "late"},
        {"name": "mixed", "share": 0.5, "parts": [{"name": "text", "candidates": 3}] * 2},
        {
            "name": "mixed",
            "oracle": False,
            "parts": [{"name": "text", "oracle": False, "candidates": 3}] * 2,
        },
    ],
    ids=str,
)
def test_no_attack_samples_more(
    table: dict[str, Any], kind: str, tiny_math: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = 0

    def count(seeds: Sequence[Sequence[int]]) -> None:
        nonlocal drawn
        drawn += sum(map(len, seeds))

    class Counting:
        def generate(self, prompts: Any, seeds: Any) -> Any:
            count(seeds)
            return tiny_math.generator.generate(prompts, seeds)

    def counted(draw: Any) -> Any:
        def drawing(policy: Any, prompts: Any, *rest: Any, **more: Any) -> Any:
            count(next(row for row in rest[::-1] if isinstance(row, list)))
            return draw(policy, prompts, *rest, **more)

        return drawing

    attacks = "swarmproof.attacks"
    monkeypatch.setattr(f"{attacks}.length_replay.near_draws", counted(search.near_draws))
    monkeypatch.setattr(f"{attacks}.text_in_support.resume", counted(search.resume))
    policy = replace(tiny_math, generator=Counting())
    view = view_of_one(TASK, PROBLEMS, kind=kind, policy=policy, malicious=(2, 3), group_size=40)
    attack = registry.build(Attack, table)
    attack.craft(view)
    slots = 20 if kind == "horizontal" else 40
    most = len({s.problem_id for row in view.slots.values() for s in row}) * attack.most_draws(
        kind, slots
    )
    assert drawn <= most
    assert drawn > 0 or table.get("how") == "late"
