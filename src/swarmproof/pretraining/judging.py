"""The training of the judges: the texts that they learn to write, and a label for every token.

The decision alone is one bit for a whole solution, which teaches little. So during training a
second head predicts, at every token of the solution, whether there was a fault so far. The head is
dropped after training. What it taught the model about faults then serves the decision.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from swarmproof.judges import prompting
from swarmproof.pretraining.judge_corpus import Exhibit

# The kind of a token decides its weight in the loss.
NOTHING, READ, CRITICISM, VERDICT = range(4)
WEIGHTS = {READ: 0.3, CRITICISM: 1.0, VERDICT: 1.0}
UNMARKED = -1

# Conversations as plain text. The assistant's text is on lines of its own.
CHAT_TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{{ m.content | trim }}\n"
    "{% else %}{{ m.content }}{% endif %}{% endfor %}"
)
# For servers that read templates: all of the generated text is the answer.
RESPONSE_TEMPLATE = {
    "start_anchor_pattern": r"\Z",
    "fields": {"content": {"content": "text"}},
}
JUDGE_PROMPT = "tiny"  # kept in the config of the model, where the judge finds it
_PROMPT = prompting.load(JUDGE_PROMPT)


@dataclass(frozen=True, slots=True)
class Transcript:
    """A conversation, with spans (start, end) in it."""

    text: str
    solution: tuple[int, int]
    fault: tuple[int, int] | None
    criticism: tuple[int, int]  # empty if the prompt asks for none


@dataclass(frozen=True, slots=True)
class Row:
    ids: list[int]
    targets: list[int]  # the next token
    kinds: list[int]  # the kind of the target
    marks: list[int]  # 1 if there was a fault so far, else 0; UNMARKED outside the solution


def text_of(exhibit: Exhibit) -> str:
    """The text on which the tokenizer is trained."""
    return transcript(Random(exhibit.completion), exhibit).text


def transcript(rng: Random, exhibit: Exhibit) -> Transcript:
    """The conversation about an exhibit, with the prompt of this judge."""
    request = _PROMPT.request(
        exhibit.question,
        exhibit.completion,
        with_criticism=rng.random() < 0.5,
        seed=rng.getrandbits(62),
    )
    text = request.shared + request.opening
    shown = prompting.neutralise(exhibit.completion)
    start = text.index(shown, len(request.shared))
    criticism = (len(text), len(text))
    if request.criticism is not None:
        text += request.criticism
        criticism = (len(text), len(text) + len(exhibit.criticism))
        text += f"{exhibit.criticism}\n"
    text += request.decision + (" no" if exhibit.fault else " yes")
    fault = exhibit.fault and (start + exhibit.fault[0], start + exhibit.fault[1])
    return Transcript(text, (start, start + len(shown)), fault, criticism)


def row(rng: Random, tokens: PreTrainedTokenizerFast, exhibit: Exhibit) -> Row:
    told = transcript(rng, exhibit)
    encoded = tokens(told.text, return_offsets_mapping=True)
    ids, ends = encoded["input_ids"], [end for _, end in encoded["offset_mapping"]]
    targets = [*ids[1:], tokens.eos_token_id]
    start, stop = told.criticism
    kinds, marks = [], []
    for i, (end, next_end) in enumerate(zip(ends, [*ends[1:], len(told.text) + 1], strict=True)):
        kind = NOTHING
        if next_end == len(told.text):
            kind = VERDICT
        elif start < next_end <= stop or (start < stop and end == start):
            kind = CRITICISM
        elif start < stop == end:
            kind, targets[i] = CRITICISM, tokens.eos_token_id
        elif told.solution[0] < next_end <= told.solution[1] and told.fault is None:
            kind = READ
        kinds.append(kind)
        marks.append(_mark(told, end))
    return Row(ids, targets, kinds, marks)


def _mark(told: Transcript, end: int) -> int:
    if not told.solution[0] < end <= told.solution[1]:
        return UNMARKED
    if told.fault is None or end <= told.fault[0]:
        return 0
    return 1 if end >= told.fault[1] else UNMARKED


def batches(
    exhibits: Iterator[Exhibit], tokens: PreTrainedTokenizerFast, size: int, rng: Random
) -> Iterator[dict[str, Tensor]]:
    """Batches of rows of similar length, as tensors (rows, tokens)."""
    while True:
        rows = sorted(
            (row(rng, tokens, exhibit) for exhibit in islice(exhibits, 32 * size)),
            key=lambda r: len(r.ids),
        )
        starts = list(range(0, len(rows), size))
        rng.shuffle(starts)
        for start in starts:
            batch = rows[start : start + size]
            yield {
                "ids": _padded([r.ids for r in batch], tokens.pad_token_id),
                "targets": _padded([r.targets for r in batch], 0),
                "kinds": _padded([r.kinds for r in batch], NOTHING),
                "marks": _padded([r.marks for r in batch], UNMARKED),
            }


def _padded(rows: Sequence[list[int]], value: int) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([r + [value] * (width - len(r)) for r in rows])


class JudgingLesson(nn.Module):
    """The loss of a batch: next tokens by the model, and marks by a separate head."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.head = nn.Linear(model.config.hidden_size, 1)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        states = self.model.model(input_ids=batch["ids"], use_cache=False).last_hidden_state
        marked = batch["marks"] != UNMARKED
        told = self.head(states[marked]).float().squeeze(-1)
        loss = nn.functional.binary_cross_entropy_with_logits(told, batch["marks"][marked].float())
        wanted = batch["kinds"] != NOTHING
        kinds = batch["kinds"][wanted]
        logits = self.model.lm_head(states[wanted]).float()
        losses = nn.functional.cross_entropy(logits, batch["targets"][wanted], reduction="none")
        for kind, weight in WEIGHTS.items():
            here = kinds == kind
            loss = loss + weight * losses[here].sum() / here.sum().clamp_min(1)
        return loss


def lesson(model: Any) -> JudgingLesson:
    """What `pretrain` asks of a way to teach."""
    return JudgingLesson(model)
