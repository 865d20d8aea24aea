"""A language model that answers requests: it draws criticisms and computes the odds of a decision.

It knows tokens and turns of a conversation, not what a judge is asked. Untrusted text cannot
contain a control token here: each text is encoded separately from the chat template, and the
special tokens of the tokenizer are encoded as plain text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from swarmproof.config import SamplingConfig
from swarmproof.judges.base import Judgement, Request
from swarmproof.policies import loader, loss, sampler
from swarmproof.randomness import derive_seed

# Packed tokens in a scoring pass: few fit into a CPU's cache, many fill a GPU.
_SCORED_TOKENS = {"cpu": 1024, "cuda": 16_384}
# Maximum tokens of a batch that generates.
_GENERATED_TOKENS = 32_768
# Stands for a text while the chat template is applied.
_MARK = "\ue000"

Row = tuple[
    tuple[int, ...], tuple[int, ...]
]  # the shared prefix of a problem's requests, and the rest


@lru_cache(maxsize=2)
def load(path: str, dtype: str, device: str) -> Reader:
    """The reader for these settings; it is kept for later calls with equal settings.

    Raises:
        ValueError: the model cannot be loaded or used.
    """
    return Reader(*loader.load(path, dtype, device, "judge"))


class Reader:
    """A causal LM set up by `loader`, with its tokenizer.

    Raises:
        ValueError: the vocabulary has no token for `yes` or for `no`.
    """

    def __init__(self, tokenizer: Any, model: Any):
        self.tokenizer, self.model = tokenizer, model.requires_grad_(False)
        self.codec = loader.codec_of(model, tokenizer)
        vocab = sorted(self.codec.known_ids)
        texts = tokenizer.batch_decode([[token] for token in vocab])
        self.spellings = [
            [i for i, text in zip(vocab, texts, strict=True) if text.strip().lower() == word]
            for word in ("yes", "no")
        ]
        if not all(self.spellings):
            raise ValueError(
                f"the tokenizer of {tokenizer.name_or_path!r} has no token for 'yes' or for 'no'; "
                "use another model as the judge"
            )
        # Some added tokens, often `<think>`, are not special to the tokenizer: cut inside them.
        added = [token.content for token in tokenizer.added_tokens_decoder.values()]
        long = sorted((re.escape(t) for t in added if len(t) > 1 and t.strip()), key=len)
        self._added = re.compile("|".join(reversed(long)) or r"(?!)")

    @torch.inference_mode()
    def read(
        self, requests: Sequence[Request], sampling: SamplingConfig, beams: int = 1
    ) -> list[Judgement]:
        """Answer every request: first the requested criticisms, then all decisions.

        Args:
            sampling: used for all draws; `max_new_tokens` bounds a criticism.
            beams: number of beams for criticisms.
        """
        if not requests:
            return []
        asked = [i for i, request in enumerate(requests) if request.criticism is not None]
        criticisms = [""] * len(requests)
        opened = [(requests[i].shared, _opened(requests[i])) for i in asked]
        seeds = [derive_seed(requests[i].seed, "criticism") for i in asked]
        written = self._write(self._rows(opened), seeds, sampling, beams)
        for i, text in zip(asked, written, strict=True):
            criticisms[i] = text
        turns = [self._turns(r, text) for r, text in zip(requests, criticisms, strict=True)]
        seeds = [derive_seed(request.seed, "decision") for request in requests]
        odds = self._decide(self._rows(turns), seeds, sampling)
        return [Judgement(criticism, *row) for criticism, row in zip(criticisms, odds, strict=True)]

    def _decide(
        self, rows: Sequence[Row], seeds: Sequence[int], sampling: SamplingConfig
    ) -> list[tuple[float, float, str]]:
        """Log P(yes), log P(no) and a drawn word, at the end of each row."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for i, (shared, _) in enumerate(rows):
            groups.setdefault(shared, []).append(i)
        members = list(groups.values())
        decided: list[tuple[float, float, str]] = [(0.0, 0.0, "")] * len(rows)
        batches = loss.micro_batches(
            list(groups),
            [[rows[i][1] for i in found] for found in members],
            _SCORED_TOKENS[self.model.device.type],
        )
        for chunk, batch in batches:
            logits = loss.last_logits(self.model, batch)
            order = [i for group in chunk for i in members[group]]
            logp = logits.log_softmax(-1)
            yes, no = (logp[:, ids].logsumexp(-1).tolist() for ids in self.spellings)
            seed_R = torch.tensor([seeds[i] for i in order], device=logits.device)
            drawn = sampler.draw(logits, seed_R, 0, sampling)
            words = self.tokenizer.batch_decode(drawn[:, None])
            for i, *row in zip(order, yes, no, words, strict=True):
                decided[i] = (row[0], row[1], row[2].strip().lower())
        return decided

    def _write(
        self, rows: Sequence[Row], seeds: Sequence[int], sampling: SamplingConfig, beams: int
    ) -> list[str]:
        """A criticism for each row, as one line of text."""
        prompts = [shared + rest for shared, rest in rows]
        written: list[Sequence[int]] = [()] * len(rows)
        if beams > 1:
            written = [
                self._beam(prompt, seed, sampling, beams)
                for prompt, seed in zip(prompts, seeds, strict=True)
            ]
        else:
            for chunk in _chunks(prompts, sampling.max_new_tokens):
                drawn = sampler.generate(
                    self.model,
                    [prompts[i] for i in chunk],
                    [[seeds[i]] for i in chunk],
                    sampling,
                    self.codec.end_ids,
                )
                for i, (ids,) in zip(chunk, drawn, strict=True):
                    written[i] = ids
        texts = self.tokenizer.batch_decode(written, skip_special_tokens=True) if written else []
        return [" ".join(text.split()) for text in texts]

    def _beam(
        self, prompt: Sequence[int], seed: int, sampling: SamplingConfig, beams: int
    ) -> list[int]:
        """Beam sampling of transformers. Needs its own attention and torch's generator."""
        packed = self.model.config._attn_implementation
        ids = torch.tensor([prompt], device=self.model.device)
        self.model.set_attn_implementation("sdpa")
        devices = [self.model.device] if self.model.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            out: Tensor = self.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=True,
                num_beams=beams,
                temperature=sampling.temperature,
                top_k=sampling.top_k,
                top_p=sampling.top_p,
                max_new_tokens=sampling.max_new_tokens,
                pad_token_id=self.tokenizer.eos_token_id,
            )
        self.model.set_attn_implementation(packed)
        written: list[int] = out[0, len(prompt) :].tolist()
        return written

    def _turns(self, request: Request, criticism: str) -> tuple[str, ...]:
        if request.criticism is None:
            return request.shared, request.opening + request.decision
        if self.tokenizer.chat_template is None:
            criticism = f" {criticism}\n"
        return request.shared, _opened(request), criticism, request.decision

    def _rows(self, conversations: Sequence[Sequence[str]]) -> list[Row]:
        """Token ids of conversations that the assistant continues.

        Args:
            conversations: for each, the shared start of the user's first turn, the rest of that
                turn, and the further turns.
        """
        encoded = iter(self._encode([text for texts in conversations for text in texts]))
        rows = []
        for texts in conversations:
            before, *frame = self._frame(len(texts) - 1)
            shared = before + next(encoded)
            rest = [token for after in frame for token in (*next(encoded), *after)]
            rows.append((tuple(shared), tuple(rest)))
        return rows

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of plain texts; no id is an added token of the tokenizer."""
        parts = [self._cut(text) for text in texts]
        flat = [part for row in parts for part in row]
        ids = iter(
            self.tokenizer(flat, add_special_tokens=False, split_special_tokens=True).input_ids
            if flat
            else []
        )
        return [[token for _ in row for token in next(ids)] for row in parts]

    def _cut(self, text: str) -> list[str]:
        """The text in parts, so that no part contains an added token."""
        parts, done = [], 0
        while found := self._added.search(text, done):
            parts.append(text[done : found.start() + 1])
            done = found.start() + 1
        return [*parts, text[done:]]

    @lru_cache(maxsize=4)  # noqa: B019 - readers are few and are kept anyway
    def _frame(self, num_turns: int) -> list[list[int]]:
        """Token ids of what the chat template puts before, between and after the turns."""
        if self.tokenizer.chat_template is None:
            bos = self.tokenizer.bos_token_id
            start = [token for token in self.tokenizer("").input_ids if token == bos]
            return [start, *([] for _ in range(num_turns))]
        roles = ("user", "assistant")
        laid_out: str = self.tokenizer.apply_chat_template(
            [{"role": roles[i % 2], "content": _MARK} for i in range(num_turns)],
            add_generation_prompt=True,
            tokenize=False,
            enable_thinking=False,  # templates without this switch ignore it
        )
        pieces = laid_out.split(_MARK)
        if len(pieces) != num_turns + 1:
            raise ValueError(
                f"the chat template of {self.tokenizer.name_or_path!r} does not contain every turn "
                "once; use another model as the judge"
            )
        return [self.tokenizer(piece, add_special_tokens=False).input_ids for piece in pieces]


def _opened(request: Request) -> str:
    return request.opening + (request.criticism or "")


def _chunks(prompts: Sequence[Sequence[int]], max_new_tokens: int) -> Iterator[list[int]]:
    """Batches of indices of prompts with similar lengths, each within the token limit."""
    chunk: list[int] = []
    for i in sorted(range(len(prompts)), key=lambda i: len(prompts[i])):
        if (len(chunk) + 1) * (len(prompts[i]) + max_new_tokens) > _GENERATED_TOKENS and chunk:
            yield chunk
            chunk = []
        chunk.append(i)
    if chunk:
        yield chunk
