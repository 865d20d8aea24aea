"""How the tiny judge is taught: which tokens it learns to write, and a mark at every token it reads.

The decision alone is one bit for a whole solution, and teaches little. So while it is trained a
second head, which is thrown away, has to tell at every token of the solution whether there was a
fault up to here. What finds the faults is then there when the decision is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from swarmproof.zoo.judge_corpus import Exhibit

# What a token is, for its share in the loss.
NOTHING, READ, CRITICISM, VERDICT = range(4)
WEIGHTS = {READ: 0.3, CRITICISM: 1.0, VERDICT: 1.0}
UNMARKED = -1
_TAG = re.compile(r"<(/?\w+)>")

# Conversations as plain text: what the prompt for this judge looks like, and nothing in between.
CHAT_TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'assistant' %} {{ m.content | trim }}"
    "{% else %}{% if not loop.first %}\n{% endif %}{{ m.content }}{% endif %}{% endfor %}"
)


@dataclass(frozen=True, slots=True)
class Row:
    ids: list[int]
    targets: list[int]  # of the token that follows
    kinds: list[int]  # of the target
    marks: list[int]  # whether there was a fault up to this token; UNMARKED outside of the solution


def text_of(exhibit: Exhibit) -> str:
    """What the tokenizer learns from."""
    return transcript(Random(exhibit.completion), exhibit)[0]


def transcript(rng: Random, exhibit: Exhibit) -> tuple[str, int, int, int]:
    """A conversation; where the completion and the criticism begin, and where the latter ends.

    Without a criticism, both of its places are at the end of the completion.
    """
    fence = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(8))
    head = f"Question: {exhibit.question}\nResponse {fence}:\n"
    text = head + _TAG.sub(r"[\1]", exhibit.completion) + f"\nEnd {fence}.\n"
    begin = end = len(text)
    if rng.random() < 0.5:
        text += f"Criticism: {exhibit.criticism}"
        begin, end = begin + len("Criticism:"), len(text)
        text += "\n"
    text += "Verdict: " + ("no" if exhibit.fault else "yes")
    return text, len(head), begin, end


def row(rng: Random, tokens: PreTrainedTokenizerFast, exhibit: Exhibit) -> Row:
    text, solution, begin, end = transcript(rng, exhibit)
    encoded = tokens(text, return_offsets_mapping=True)
    ids, spans = encoded["input_ids"], encoded["offset_mapping"]
    kinds, marks = [], []
    targets = [*ids[1:], tokens.eos_token_id]
    last = solution + len(exhibit.completion)
    fault = exhibit.fault and (solution + exhibit.fault[0], solution + exhibit.fault[1])
    for i, (_, stop) in enumerate(spans):
        following = spans[i + 1][1] if i + 1 < len(spans) else len(text) + 1
        if following == len(text):
            kinds.append(VERDICT)
        elif begin < following <= end:
            kinds.append(CRITICISM)
        elif stop == end > begin:  # a criticism ends with end-of-text
            kinds.append(CRITICISM)
            targets[i] = tokens.eos_token_id
        elif solution < following <= last and fault is None:
            kinds.append(READ)
        else:
            kinds.append(NOTHING)
        if not solution < stop <= last:
            marks.append(UNMARKED)
        elif fault is None or stop <= fault[0]:
            marks.append(0)
        else:
            marks.append(1 if stop >= fault[1] else UNMARKED)
    return Row(ids, targets, kinds, marks)


def batches(
    exhibits: Iterator[Exhibit], tokens: PreTrainedTokenizerFast, size: int, rng: Random
) -> Iterator[dict[str, Tensor]]:
    """Rows of like length together, as tensors [rows, tokens]."""
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


class Lesson(nn.Module):
    """The loss of a batch: what it should write, and the marks, by a head of its own."""

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
