"""The generator `vllm` with vLLM itself: our draws, with the weights of the moment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models import save_random_llama
from swarmproof import testing
from swarmproof.config import ModelConfig, SamplingConfig
from swarmproof.policies.policy import Policy, load
from swarmproof.policies.vllm_generator import Vllm
from swarmproof.randomness import derive_seed
from swarmproof.records.streams import read_completions, read_rounds
from swarmproof.swarm.trial import Trial, run_trial
from swarms import trial_config
from trainers import package

package("vllm")

PROMPTS = ["1 + 2 = ", "Tom has 3 pens and buys 4 more. How many pens has he?\n", "Two"]
SEEDS = [[derive_seed(0, "completion", p, g) for g in range(n)] for p, n in enumerate((7, 12, 3))]
SMALL = Vllm(cache_gb=0.25, max_rows=8)  # rows leave and enter its batch


def margins(of: Policy, drawn: Sequence[Any]) -> np.ndarray:
    column = of.scorer.score(PROMPTS, drawn, SEEDS, ("margin",)).column("margin")
    return np.concatenate([each for row in column for each in row])


@pytest.mark.parametrize(
    "sampling", [{}, {"top_k": 0, "temperature": 0.7}, {"top_p": 0.8}], ids=str
)
def test_its_draws_are_ours_also_after_an_update(sampling: dict[str, Any]) -> None:
    ours = load("tiny-math", SamplingConfig(max_new_tokens=48, **sampling))
    generator = SMALL.start(ours.model, ours.codec, ours.sampling, None)
    before = generator.generate(PROMPTS, SEEDS)
    assert margins(ours, before).max() <= 1e-3, "the tolerance of `replay`"
    ended = [ids[-1] in ours.codec.end_ids for row in before for ids in row]
    assert True in ended
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in ours.model.parameters():
            weight.add_(0.03 * torch.randn_like(weight))
    after = generator.generate(PROMPTS, SEEDS)
    assert margins(ours, before).max() > 0.1
    assert margins(ours, after).max() <= 1e-3


def test_an_output_layer_of_its_own_is_handed_over_too(tmp_path: Path) -> None:
    folder = save_random_llama(tmp_path / "llama", hidden=128, heads=(4, 2))
    ours = load(str(folder), SamplingConfig(max_new_tokens=16))
    generator = SMALL.start(ours.model, ours.codec, ours.sampling, None)
    with torch.no_grad():
        ours.model.get_output_embeddings().weight.mul_(0.5)
    assert margins(ours, generator.generate(PROMPTS, SEEDS)).max() <= 1e-3


def test_in_bfloat16_a_few_near_ties_fall_otherwise() -> None:
    ours = load(ModelConfig(path="tiny-math", dtype="bfloat16"), SamplingConfig(max_new_tokens=48))
    generator = SMALL.start(ours.model, ours.codec, ours.sampling, None)
    lost = margins(ours, generator.generate(PROMPTS, SEEDS))
    assert (lost > 0).mean() < 0.02
    assert lost.max() <= 0.25, "the tolerance that docs/defenses suggests where precisions differ"


def test_it_keeps_the_promises_of_a_generator() -> None:
    testing.check(SMALL)


def test_what_it_cannot_run_is_said_in_one_line() -> None:
    ours = load("tiny-code-llama", SamplingConfig(max_new_tokens=8))
    with pytest.raises(ValueError, match=r"vLLM does not run this model here \(.*head_dim=16"):
        SMALL.start(ours.model, ours.codec, ours.sampling, None)


def test_replay_accepts_what_it_draws_in_a_trial(tmp_path: Path) -> None:
    config = trial_config(
        Path("tiny-math"),
        rounds=3,
        task={"name": "math_words"},
        sampling={"max_new_tokens": 32},
        swarm={"nodes": 2, "malicious": 0},
        defenses=[{"name": "replay"}],
        generator={"name": "vllm", "cache_gb": 0.25},
    )
    run_trial(Trial("test", "vllm", 0, config, tmp_path), resume=False)
    assert len([*read_rounds(tmp_path)]) == 3
    completions = [*read_completions(tmp_path)]
    assert len(completions) == 48
    assert all(of["verdicts"][0]["accepted"] for of in completions)
