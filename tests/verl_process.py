"""A process of verl alone: its reward worker, and its advantages. verl finds the guard by
its entry point. Prints JSON.

python verl_process.py TOKENIZER REWARD_FILE {RULE: GUARD_FILE}
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import torch
import verl
from omegaconf import OmegaConf
from tensordict import TensorDict
from transformers import AutoTokenizer
from verl.experimental.reward_loop.reward_loop import RewardLoopWorker
from verl.trainer.ppo.ray_trainer import compute_advantage
from verl.trainer.ppo.reward import resolve_reward_manager_cls

from trainers import ALSO_GOOD, GOOD, POISON, WRONG

PROMPT = "What is 3 + 4?"


def config(tokenizer: str, reward: str) -> Any:
    return OmegaConf.create(
        {
            "reward": {
                "reward_manager": {"source": "register", "name": "swarmproof"},
                "custom_reward_function": {
                    "path": reward,
                    "name": "compute_score",
                    "reward_kwargs": {},
                },
                "reward_model": {"enable": False},
            },
            "actor_rollout_ref": {"model": {"path": tokenizer, "tokenizer_path": tokenizer}},
        }
    )


def batch(tokenizer: Any, texts: list[str], uids: list[str]) -> Any:
    """As the agent loop builds it: padded on the right, with an end-of-text token."""
    prompt = tokenizer(PROMPT).input_ids
    responses = [[*tokenizer(text).input_ids, tokenizer.eos_token_id] for text in texts]
    most = max(map(len, responses))
    attention = [[1] * (len(prompt) + len(r)) + [0] * (most - len(r)) for r in responses]
    padded = [r + [0] * (most - len(r)) for r in responses]
    n = len(texts)
    tensors = {
        "prompts": torch.tensor([prompt] * n),
        "responses": torch.tensor(padded),
        "attention_mask": torch.tensor(attention),
        "response_mask": torch.tensor([row[len(prompt) :] for row in attention]),
    }
    messages = np.empty(n, dtype=object)
    messages[:] = [[{"role": "user", "content": PROMPT}]] * n
    columns = {
        "uid": np.array(uids, dtype=object),
        "data_source": np.array(["sums"] * n, dtype=object),
        "reward_model": np.array([{"ground_truth": "7"}] * n, dtype=object),
        "raw_prompt": messages,
        "global_steps": np.array([3] * n),
    }
    return verl.DataProto(TensorDict(tensors, batch_size=n), columns)


def advantages(data: Any, manager: Any, scores: list[float], **how: Any) -> list[float]:
    data.batch["token_level_rewards"] = manager.assemble_rm_scores(data, scores)
    return list(compute_advantage(data, **how).batch["advantages"][:, 0].tolist())


def other_rules(tokenizer: Any, files: dict[str, str]) -> dict[str, Any]:
    """What the manager makes of a poisoned completion, by rule; the message of an error."""
    # Only now, when verl has found it by itself.
    from swarmproof.integrations import verl as adapter
    from swarmproof.integrations.configured import hook

    item = batch(tokenizer, [POISON], ["a"])[0]
    result = {"reward_score": 1.0, "reward_extra_info": {}}
    told: dict[str, Any] = {}
    for rule, path in files.items():
        try:
            inspector = hook(adapter.SEAM, path)
            told[rule] = adapter._inspect(inspector, item, tokenizer, result)["reward_score"]
        except ValueError as error:
            told[rule] = str(error)
    item.batch["attention_mask"] = item.batch["attention_mask"][1:]
    try:
        adapter._inspect(hook(adapter.SEAM, files["monitor"]), item, tokenizer, result)
    except ValueError as error:
        told["not aligned"] = str(error)
    return told


def main(tokenizer_path: str, reward: str, files: str) -> dict[str, Any]:
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_path)
    settings = config(tokenizer_path, reward)
    manager = resolve_reward_manager_cls(settings)
    worker = RewardLoopWorker(settings)
    mixed = [GOOD, POISON, ALSO_GOOD, WRONG]
    data = batch(tokenizer, [*mixed, GOOD, POISON], ["a"] * 4 + ["b"] * 2)
    told = worker.loop.run_until_complete(worker.compute_score_batch(data))
    scores = [one["reward_score"] for one in told]
    honest = batch(tokenizer, [GOOD, ALSO_GOOD, WRONG], ["a"] * 3)
    two = batch(tokenizer, [GOOD, POISON], ["a"] * 2)
    two.batch["response_mask"][1] = 0  # what a user of the stock estimator would do
    rules = other_rules(tokenizer, json.loads(files))
    plain = {"config": {"norm_adv_by_std_in_grpo": False}}
    return {
        "manager": manager.__name__,
        "rules": rules,
        "told": told,
        "guarded": advantages(data, manager, scores, adv_estimator="grpo_guarded"),
        "honest": advantages(honest, manager, [1.0, 1.0, 0.0], adv_estimator="grpo"),
        "guarded_plain": advantages(data, manager, scores, adv_estimator="grpo_guarded", **plain),
        "honest_plain": advantages(
            honest, manager, [1.0, 1.0, 0.0], adv_estimator="grpo", norm_adv_by_std_in_grpo=False
        ),
        "stock": advantages(
            two, manager, [1.0, 100.0], adv_estimator="grpo", norm_adv_by_std_in_grpo=False
        ),
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
