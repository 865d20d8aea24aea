"""A guard in verl 0.9 (v1): reward manager `swarmproof`, advantage estimator `grpo_guarded`.

| on_reject | achieved | how |
|---|---|---|
| `drop` | yes, both together | reward -1e9; out of mean and deviation, with advantage 0 |
| `zero_reward` | yes | the manager's reward is 0, or the task's where that is negative |
| `monitor` | yes | the verdict is only written down |
| `mask` | no | refused in one line: use `drop` |

verl's own estimator `grpo` lets a row that does not train move its group's mean. What remains of a
dropped row: its tokens are in the token mean of the loss, and terms that use no advantage
(`use_kl_loss`, the entropy bonus) still act on them; -1e9 is visible in the reward metrics, where
`acc` has the task's own score. A group with one valid row has advantage 0. Unlike `grpo`,
`grpo_guarded` counts each output of an agent loop with several outputs as a row.

The manager sees one completion at a time, so only defences that judge a completion by itself work:
`judge`, `equations` with `mode = "refuse"`, `imports`, `max_tokens`, and of the presets
`paper-any-model`. Where the guard fails, its exception goes to verl, which logs it and never trains
on that completion.

verl finds this module by the entry point `verl.plugins`, in every process. It logs a failure of
that only at debug level, so this module prints its own.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING, Any

from swarmproof.integrations.configured import Hook, Seam, hook, missing
from swarmproof.integrations.rows import TrainerRow

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

try:
    from verl.experimental.reward_loop.reward_manager import get_reward_manager_cls
    from verl.experimental.reward_loop.reward_manager import register as register_manager
    from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage, register_adv_est
except ImportError as error:
    if error.name == "verl":
        raise missing("verl", "verl", "pip install 'swarmproof[verl]'") from None
    print(
        f"swarmproof: the guard is NOT registered in verl: {error}; tested with verl 0.9.1, whose "
        "plug-in needs the package cachetools, too",
        file=sys.stderr,
    )
    raise

REFUSED = -1e9  # the reward of a refused completion
_THRESHOLD = REFUSED / 2  # a KL penalty in the reward moves it by far less

SEAM = Seam("verl", ("monitor", "drop", "zero_reward"), "completion", 'set on_reject = "drop"')


@register_adv_est("grpo_guarded")  # type: ignore[untyped-decorator]
def grpo_guarded(
    token_level_rewards: Tensor,
    response_mask: Tensor,
    index: np.ndarray,
    epsilon: float = 1e-6,
    config: Any = None,
    reward_baselines: Tensor | None = None,  # noqa: ARG001 - verl may pass it
) -> tuple[Tensor, Tensor]:
    """verl's GRPO among the rows that were not refused.

    Args:
        token_level_rewards: (N, T); a refused row sums to about -1e9.
        response_mask: (N, T).
        index: (N,), the group of each row.
        epsilon: added to the deviation.
        config: verl's `algorithm` table, for `norm_adv_by_std_in_grpo`.

    Returns:
        Advantages and returns, both (N, T); 0 for refused rows, and in groups with one other row.
    """
    valid = (token_level_rewards.sum(dim=-1) > _THRESHOLD).tolist()
    counts: dict[Any, int] = {}
    for key, counted in zip(index, valid, strict=True):
        counts[key] = counts.get(key, 0) + counted
    keep = [i for i, key in enumerate(index) if valid[i] and counts[key] > 1]
    advantages = token_level_rewards.new_zeros(token_level_rewards.shape)
    if keep:
        scaled = True if config is None else config.get("norm_adv_by_std_in_grpo", True)
        advantages[keep], _ = compute_grpo_outcome_advantage(
            token_level_rewards[keep], response_mask[keep], index[keep], epsilon, scaled
        )
    return advantages, advantages


def guarded(manager: type[Any]) -> type[Any]:
    """A reward manager of verl with the guard behind it.

    Register the result yourself, or name it with `reward_manager.source=importlib`.
    """

    class Guarded(manager):  # type: ignore[misc]
        async def run_single(self, data: Any) -> dict[str, Any]:
            result = await super().run_single(data)
            item = data[-1:][0]  # verl rewards the last of several outputs
            told: dict[str, Any] = await self.loop.run_in_executor(
                None, _inspect, _hook(), item, self.tokenizer, result
            )
            return told

    Guarded.__name__ = Guarded.__qualname__ = f"Guarded{manager.__name__}"
    return Guarded


GuardedNaive = register_manager("swarmproof")(guarded(get_reward_manager_cls("naive")))
GuardedDapo = register_manager("swarmproof_dapo")(guarded(get_reward_manager_cls("dapo")))


@cache
def _hook() -> Hook:
    return hook(SEAM)


def _inspect(inspector: Hook, item: Any, tokenizer: Any, result: dict[str, Any]) -> dict[str, Any]:
    told = item.non_tensor_batch
    group = str(told.get("uid", told.get("index", "")))
    prompt, response = _tokens(item)
    row = TrainerRow(
        group=group,
        prompt=tokenizer.decode(prompt, skip_special_tokens=False),
        text=tokenizer.decode(_before_end(response, tokenizer), skip_special_tokens=False),
        reward=float(result["reward_score"]),
        token_ids=tuple(response),
        question=_question(told.get("raw_prompt")),
    )
    step = told.get("global_steps")
    seen = inspector.look([row], groups=[group], step=None if step is None else int(step))
    (treatment,) = seen.treatments
    score = result["reward_score"] if treatment.votes else REFUSED
    extra = {
        "acc": result["reward_score"],
        **result["reward_extra_info"],
        "guard_refused": float(bool(seen.columns[0]["guard/refused"])),
    }
    return {
        "reward_score": min(0.0, score) if treatment.zeroed else score,
        "reward_extra_info": extra,
    }


def _tokens(item: Any) -> tuple[list[int], list[int]]:
    """Prompt and response without their padding.

    Raises:
        ValueError: the attention mask does not fit them.
    """
    prompts, responses = item.batch["prompts"], item.batch["responses"]
    attention = item.batch["attention_mask"]
    if len(attention) != len(prompts) + len(responses):
        raise ValueError(
            f"not aligned: {len(prompts)} + {len(responses)} tokens, and a mask of {len(attention)}"
        )
    before, after = attention[: len(prompts)].bool(), attention[len(prompts) :].bool()
    return prompts[before].tolist(), responses[after].tolist()


def _before_end(response: list[int], tokenizer: Any) -> list[int]:
    ends = {tokenizer.eos_token_id, tokenizer.pad_token_id}
    return response[:-1] if response and response[-1] in ends else response


def _question(messages: Any) -> str | None:
    if messages is None or isinstance(messages, str) or not len(messages):
        return messages or None
    content = messages[-1].get("content")
    return content if isinstance(content, str) else None
