"""TRL's GRPOTrainer on the same model, prompts, batch, sampling and reward as ours."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from benchmarks.ours import LR, parity
from swarmproof import zoo
from swarmproof.tasks import Task


class _Clock(TrainerCallback):  # type: ignore[misc]
    """Seconds of each step: generation, reward and update."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.seconds: list[float] = []
        self._now, self._start = now, 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._start = self._now()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seconds.append(self._now() - self._start)


def trl_steps(
    task: Task,
    num_problems: int,
    group_size: int,
    max_new_tokens: int,
    *,
    steps: int,
    endless: bool = False,
    source: str | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Seconds of each of `steps` training steps of a fresh trainer, by `clock`.

    Args:
        source: the folder of the model; None: the tiny one.
    """
    threads = torch.get_num_threads()
    source = source or str(zoo.path("tiny-math"))
    problems = task.problems("train")[: num_problems * steps]
    watch = _Clock(clock)
    with tempfile.TemporaryDirectory() as folder:
        trainer = GRPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32),
            processing_class=AutoTokenizer.from_pretrained(source),
            reward_funcs=_reward,
            train_dataset=Dataset.from_list([{"prompt": task.prompt(p)} for p in problems]),
            callbacks=[watch],
            args=GRPOConfig(
                output_dir=folder,
                per_device_train_batch_size=num_problems * group_size,
                num_generations=group_size,
                max_completion_length=max_new_tokens,
                temperature=1.0,
                top_k=50,
                top_p=1.0,
                generation_kwargs={"min_new_tokens": max_new_tokens} if endless else None,
                beta=0.0,
                loss_type="grpo",
                learning_rate=LR,
                max_steps=steps,
                use_cpu=True,
                bf16=False,
                gradient_checkpointing=False,
                report_to="none",
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
            ),
        )
        torch.set_num_threads(threads)
        trainer.train()
    return watch.seconds


def _reward(completions: Sequence[str], **_: Any) -> list[float]:
    return parity(completions)
