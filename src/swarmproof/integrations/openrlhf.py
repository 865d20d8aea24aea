"""A guard in OpenRLHF 0.11: a refused completion is masked, but it still votes.

| on_reject | achieved | how |
|---|---|---|
| `monitor` | yes | the verdict is only written down |
| `mask` | yes | `action_ranges` is empty, so no token trains |
| `zero_reward` | yes | reward and score are 0, or stay where they are negative |
| `drop` | no | OpenRLHF takes the group's mean over all rewards: refused in one line |

**Masks, still votes.** The reward of a masked completion moves the advantages of the others in its
group. No hook of OpenRLHF that sees tokens can change that. It also means that a micro-batch with
nothing but masked completions has NaN as its logged KL and clip ratio; its loss is 0.

The executor sees one completion at a time, so only defences that judge a completion by itself work:
`judge`, `equations` with `mode = "refuse"`, `imports`, `max_tokens`. Of the presets none works as
it is, because they drop.

OpenRLHF logs an exception of a reward function at info level, and goes on without a reward. Here a
missing reward is an error.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from swarmproof.integrations.configured import Hook, Seam, hook, missing
from swarmproof.integrations.rows import TrainerRow

try:
    from openrlhf.utils.agent import AgentExecutorBase
except ImportError as error:
    if error.name != "openrlhf":
        raise
    raise missing("openrlhf", "openrlhf", "pip install openrlhf") from None

SEAM = Seam("OpenRLHF", ("monitor", "mask", "zero_reward"), "completion", 'set on_reject = "mask"')


def guarded(
    make: Callable[[], AgentExecutorBase], inspector: Hook | str | None = None
) -> type[AgentExecutorBase]:
    """A class for OpenRLHF to use as `AgentExecutor`.

    Args:
        make: builds the executor that generates and rewards.
        inspector: a hook, a preset or a .toml file; the environment's guard if None. It is built
            when OpenRLHF builds the executor.

    Raises:
        ValueError: when it is built: the guard needs what this hook cannot do.
    """

    class AgentExecutor(AgentExecutorBase):  # type: ignore[misc]
        def __init__(self) -> None:
            self.inner = make()
            self.inspector = inspector if isinstance(inspector, Hook) else _hook(inspector)

        async def execute(
            self,
            prompt: Any,
            label: Any,
            sampling_params: Any,
            max_length: int,
            hf_tokenizer: Any,
            llm_engine: Any,
            images: Any = None,
        ) -> dict[str, Any]:
            output = await self.inner.execute(
                prompt, label, sampling_params, max_length, hf_tokenizer, llm_engine, images
            )
            return await asyncio.to_thread(_inspect, self.inspector, output, hf_tokenizer)

    return AgentExecutor


@cache
def _hook(source: str | None) -> Hook:
    return hook(SEAM, source)


def _inspect(inspector: Hook, output: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
    if output["reward"] is None:
        raise ValueError(
            "OpenRLHF has no reward for a completion: its reward function failed (see the log), or "
            "a reward model follows later; the guard needs the reward from the executor"
        )
    prompt = str(output["prompt"])
    group = hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    ids = _actions(output)
    row = TrainerRow(
        group=group,
        prompt=prompt,
        text=tokenizer.decode(ids, skip_special_tokens=True),
        reward=float(output["reward"]),
        token_ids=tuple(ids),
    )
    seen = inspector.look([row], groups=[group])
    (treatment,) = seen.treatments
    told = dict(output)
    if not treatment.trains:
        told["action_ranges"] = []
    if treatment.zeroed:
        told |= {name: min(0.0, float(output[name])) for name in ("reward", "scores")}
    # Numbers only, and in every output: OpenRLHF makes a tensor of each.
    refused = float(bool(seen.columns[0]["guard/refused"]))
    told["extra_logs"] = {**(output.get("extra_logs") or {}), "guard_refused": refused}
    return told


def _actions(output: dict[str, Any]) -> list[int]:
    """The tokens that the model sampled.

    Raises:
        ValueError: ranges or log-probabilities do not fit the tokens.
    """
    tokens: Sequence[int] = output["observation_tokens"]
    logprobs = output.get("rollout_log_probs")
    if logprobs is not None and len(logprobs) != len(tokens):
        raise ValueError(f"not aligned: {len(tokens)} tokens, {len(logprobs)} log-probabilities")
    found: list[int] = []
    last = 0
    for start, end in output["action_ranges"]:
        if not last <= start <= end <= len(tokens):
            raise ValueError(
                f"not aligned: the actions {output['action_ranges']} of {len(tokens)} tokens"
            )
        found += map(int, tokens[start:end])
        last = end
    return found
