"""The Parquet files that TRL's own trainer writes, with a guard's columns and with chats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from swarmproof.scan.source import open_source

pytestmark = pytest.mark.filterwarnings("ignore")  # of TRL and its dependencies
G = 4


def test_two_steps_of_grpo(random_model: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, str, str, float | None]] = []

    def half(
        prompts: list[str], completions: list[str], trainer_state: Any, log_extra: Any, **_: Any
    ) -> list[float | None]:
        refused = [i % G == 3 for i in range(len(completions))]
        rewards = [None if no else float(i % G) for i, no in enumerate(refused)]
        log_extra("guard/refused", refused)
        log_extra("guard/defence", ["logit" if no else "" for no in refused])
        log_extra("guard/reason", ["it is odd" if no else "" for no in refused])
        log_extra("guard/reward", [float(i % G) for i in range(len(completions))])
        step = trainer_state.global_step + 1
        seen.extend(zip([step] * len(prompts), prompts, completions, rewards, strict=True))
        return rewards

    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(random_model),
        processing_class=AutoTokenizer.from_pretrained(random_model),
        reward_funcs=[half],
        train_dataset=Dataset.from_dict({"prompt": ["3 pens and 4 more are", "Q: 2*2?"]}),
        args=GRPOConfig(
            output_dir=str(tmp_path / "out"),
            per_device_train_batch_size=2 * G,
            num_generations=G,
            max_completion_length=8,
            max_steps=2,
            logging_steps=1,
            log_completions=True,
            bf16=False,
            use_cpu=True,
            gradient_checkpointing=False,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        ),
    )
    trainer.train()
    source = open_source([str(tmp_path / "out")])
    found = list(source.read())
    assert source.formats == {"TRL completions_STEP.parquet": 2}
    assert [(r.step, r.prompt, r.text) for r in found] == [row[:3] for row in seen]
    assert len(found) == 2 * 2 * G
    for number, rollout in enumerate(found):
        refused = number % G == 3
        assert rollout.reward == number % G
        assert rollout.verdict == ("logit: it is odd" if refused else None)
        assert rollout.masked is refused
        assert rollout.advantage is not None
        assert (rollout.advantage == 0.0) is (refused or number % G == 1)
        assert rollout.token_ids is None
    groups = [rollout.group for rollout in found]
    assert [groups[i : i + G] for i in range(0, len(groups), G)] == [
        [group] * G for group in dict.fromkeys(groups)
    ]
