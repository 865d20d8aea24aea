"""A stand-in for vLLM on transformers: the part of its interface that our generator uses.

As in vLLM 0.32, a batch has a row for each running request. Processors are told before every step
which rows leave, enter and move, decoding is greedy, weights are loaded by name, and a tied output
layer is computed with a packed copy that loading does not renew.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM


class Direction(Enum):
    UNIDIRECTIONAL = 0
    SWAP = 1


@dataclass
class SamplingParams:
    temperature: float
    max_tokens: int
    stop_token_ids: list[int]
    ignore_eos: bool
    detokenize: bool
    extra_args: dict[str, Any]


class LogitsProcessor:
    pass


class Packed:
    """An output layer as vLLM computes it on a CPU."""

    def __init__(self, head: Any) -> None:
        self.head, self.quant_method = head, self
        self.process_weights_after_loading(self)

    def process_weights_after_loading(self, _layer: object) -> None:
        self.copy = self.head.weight.detach().clone()


@dataclass
class Request:
    params: SamplingParams
    prompt: list[int]
    drawn: list[int]

    @property
    def finished(self) -> bool:
        ended = bool(self.drawn) and self.drawn[-1] in self.params.stop_token_ids
        return ended or len(self.drawn) == self.params.max_tokens


class Engine:
    """What `vllm.LLM` is to our generator."""

    context = 512  # prompt and new tokens
    steps = 0  # of all engines

    def __init__(self, model: str, **settings: Any) -> None:
        assert settings["load_format"] == "dummy"
        assert settings["skip_tokenizer_init"]
        config = AutoConfig.from_pretrained(model)
        config.dtype = getattr(torch, settings["dtype"])
        torch.manual_seed(1)
        self.model = AutoModelForCausalLM.from_config(config).eval()
        self.head = Packed(self.model.get_output_embeddings())
        self.max_rows = settings["max_num_seqs"]
        (made,) = settings["logits_processors"]
        assert issubclass(made, LogitsProcessor)
        self.processor: Any = made(None, torch.device("cpu"), False)
        assert not self.processor.is_argmax_invariant()
        self.cached: set[tuple[int, ...]] = set()

    def collective_rpc(self, method: str, kwargs: dict[str, Any]) -> None:
        assert method == "reload_weights"
        own = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, weight in kwargs["weights_iterator"]:
                own.pop(name).copy_(weight)
        assert not own, f"not loaded: {sorted(own)}"
        if not self.model.config.tie_word_embeddings:
            self.head.process_weights_after_loading(self.head)

    def apply_model(self, function: Callable[[Any], None]) -> None:
        function(SimpleNamespace(lm_head=self.head))

    def reset_prefix_cache(self) -> bool:
        self.cached.clear()
        return True

    def generate(
        self, requests: Sequence[Any], params: Sequence[SamplingParams], use_tqdm: bool
    ) -> list[Any]:
        assert not use_tqdm
        assert not self.cached, "keys and values of other weights are still there"
        every = [
            Request(own, request["prompt_token_ids"], [])
            for request, own in zip(requests, params, strict=True)
        ]
        self.cached = {tuple(request.prompt) for request in every}
        waiting, rows = iter(every), list[Request]()
        while True:
            change = self._changes(rows, waiting)
            self.processor.update_state(change)
            if not rows:
                break
            left = self.processor.apply(torch.stack([self._logits(row) for row in rows]))
            for row, token in zip(rows, left.argmax(-1).tolist(), strict=True):
                row.drawn.append(token)
            Engine.steps += 1
        return [SimpleNamespace(outputs=[SimpleNamespace(token_ids=r.drawn)]) for r in every]

    def _changes(self, rows: list[Request], waiting: Iterator[Request]) -> Any:
        """Finished requests leave, new ones take their rows, the last rows fill what is left."""
        free = [i for i, row in enumerate(rows) if self._full(row)]
        added, moved = [], []
        for i in [*free, *range(len(rows), self.max_rows)]:
            if (new := next(waiting, None)) is None:
                break
            rows[i : i + 1] = [new]
            added.append((i, new.params, new.prompt, new.drawn))
        removed = free[len(added) :]
        for hole in removed:
            while rows and self._full(rows[-1]):
                rows.pop()
            if hole < len(rows):
                moved.append((len(rows) - 1, hole, Direction.UNIDIRECTIONAL))
                rows[hole] = rows.pop()
        if len(rows) > 1 and Engine.steps % 3 == 0:
            moved.append((0, len(rows) - 1, Direction.SWAP))
            rows[0], rows[-1] = rows[-1], rows[0]
        if not (removed or added or moved):
            return None
        return SimpleNamespace(batch_size=len(rows), removed=removed, added=added, moved=moved)

    def _full(self, row: Request) -> bool:
        return row.finished or len(row.prompt) + len(row.drawn) >= self.context

    @torch.no_grad()
    def _logits(self, row: Request) -> Tensor:
        ids = torch.tensor([[*row.prompt, *row.drawn]])
        hidden = self.model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0, -1]
        logits: Tensor = (self.head.copy @ hidden).float()
        return logits


def install(monkeypatch: pytest.MonkeyPatch, engine: type[Engine] = Engine) -> None:
    """Put it where our generator looks for vLLM."""
    package, processors = ModuleType("vllm"), ModuleType("vllm.v1.sample.logits_processor")
    package.__spec__ = ModuleSpec("vllm", None)
    vars(package).update(LLM=engine, SamplingParams=SamplingParams)
    vars(processors).update(LogitsProcessor=LogitsProcessor)
    for module in (package, processors):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    for name in ("VLLM_ENABLE_V1_MULTIPROCESSING", "VLLM_USE_V2_MODEL_RUNNER"):
        monkeypatch.delenv(name, raising=False)
