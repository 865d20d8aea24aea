"""TOKEN CREDIT: reward a token only as far as the answer depends on it, found by leaving it out.

For any swarm whose answers stand in the text. Why it might work: a payload that has nothing to do
with the problem can be left out, and the model is as sure of the answer as before; so it earns
nothing. Where it fails: a payload inside the reasoning (2 + 2 = 5) may move the answer; so may any
text that the model does not expect; honest words on which the answer does not depend earn nothing
either; and needless length costs an attacker only what the credits differ. It costs a forward pass
for every token of every completion that is better than its group. Source: OAR, arXiv 2601.07408,
which shapes advantages by a token's influence on the outcome. Leaving out tokens, the scale and
the renormalisation are our reading.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import Field

from swarmproof.defenses.base import (
    AskedModel,
    Defense,
    DefenseView,
    Reads,
    Setting,
    better_than_mean,
)
from swarmproof.policies.codec import Codec
from swarmproof.registry import register
from swarmproof.types import Group, Tokens, Verdict


@register("defense", "token_credit")
class TokenCredit(Defense):
    """Credit the tokens of rewarded completions by how much the answer depends on them.

    The exact rule, for completions better than the mean of their group (before any refusal); it
    abstains on the others. The answer is the text from the last `opening` to the next `closing`, or
    to the end. Its tokens have credit 1, and so have tokens that end a completion. The tokens
    before it are left out in turn, `span` consecutive ones at a time. Their importance is the
    absolute change of log P(answer | prompt and what stands before it), under the receiver's
    current weights, in nats. Their credit is importance / `enough`, at most 1. Other tokens after
    the answer have credit 0. The loss is renormalised: credits are divided by their mean, so that
    the completion counts as much as before. A completion without an answer is refused. The score is
    1 minus the mean credit before the renormalisation.
    """

    reads: ClassVar[Reads] = "model"

    enough: float = Field(
        default=0.1, gt=0, description="nats by which the answer must change for full credit"
    )
    span: int = Field(default=1, ge=1, le=64, description="tokens that are left out at a time")
    opening: str = Field(default="<answer>", min_length=1, description="text that begins an answer")
    closing: str = Field(default="</answer>", description="text that ends it; empty: the end")

    def require_in(self, setting: Setting) -> None:
        if setting.programs:
            raise ValueError(
                "the defence 'token_credit' needs an answer in the text, and here programs print "
                'it; use "spurious_tokens"'
            )

    def inspect(self, groups: Sequence[Group], view: DefenseView) -> list[list[Verdict]]:
        if not groups:
            return []
        model = view.model
        assert model is not None, 'the guard gives a model to defences that read "model"'
        wanted = [
            [
                self._asked(model.codec, group.prompt, ids) if better else None
                for ids, better in zip(group.token_ids, better_than_mean(rewards), strict=True)
            ]
            for group, rewards in zip(groups, view.rewards, strict=True)
        ]
        asked = [one for row in wanted for one in row if one is not None]
        found = iter(answer_logprobs(model, asked))
        return [[self._verdict(one, found, model.codec) for one in row] for row in wanted]

    def _asked(self, codec: Codec, prompt: str, ids: Tokens) -> Asked:
        return Asked(prompt, ids, self.span, answer_tokens(codec, ids, self.opening, self.closing))

    def _verdict(self, asked: Asked | None, found: Iterator[np.ndarray], codec: Codec) -> Verdict:
        if asked is None:
            return self.verdict(None, 0.0, "not better than its group, and so not credited")
        logprobs = next(found)
        if asked.answer is None:
            return self.verdict(
                False, 1.0, f"it has no answer after {self.opening!r} to measure by"
            )
        if not np.isfinite(logprobs).all():
            return self.verdict(False, math.inf, "the model's scores are not finite")
        first, after = asked.answer
        whole, *without = logprobs.tolist()
        credit = [1.0 if token in codec.end_ids else 0.0 for token in asked.ids]
        credit[first:after] = [1.0] * (after - first)
        for (start, stop), logprob in zip(asked.spans, without, strict=True):
            credit[start:stop] = [min(1.0, abs(whole - logprob) / self.enough)] * (stop - start)
        score = 1 - sum(credit) / len(credit)
        return self.verdict(True, score, token_credit=credit, renormalised=True)


@dataclass(frozen=True, slots=True)
class Asked:
    """A completion whose tokens are to be left out in turn."""

    prompt: str
    ids: Tokens
    span: int
    answer: tuple[int, int] | None  # the first token of the answer and the one after it

    @property
    def spans(self) -> list[tuple[int, int]]:
        """The tokens before the answer, in parts: the first of each and the one after it."""
        first = self.answer[0] if self.answer else 0
        return [(start, min(start + self.span, first)) for start in range(0, first, self.span)]

    @property
    def rows(self) -> list[Tokens]:
        """What the answer is scored after: all up to its end, then without each span."""
        if self.answer is None:
            return []
        until = self.ids[: self.answer[1]]
        return [until, *(until[:start] + until[stop:] for start, stop in self.spans)]


def answer_tokens(codec: Codec, ids: Tokens, opening: str, closing: str) -> tuple[int, int] | None:
    """The first token that holds a part of the answer, and the one after its last; None without."""
    *starts, text = codec.decode([ids[:t] for t in range(len(ids) + 1)])
    first_char = text.rfind(opening)
    if first_char < 0:
        return None
    closed = text.find(closing, first_char + len(opening)) if closing else -1
    after_char = len(text) if closed < 0 else closed + len(closing)
    before = [len(start) for start in starts]  # characters before each token
    first = max(t for t, chars in enumerate(before) if chars <= first_char)
    return first, max(t for t, chars in enumerate(before) if chars < after_char) + 1


def answer_logprobs(model: AskedModel, asked: Sequence[Asked]) -> list[np.ndarray]:
    """Log-probability of the answer after each of `rows`, float64 (rows,) for each completion."""
    prompts, parts, whose = [], [], []
    for i, one in enumerate(asked):
        # Few rows at a time: logits of all tokens of a part are in memory at once.
        each = max(1, model.scorer.micro_batch_tokens // max(1, len(one.ids)))
        for start in range(0, len(one.rows), each):
            prompts.append(one.prompt)
            parts.append(one.rows[start : start + each])
            whose.append(i)
    scored = model.scorer.score(prompts, parts).scores if parts else []
    found: list[list[float]] = [[] for _ in asked]
    for i, rows in zip(whose, scored, strict=True):
        first, after = asked[i].answer or (0, 0)
        found[i] += [float(row.logprob[first - after :].astype(np.float64).sum()) for row in rows]
    return [np.array(values) for values in found]
