"""The training of a tiny base model: next-token prediction on documents."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from swarmproof.pretraining.corpus import Document

IGNORED = -100  # the label of positions without a loss, as in transformers
CHAT_TEMPLATE = RESPONSE_TEMPLATE = JUDGE_PROMPT = None
Batch = tuple[Tensor, Tensor]


def text_of(document: Document) -> str:
    """The text on which the tokenizer is trained."""
    return document.prompt + document.text


def batches(
    documents: Iterator[Document], tokens: PreTrainedTokenizerFast, size: int, rng: Random
) -> Iterator[Batch]:
    """Input ids and labels (documents, tokens). Documents of similar length share a batch."""
    end, padding = tokens.eos_token_id, tokens.pad_token_id
    while True:
        texts = [text_of(document) for document in islice(documents, 32 * size)]
        rows = sorted(([*ids, end] for ids in tokens(texts)["input_ids"]), key=len)
        starts = list(range(0, len(rows), size))
        rng.shuffle(starts)
        for start in starts:
            batch = rows[start : start + size]
            width = len(batch[-1])
            ids = torch.tensor([row + [padding] * (width - len(row)) for row in batch])
            labels = torch.tensor([row + [IGNORED] * (width - len(row)) for row in batch])
            yield ids, labels


class ReadingLesson(nn.Module):
    """The loss of a batch: the mean cross-entropy of its tokens."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> Tensor:
        ids, labels = batch
        logits = self.model(input_ids=ids, use_cache=False).logits[:, :-1]
        return nn.functional.cross_entropy(
            logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED
        )


def lesson(model: Any) -> ReadingLesson:
    """What `pretrain` asks of a way to teach."""
    return ReadingLesson(model)
