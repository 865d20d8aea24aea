"""A guard in verifiers: `Task.score` offline, and the rule by which prime-rl leaves traces out."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from judging import Breaks
from swarmproof import Guard
from trainers import (
    ALSO_GOOD,
    GOOD,
    POISON,
    WRONG,
    guard_file,
    has_keys,
    package,
    page_snippets,
    refused,
    sidecar,
)

package("verifiers")

import verifiers.v1 as vf
from verifiers.v1.graph import MessageNode
from verifiers.v1.trace import AgentInfo, TraceTask

from swarmproof.integrations import verifiers as adapter
from swarmproof.integrations.configured import GuardFailedError, Hook

(PLUG_IN,) = page_snippets("verifiers and prime-rl", "python")
JUDGE, REWARD = map(tomllib.loads, page_snippets("verifiers and prime-rl", "toml"))
HONEST = (GOOD, ALSO_GOOD, WRONG)


class Sums(vf.Task[vf.TaskData, vf.State, vf.TaskConfig]):  # type: ignore[misc]
    @vf.reward  # type: ignore[untyped-decorator]
    async def correct(self, trace: Any) -> float:
        return float(trace.last_reply.endswith("7."))


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SWARMPROOF_GUARD", str(guard_file(tmp_path)))
    (tmp_path / "guard_judge.py").write_text(PLUG_IN)
    monkeypatch.syspath_prepend(str(tmp_path))
    adapter._hook.cache_clear()
    yield
    adapter._hook.cache_clear()


def by_reward() -> Any:
    return vf.TaskConfig.model_validate(REWARD["env"]["taskset"]["task"])


def by_judge(**fields: Any) -> Any:
    (judge,) = JUDGE["env"]["taskset"]["task"]["judges"]
    return vf.TaskConfig.model_validate({"judges": [judge | {"guard": None} | fields]})


def task(config: Any) -> Any:
    return Sums(vf.TaskData(idx=0, prompt="What is 3 + 4?"), config)


def node(message: Any, ids: Sequence[int] = (), *, sampled: bool = False) -> Any:
    return MessageNode(
        message=message,
        sampled=sampled,
        token_ids=list(ids),
        mask=[sampled] * len(ids),
        logprobs=[-0.5] * len(ids) if sampled else [],
    )


def trace(text: str, of: Any) -> Any:
    user = node(vf.UserMessage(content="What is 3 + 4?"), [1, 2])
    reply = node(vf.AssistantMessage(content=text), [3, 4, 5], sampled=True)
    reply.parent = 0
    return vf.Trace[vf.TaskData, vf.State, vf.AgentConfig](
        task=TraceTask(type="Sums", data=of.data, key=of.key),
        agent=AgentInfo(config=vf.AgentConfig()),
        nodes=[user, reply],
    )


def scored(texts: Sequence[str], config: Any) -> list[Any]:
    """Traces after scoring; as in verifiers' rollout, an error is recorded on its trace."""

    async def score() -> list[Any]:
        one = task(config)
        traces = [trace(text, one) for text in texts]
        for each in traces:
            try:
                await one.score(each)
                each.ok = True
            except vf.TaskError as error:
                each.record_error(error)
        return traces

    return asyncio.run(score())


def trainable(traces: Sequence[Any]) -> list[Any]:
    """`iter_trainable_traces` of prime-rl at commit 559b44772e471d1538537b8805cc77f3824a5e64."""
    return [
        each
        for each in traces
        if not each.has_error and each.agent.trainable and any(any(n.mask) for n in each.nodes)
    ]


def advantages(traces: Sequence[Any]) -> list[float]:
    """prime-rl's GRPO without a length penalty, at the same commit: reward minus the mean."""
    rewards = [each.reward for each in traces]
    return [reward - sum(rewards) / len(rewards) for reward in rewards]


@pytest.mark.parametrize("config", [by_reward, by_judge])
def test_a_refused_trace_leaves_its_group(config: Any, tmp_path: Path) -> None:
    traces = scored([*HONEST, POISON], config())
    assert [each.has_error for each in traces] == [False, False, False, True]
    left, alone = trainable(traces), trainable(scored(HONEST, vf.TaskConfig()))
    assert advantages(left) == pytest.approx(advantages(alone), abs=1e-6)
    assert advantages(left) == pytest.approx([1 / 3, 1 / 3, -2 / 3], abs=1e-6)
    assert traces[3].last_error.type == "TaskError"
    assert "refused by equations: '2 + 2 = 5' is false" in traces[3].last_error.message
    lines = sidecar(tmp_path)
    assert has_keys(lines)
    assert [line["id"] for line in lines] == [each.id for each in traces]
    assert {line["group"] for line in lines} == {traces[0].task.key}
    assert refused(tmp_path) == [POISON]


def test_the_cost_all_rewards_of_the_trace_stay_none() -> None:
    (gone,) = scored([POISON], by_reward())
    assert gone.rewards == {"correct": None, "guard": None}
    (kept,) = scored([GOOD], by_reward())
    assert kept.reward == 1


def test_without_the_guard_it_votes() -> None:
    traces = trainable(scored([*HONEST, POISON], vf.TaskConfig()))
    assert advantages(traces)[:3] == pytest.approx([1 / 4, 1 / 4, -3 / 4])


def test_only_the_judge_knows_the_reward() -> None:
    """A wrong completion with a false equation: the reward function refuses it, too."""
    wrong = "3 + 4 = 6, so 6."
    assert scored([wrong], by_reward())[0].has_error
    (kept,) = scored([wrong], by_judge())
    assert not kept.has_error
    assert kept.reward == 0
    assert list(kept.rewards) == ["correct"]


def test_the_judge_may_have_a_guard_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SWARMPROOF_GUARD")
    (refusing,) = scored([POISON], by_judge(guard=str(tmp_path / "guard.toml")))
    assert refusing.has_error
    (unset,) = scored([GOOD], by_judge())
    assert "set SWARMPROOF_GUARD" in unset.last_error.message


def test_monitor_writes_and_refuses_nothing(tmp_path: Path) -> None:
    guard_file(tmp_path, "monitor")
    (kept,) = scored([POISON], by_judge())
    assert not kept.has_error
    assert kept.reward == 1
    assert refused(tmp_path) == [POISON]


@pytest.mark.parametrize("rule", ["mask", "zero_reward"])
def test_what_cannot_be_done_is_refused(rule: str, tmp_path: Path) -> None:
    guard_file(tmp_path, rule)
    (failed,) = scored([GOOD], by_reward())
    assert (
        'verifiers cannot do (monitor, drop); set on_reject = "drop"' in failed.last_error.message
    )


def test_thoughts_and_calls_of_tools_are_read_too() -> None:
    one = task(by_judge())
    thinking = trace(GOOD, one)
    thinking.nodes[1].message.reasoning_content = "2 + 2 = 5."
    calling = trace(GOOD, one)
    call = vf.ToolCall(id="0", name="note", arguments="2 + 2 = 5.")
    calling.nodes[1].message.tool_calls = [call]
    for each in (thinking, calling):
        with pytest.raises(vf.TaskError, match="'2 \\+ 2 = 5' is false"):
            asyncio.run(one.score(each))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"mask": [True]}, "node 1 has 1 mask, and needs 3"),
        ({"logprobs": [-0.5]}, "node 1 has 1 logprobs, and needs 3"),
        ({"logprobs": [-0.5, float("nan"), 0.0]}, "log-probability that is not finite"),
        ({"is_content": [True]}, "node 1 has 1 is_content, and needs 3"),
        ({"sampled": False}, "node 1 was not sampled, and 3 tokens train"),
    ],
)
def test_alignment_is_asserted(changed: dict[str, Any], says: str) -> None:
    one = task(by_judge())
    broken = trace(GOOD, one)
    for name, value in changed.items():
        setattr(broken.nodes[1], name, value)
    with pytest.raises(vf.TaskError, match=f"not aligned: .*{says}"):
        asyncio.run(one.score(broken))


def test_a_trace_without_tokens_is_inspected(tmp_path: Path) -> None:
    one = task(by_judge())
    plain = trace(POISON, one)
    for each in plain.nodes:
        each.token_ids, each.mask, each.logprobs = [], [], []
    with pytest.raises(vf.TaskError, match="refused by equations"):
        asyncio.run(one.score(plain))
    assert refused(tmp_path) == [POISON]


def test_a_guard_that_fails_is_no_error_of_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    breaking = Hook(adapter.SEAM, Guard([Breaks()]), swallowed=True)
    with monkeypatch.context() as now:
        now.setattr(adapter, "_hook", lambda _: breaking)
        with pytest.raises(GuardFailedError, match="the guard failed, so the run stops"):
            scored([GOOD], by_reward())


def test_it_ends_the_process() -> None:
    code = """
import asyncio
from swarmproof.integrations.configured import GuardFailedError
async def scoring():
    def fail(): raise GuardFailedError("the guard failed")
    try:
        await asyncio.gather(asyncio.to_thread(fail))
    except Exception:
        pass
async def others():
    await asyncio.sleep(60)
async def main():
    await asyncio.gather(others(), asyncio.create_task(scoring()), return_exceptions=True)
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=dict(os.environ),
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "the guard failed"
