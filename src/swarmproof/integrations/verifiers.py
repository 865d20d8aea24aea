"""A guard in verifiers 0.4 and prime-rl: a trace that is refused leaves its group.

| on_reject | achieved | how |
|---|---|---|
| `drop` | yes | the hook raises, `trace.ok` is False, prime-rl's `iter_trainable_traces` skips it |
| `monitor` | yes | the verdict is only written down |
| `mask`, `zero_reward` | no | refused in one line: use `drop` |

The cost of a drop: the trace counts as an error in the metrics; all its rewards stay None; retry
rules of the environment may draw it again; a group whose traces are all refused is lost. The hooks
see one trace at a time, so only defences that judge a completion by itself work: `judge`,
`equations` with `mode = "refuse"`, `imports`, `max_tokens`, and of the presets `paper-any-model`.

`GuardJudge` is a judge plug-in. It runs after the task's rewards, and so knows them. `guard` is a
reward function. It runs beside the other rewards, does not know them, and inspects every trace as
if it were rewarded: wrong completions can then be refused, too.

verifiers turns every exception into an error of the trace. A guard that fails therefore raises
`GuardFailedError`, a `SystemExit`, which ends the process of the environment.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

from swarmproof.integrations.configured import Hook, Seam, hook, missing
from swarmproof.integrations.rows import TrainerRow
from swarmproof.types import Tokens

try:
    from verifiers.v1 import Judge, JudgeConfig
except ImportError as error:
    if error.name not in ("verifiers", "verifiers.v1"):
        raise
    raise missing("verifiers", "verifiers", "pip install 'swarmproof[verifiers]'") from None

if TYPE_CHECKING:
    from verifiers.v1 import TaskData, Trace

__all__ = ["GuardJudge", "RefusedTraceError", "guard"]

SEAM = Seam("verifiers", ("monitor", "drop"), "completion", 'set on_reject = "drop"')


class RefusedTraceError(Exception):
    """The guard refused this trace. verifiers records it, and the trace leaves its group."""


async def guard(task: TaskData, trace: Trace) -> float:
    """Reward function: 0 for a trace that passes; its weight has no effect.

    Raises:
        RefusedTraceError: the trace is refused.
        ValueError: tokens, masks and log-probabilities do not belong together.
    """
    await asyncio.to_thread(_inspect, _hook(None), task, trace, 1.0)
    return 0.0


class _GuardConfig(JudgeConfig):  # type: ignore[misc]
    guard: str | None = None  # a preset or a .toml file; the environment's if None


class GuardJudge(Judge[float, _GuardConfig]):  # type: ignore[misc]
    """Judge plug-in. verifiers finds it in a module of your own: see docs/guard-adapters.md."""

    async def score(self, task: TaskData, trace: Trace) -> dict[str, float]:
        """No score for a trace that passes; raises as `guard` does."""
        await asyncio.to_thread(_inspect, _hook(self.config.guard), task, trace, trace.reward)
        return {}


@cache
def _hook(source: str | None) -> Hook:
    return hook(SEAM, source, swallowed=True)


def _inspect(inspector: Hook, task: TaskData, trace: Trace, reward: float) -> None:
    group = str(trace.task.key or trace.task.hash or task.idx)
    row = TrainerRow(
        group=group,
        prompt=_prompt(trace.nodes),
        text="\n".join(filter(None, (_text(node.message) for node in trace.nodes if node.sampled))),
        reward=reward,
        token_ids=sampled_tokens(trace.nodes),
        sender=trace.agent.name,
        question=task.prompt_text,
    )
    seen = inspector.look([row], [trace.id], groups=[group])
    if not seen.treatments[0].votes:
        told = seen.columns[0]
        raise RefusedTraceError(f"refused by {told['guard/defence']}: {told['guard/reason']}")


def sampled_tokens(nodes: Iterable[Any]) -> Tokens | None:
    """The tokens that the model sampled, node by node; None for a trace without tokens.

    Raises:
        ValueError: masks or log-probabilities do not fit the tokens.
    """
    nodes = list(nodes)
    for i, node in enumerate(nodes):
        _require_aligned(i, node)
    found = [
        token
        for node in nodes
        for token, train in zip(node.token_ids, node.mask, strict=True)
        if train
    ]
    for i, node in enumerate(nodes):
        if found and node.sampled and not any(node.mask):
            raise ValueError(f"not aligned: node {i} was sampled, and has no tokens")
    return tuple(found) or None


def _require_aligned(i: int, node: Any) -> None:
    length, sampled = len(node.token_ids), sum(map(bool, node.mask))
    for what, have, want in (
        ("mask", len(node.mask), length),
        ("is_content", len(node.is_content) or length, length),
        ("logprobs", len(node.logprobs), sampled),
    ):
        if have != want:
            raise ValueError(f"not aligned: node {i} has {have} {what}, and needs {want}")
    if sampled and not node.sampled:
        raise ValueError(f"not aligned: node {i} was not sampled, and {sampled} tokens train")
    if not all(map(math.isfinite, node.logprobs)):
        raise ValueError(f"not aligned: node {i} has a log-probability that is not finite")


def _text(message: Any) -> str:
    """All that the model wrote: thoughts, the reply and calls of tools."""
    calls = [
        f"{call.name}\n{call.arguments}" for call in getattr(message, "tool_calls", None) or ()
    ]
    thoughts = getattr(message, "reasoning_content", None)
    return "\n".join(filter(None, (thoughts, _content(message), *calls)))


def _content(message: Any) -> str:
    content = message.content
    if isinstance(content, list):
        return "".join(getattr(part, "text", "") for part in content)
    return content or ""


def _prompt(nodes: Iterable[Any]) -> str:
    """The messages before the first that was sampled."""
    shown = []
    for node in nodes:
        if node.sampled:
            break
        shown.append(f"{node.message.role}: {_content(node.message)}")
    return "\n".join(shown)
