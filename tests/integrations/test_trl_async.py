"""TRL's asynchronous trainer, whole, with a guard: its own worker process, queue, loss and steps.

What needs a GPU is replaced by what computes the same on a CPU: the vLLM server, and the kernel of
the attention. TRL has a place for another transfer of weights.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

pytest.importorskip("aiohttp")  # what TRL's worker asks the server with

from trl.chat_template_utils import qwen2_5_chat_template
from trl.experimental.async_grpo import (
    AsyncGRPOConfig,
    AsyncGRPOTrainer,
    async_grpo_trainer,
    packing,
)
from trl.experimental.async_grpo import async_rollout_worker as worker

from judging import Bad
from swarmproof import Guard
from swarmproof.integrations.sidecar import Sidecar
from swarmproof.integrations.trl import wrap
from trl_trainers import PROMPTS, REWARDS, TEXTS, G, by_message


class Server:
    """Completions in turn, with their log-probabilities under the weights that it was sent."""

    def __init__(self, path: Path) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.texts = [itertools.cycle(TEXTS[i : i + G]) for i in range(0, len(TEXTS), G)]
        self.lock = threading.Lock()
        self.syncs = 0

    def complete(self, prompt: list[int]) -> dict[str, Any]:
        asked = self.tokenizer.decode(prompt)
        with self.lock, torch.no_grad():
            (text,) = {next(self.texts[i]) for i, words in enumerate(PROMPTS) if words in asked}
            ids = [*self.tokenizer(text).input_ids, self.tokenizer.eos_token_id]
            logits = self.model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
        own = logits.log_softmax(-1).gather(1, torch.tensor(ids)[:, None])[:, 0]
        return {"token_ids": ids, "logprobs": {"token_logprobs": own.tolist()}}

    # The transfer of weights, as TRL calls it.
    def init_weight_transfer(self) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def destroy(self) -> None: ...

    def send_weights(self, iterator: Iterator[tuple[str, Tensor]]) -> None:
        with self.lock:
            self.model.load_state_dict(dict(iterator), strict=False)
            self.syncs += 1


@pytest.fixture
def server(random_model: Path) -> Iterator[tuple[Server, str]]:
    served = Server(random_model)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps({"choices": [served.complete(asked["prompt"])]}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield served, f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    http.server_close()


def attention_on_a_cpu(
    query: Tensor, key: Tensor, value: Tensor, cu_q: Tensor, cu_k: Tensor, *_: Any,
    softmax_scale: float, causal: bool, **__: Any,
) -> Tensor:  # fmt: skip
    """`flash_attn_varlen_func`: queries are the last ones of their keys; heads are grouped."""
    assert causal
    parts = []
    for (q0, q1), (k0, k1) in zip(itertools.pairwise(cu_q), itertools.pairwise(cu_k), strict=True):
        q, k, v = (x.transpose(0, 1) for x in (query[q0:q1], key[k0:k1], value[k0:k1]))
        past = torch.ones(q.shape[1], k.shape[1], dtype=torch.bool).tril(k.shape[1] - q.shape[1])
        out = torch.nn.functional.scaled_dot_product_attention(
            q[None], k[None], v[None], past, scale=softmax_scale, enable_gqa=True
        )
        parts.append(out[0].transpose(0, 1))
    return torch.cat(parts)


def normalised(rewards: np.ndarray) -> np.ndarray:
    """TRL's advantages in its worker."""
    result: np.ndarray = (rewards - rewards.mean()) / (rewards.std() + 1e-8)
    return result


def test_the_whole_asynchronous_trainer_with_a_guard(
    server: tuple[Server, str], random_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, url = server
    flash = SimpleNamespace(flash_attn_varlen_func=attention_on_a_cpu)
    monkeypatch.setattr(packing, "_flash_attn", lambda: flash)
    monkeypatch.setattr(worker, "is_vllm_available", lambda: True)  # the server is another
    monkeypatch.setattr(async_grpo_trainer, "get_peak_flops_per_device", lambda *_: None)
    tokenizer = AutoTokenizer.from_pretrained(random_model)
    tokenizer.chat_template = qwen2_5_chat_template
    # A short queue: TRL's worker does not exit while its pipe is full of what nobody reads.
    prompts = [[{"role": "user", "content": text}] for text in PROMPTS]
    trainer = AsyncGRPOTrainer(
        model=str(random_model),
        processing_class=tokenizer,
        reward_funcs=wrap(Guard([Bad()]), [by_message], sidecar=Sidecar(tmp_path / "guard.jsonl")),
        train_dataset=Dataset.from_dict({"prompt": prompts}),
        weight_transfer=served,
        args=AsyncGRPOConfig(
            output_dir=str(tmp_path), vllm_server_base_url=url, num_generations=G,
            per_device_train_batch_size=2 * G, gradient_accumulation_steps=1, max_steps=2,
            token_budget=-1, max_completion_length=16, learning_rate=1e-2, dtype="float32",
            queue_maxsize=G, max_inflight_tasks=G, use_cpu=True, bf16=False, report_to="none",
            gradient_checkpointing=False, save_strategy="no", disable_tqdm=True, logging_steps=1,
        ),
    )  # fmt: skip
    samples: list[Any] = []
    get = trainer.rollout_queue.get

    def kept(*arguments: Any, **more: Any) -> Any:
        samples.append(get(*arguments, **more))
        return samples[-1]

    monkeypatch.setattr(trainer.rollout_queue, "get", kept)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.train()

    # What the trainer took from its worker: a refused completion neither votes nor trains.
    known = dict(zip(TEXTS, REWARDS, strict=True))
    moved = []  # how much a refused completion's vote would have moved the others' advantages
    for group in {sample.group_id for sample in samples}:
        of = [sample for sample in samples if sample.group_id == group]
        if len(of) < G:
            continue  # the queue's rest
        texts = [sample.completion[-1]["content"] for sample in of]
        told, rewards = np.array([s.advantage for s in of]), np.array([known[t] for t in texts])
        bad = np.array([text.startswith("BAD") for text in texts])
        assert (told[bad] == 0).all()
        assert told[~bad] == pytest.approx(normalised(rewards[~bad]), abs=1e-6)
        moved += [np.abs(normalised(rewards)[~bad] - told[~bad]).max()] if bad.any() else []
    assert len(moved) >= 2
    assert max(moved) > 0.1
    lines = [json.loads(line) for line in (tmp_path / "guard.jsonl").read_text().splitlines()]
    assert {line["completion"] for line in lines if line["guard/refused"]} == {"BAD", TEXTS[2]}
    # It trained, and the server has the new weights: once before the first step, once after each.
    after = trainer.model.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert served.syncs == 3
    assert all(torch.equal(value, after[name]) for name, value in served.model.state_dict().items())
    # In the first step the trainer's log-probabilities are those of the server, so the replaced
    # attention computes what it should; in the second step they are of newer weights.
    first, second = (row["ratio"] for row in trainer.state.log_history if "ratio" in row)
    assert first == pytest.approx(1.0, abs=1e-4)
    assert second != pytest.approx(1.0, abs=1e-2)
