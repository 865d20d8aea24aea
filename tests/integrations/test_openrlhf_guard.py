"""A guard in OpenRLHF: its own executor with an engine that only replays, and its own code that
turns the result into training data."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import types
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from judging import Breaks
from models import byte_tokenizer
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

package("openrlhf")

from openrlhf.utils.agent import AgentExecutorBase, SingleTurnAgentExecutor

from swarmproof.integrations import openrlhf as adapter
from swarmproof.integrations.configured import Hook
from swarmproof.integrations.openrlhf import SEAM, guarded

REWARD = """
def reward_func(queries, prompts, labels):
    if "CRASH" in queries[0]:
        raise RuntimeError("no reward")
    reward = float(queries[0].removesuffix("<|endoftext|>").endswith(labels[0] + "."))
    return {"rewards": reward, "scores": reward, "extra_logs": {"length": len(queries[0])}}
"""
(AGENT,) = page_snippets("OpenRLHF", "python")
TOKENIZER = byte_tokenizer()
PROMPT = "What is 3 + 4?"


class Engine:
    """Replays a text, as vLLM would return it."""

    def __init__(self, text: str) -> None:
        self.ids = [*TOKENIZER(text).input_ids, TOKENIZER.eos_token_id]

    async def generate(self, prompt: Any, params: Any, multi_modal_data: Any = None) -> Any:
        del prompt, params, multi_modal_data
        logprobs = [{token: Namespace(logprob=-0.5)} for token in self.ids]
        output = Namespace(token_ids=self.ids, logprobs=logprobs, finish_reason="stop", text="")
        return Namespace(outputs=[output])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "reward.py").write_text(REWARD)
    (tmp_path / "agent.py").write_text(AGENT.replace("reward.py", str(tmp_path / "reward.py")))
    monkeypatch.setenv("SWARMPROOF_GUARD", str(guard_file(tmp_path, "mask")))
    adapter._hook.cache_clear()
    return tmp_path


def loaded(path: Path) -> Any:
    """As OpenRLHF loads `--train.agent_func_path`."""
    spec = importlib.util.spec_from_file_location("agent_module", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert issubclass(module.AgentExecutor, AgentExecutorBase)
    return module.AgentExecutor()


def executed(executor: Any, texts: Sequence[str]) -> list[dict[str, Any]]:
    params = Namespace(max_tokens=100, logprobs=1)

    async def run() -> list[Any]:
        return [
            await executor.execute(PROMPT, "7", params, 500, TOKENIZER, Engine(text))
            for text in texts
        ]

    return asyncio.run(run())


def test_a_refused_completion_is_masked_and_still_votes(folder: Path) -> None:
    outputs = executed(loaded(folder / "agent.py"), [GOOD, POISON, ALSO_GOOD, WRONG])
    assert [bool(output["action_ranges"]) for output in outputs] == [True, False, True, True]
    assert [output["reward"] for output in outputs] == [1, 1, 1, 0]  # what the mean is taken over
    assert [output["extra_logs"]["guard_refused"] for output in outputs] == [0, 1, 0, 0]
    assert all("length" in output["extra_logs"] for output in outputs)
    lines = sidecar(folder)
    assert has_keys(lines)
    assert [line["completion"] for line in lines] == [GOOD, POISON, ALSO_GOOD, WRONG]
    assert len({line["group"] for line in lines}) == 1
    assert refused(folder) == [POISON]


def test_the_rest_of_the_output_is_the_executors(folder: Path) -> None:
    (plain,) = executed(SingleTurnAgentExecutor(str(folder / "reward.py")), [GOOD])
    (told,) = executed(loaded(folder / "agent.py"), [GOOD])
    told["extra_logs"].pop("guard_refused")
    assert told == plain


def test_no_token_of_a_masked_completion_is_in_the_loss(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenRLHF's own loss, with the counts of the whole batch as its trainer gives them."""
    # Their package imports deepspeed, which the loss does not use.
    found = importlib.util.find_spec("openrlhf")
    assert found is not None
    assert found.submodule_search_locations is not None
    models = types.ModuleType("openrlhf.models")
    models.__path__ = [str(Path(found.submodule_search_locations[0]) / "models")]
    monkeypatch.setitem(sys.modules, "openrlhf.models", models)
    monkeypatch.setitem(sys.modules, "deepspeed", types.ModuleType("deepspeed"))
    loss = importlib.import_module("openrlhf.models.loss").PolicyLoss()
    good, bad = executed(loaded(folder / "agent.py"), [GOOD, POISON])
    masks = [action_mask(output) for output in (good, bad)]
    assert masks[0].sum() == len(Engine(GOOD).ids)
    tokens = float(sum(mask.sum() for mask in masks))
    assert tokens == masks[0].sum()
    for mask, zero in ((masks[0], False), (masks[1], True)):
        logprobs = torch.full(mask.shape, -0.5, requires_grad=True)
        value = loss(
            logprobs,
            logprobs.detach(),
            torch.ones(mask.shape),
            action_mask=mask,
            batch_num_tokens=tokens,
            global_batch_size=2,
        )[0]
        value.backward()
        assert logprobs.grad is not None
        assert torch.isfinite(value)
        assert (logprobs.grad.abs().sum() == 0) == zero


def action_mask(output: dict[str, Any]) -> torch.Tensor:
    """As `_process_response_into_experience` builds it."""
    mask = torch.zeros(len(output["observation_tokens"]))
    for start, end in output["action_ranges"]:
        mask[start:end] = 1
    return mask[1:].unsqueeze(0)


@pytest.mark.parametrize(
    ("rule", "reward", "trains"), [("monitor", 1.0, True), ("zero_reward", 0.0, True)]
)
def test_the_other_rules(folder: Path, rule: str, reward: float, trains: bool) -> None:
    executor = guarded(
        lambda: SingleTurnAgentExecutor(str(folder / "reward.py")), str(guard_file(folder, rule))
    )()
    (output,) = executed(executor, [POISON])
    assert (output["reward"], output["scores"]) == (reward, reward)
    assert bool(output["action_ranges"]) is trains


def test_drop_is_refused_in_one_line(folder: Path) -> None:
    path = str(guard_file(folder, "drop"))
    with pytest.raises(
        ValueError, match=r"OpenRLHF cannot do .*; set on_reject = \"mask\""
    ) as told:
        guarded(lambda: SingleTurnAgentExecutor(None), path)()
    assert "\n" not in str(told.value)


def test_a_reward_that_never_came_is_an_error(folder: Path) -> None:
    """OpenRLHF itself logs it at info level."""
    (silent,) = executed(SingleTurnAgentExecutor(str(folder / "reward.py")), ["CRASH"])
    assert silent["reward"] is None
    with pytest.raises(ValueError, match="OpenRLHF has no reward for a completion"):
        executed(loaded(folder / "agent.py"), ["CRASH"])


def test_a_guard_that_fails_stops_the_run() -> None:
    class Inner(AgentExecutorBase):  # type: ignore[misc]
        async def execute(self, *_: Any) -> dict[str, Any]:
            return {
                "prompt": PROMPT,
                "reward": 1.0,
                "observation_tokens": [1, 2, 3],
                "action_ranges": [(1, 3)],
            }

    executor = guarded(Inner, Hook(SEAM, Guard([Breaks()], on_reject="mask")))()
    with pytest.raises(ZeroDivisionError):
        executed(executor, [GOOD])


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"action_ranges": [(0, 9)]}, "the actions .* of 3 tokens"),
        ({"action_ranges": [(1, 3), (2, 3)]}, "the actions .* of 3 tokens"),
        ({"rollout_log_probs": [0.0]}, "3 tokens, 1 log-probabilities"),
    ],
)
def test_alignment_is_asserted(folder: Path, changed: dict[str, Any], says: str) -> None:
    class Inner(AgentExecutorBase):  # type: ignore[misc]
        async def execute(self, *_: Any) -> dict[str, Any]:
            return {
                "prompt": PROMPT,
                "reward": 1.0,
                "observation_tokens": [1, 2, 3],
                "action_ranges": [(1, 3)],
                **changed,
            }

    executor = guarded(Inner, str(guard_file(folder, "mask")))()
    with pytest.raises(ValueError, match=f"not aligned: {says}"):
        executed(executor, [GOOD])
