"""Real trainers of TRL on a tiny random model, with completions that a test fixes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from swarmproof.integrations.trl import GuardMixin

PROMPTS = ("3 pens and 4 more are", "Q: 2*2?")
G = 4  # completions of a prompt
# The refused one of each group has the largest reward, so that it would move all the others.
TEXTS = ("seven", "so 7", "BAD so it is 7", "it is 8", "four", "BAD", "so 4", "2 * 2 = 4")
REWARDS = (1.0, 0.5, 9.0, 0.0, 1.0, 7.0, 0.25, 0.5)
BAD = tuple(text.startswith("BAD") for text in TEXTS)
SENDERS = ("ann", "ben", "eve", "dan") * 2


class GuardedGRPO(GuardMixin, GRPOTrainer):  # type: ignore[misc]
    pass


class GuardedRLOO(GuardMixin, RLOOTrainer):  # type: ignore[misc]
    pass


def by_text(completions: Sequence[str], **_: Any) -> list[float]:
    """The reward of each text."""
    known = dict(zip(TEXTS, REWARDS, strict=True))
    return [known.get(text, 0.0) for text in completions]


def by_length(completions: Sequence[str], **_: Any) -> list[float]:
    return [0.1 * len(text) for text in completions]


async def by_length_later(completions: Sequence[str], **_: Any) -> list[float]:
    return [0.1 * len(text) for text in completions]


def fixed(texts: Sequence[str] = TEXTS, **more: list[Any]) -> Callable[..., dict[str, Any]]:
    """A rollout function of TRL without a guard: these texts, and further fields."""

    def rollout(prompts: list[str], trainer: Any) -> dict[str, Any]:
        tokenizer = trainer.processing_class
        return {
            "prompt_ids": [tokenizer(prompt).input_ids for prompt in prompts],
            "completion_ids": [
                [*tokenizer(text).input_ids, tokenizer.eos_token_id] for text in texts
            ],
            "logprobs": None,
            **more,
        }

    return rollout


def trainer(
    model: Path,
    folder: Path,
    reward_funcs: Any,
    *,
    kind: type[Any] = GRPOTrainer,
    columns: Mapping[str, Sequence[Any]] | None = None,
    prompts: Sequence[Any] = PROMPTS,
    settings: Mapping[str, Any] | None = None,
    generations: int = G,
    **more: Any,
) -> Any:
    """A trainer of `len(prompts)` groups a step; `more` are its own arguments."""
    rloo = issubclass(kind, RLOOTrainer)
    config = RLOOConfig if rloo else GRPOConfig
    defaults: dict[str, Any] = {
        "output_dir": str(folder),
        "per_device_train_batch_size": generations * len(prompts),
        "num_generations": generations,
        "max_completion_length": 16,
        "beta": 0.0,
        "learning_rate": 1e-3,
        "max_steps": 1,
        "logging_steps": 1,
        "log_completions": True,
        "bf16": False,
        "use_cpu": True,
        "gradient_checkpointing": False,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "shuffle_dataset": False,
    }
    return kind(
        model=AutoModelForCausalLM.from_pretrained(model),
        processing_class=AutoTokenizer.from_pretrained(model),
        reward_funcs=reward_funcs,
        train_dataset=Dataset.from_dict({"prompt": list(prompts), **(columns or {})}),
        args=config(**defaults | dict(settings or {})),
        **more,
    )


def scored(trainer: Any, prompts: Sequence[str] = PROMPTS, **columns: Any) -> dict[str, Tensor]:
    """The batch that TRL would train on."""
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    rows = [
        {"prompt": prompt, **{name: values[i] for name, values in columns.items()}}
        for i, prompt in enumerate(p for p in prompts for _ in range(trainer.num_generations))
    ]
    batch: dict[str, Tensor] = trainer._generate_and_score_completions(rows)
    return batch


def gradient(trainer: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """Of TRL's own loss, of all parameters."""
    trainer.model.zero_grad()
    trainer._compute_loss(trainer.model, batch).backward()
    return torch.cat([p.grad.flatten() for p in trainer.model.parameters()])


def by_message(completions: Sequence[Sequence[Mapping[str, str]]], **_: Any) -> list[float]:
    """The same for completions that are conversations."""
    return by_text([messages[-1]["content"] for messages in completions])
