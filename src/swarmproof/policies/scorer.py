"""Scores of completions under a model: log-probabilities, and distances below the support.

This part only reads: no optimiser, no second copy of the weights. The learner (`learner.py`) uses
the same forward passes, so verifying completions that are learnt from costs almost nothing
(ADR 0004).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from swarmproof.config import SamplingConfig
from swarmproof.policies import loader, loss, sampler
from swarmproof.policies.codec import Codec
from swarmproof.types import Tokens, TokenScores

# From logits / temperature of the positions (R, V) and the ids of their tokens (R,) to (R,).
Column = Callable[[Tensor, Tensor, SamplingConfig], Tensor]


class Scorer:
    """Scores completions under a model's current weights.

    Args:
        model: a causal LM.
        codec: its tokenizer.
        sampling: the strategy that completions are verified against.
        micro_batch_tokens: packed tokens per pass; does not affect the result.
    """

    def __init__(
        self,
        model: Any,
        codec: Codec,
        sampling: SamplingConfig,
        micro_batch_tokens: int = 2048,
    ) -> None:
        self.model, self.codec, self.sampling = model, codec, sampling
        self.micro_batch_tokens = micro_batch_tokens

    def passes(
        self,
        prompts: Sequence[str],
        completions: Sequence[Sequence[Tokens]],
        learnable: Sequence[bool],
    ) -> Iterator[tuple[list[int], ForwardPass]]:
        """Cut a round's groups into forward passes, each small enough for memory.

        Args:
            prompts: P of them.
            completions: P groups; none empty.
            learnable: whether a group can have an advantage; the passes over the others keep
                nothing for a backward pass.

        Yields:
            the indices of the groups, in the order of the pass, and the pass.
        """
        for wanted in (True, False):
            chosen = [p for p in range(len(prompts)) if learnable[p] is wanted]
            encoded = [self.codec.encode_prompt(prompts[p]) for p in chosen]
            rows = [completions[p] for p in chosen]
            for chunk, batch in loss.micro_batches(encoded, rows, self.micro_batch_tokens):
                yield [chosen[i] for i in chunk], ForwardPass(self, batch, wanted)

    def score(self, prompts: Sequence[str], completions: Sequence[Sequence[Tokens]]) -> RoundScores:
        """The scores of every token of a round, group by group; nothing is learnt."""
        scores: dict[int, list[TokenScores]] = {}
        for indices, forward in self.passes(prompts, completions, [False] * len(prompts)):
            scores |= zip(indices, forward.scores, strict=True)
        return RoundScores([scores[p] for p in range(len(prompts))])


@dataclass(frozen=True, slots=True)
class RoundScores:
    """The scores of a whole round, kept after their forward passes are freed."""

    scores: list[list[TokenScores]]


class ForwardPass:
    """One forward pass over whole groups, run when it is first needed and never twice."""

    def __init__(self, scorer: Scorer, batch: loss.PackedBatch, learnable: bool):
        self.scorer, self.batch, self.learnable = scorer, batch, learnable
        self._logits: Tensor | None = None
        self._logp: Tensor | None = None

    @property
    def ran(self) -> bool:
        return self._logits is not None

    def logits(self) -> Tensor:
        if self._logits is None:
            model, codec = self.scorer.model, self.scorer.codec
            with torch.set_grad_enabled(self.learnable), loader.packed(model, codec):
                temperature = self.scorer.sampling.temperature
                self._logits = loss.token_logits(model, self.batch, temperature)
        return self._logits

    def logp(self) -> Tensor:
        """log pi of every token, (M,), with its graph where the pass can be learnt from."""
        if self._logp is None:
            with torch.set_grad_enabled(self.learnable):
                self._logp = loss.logprobs_of(self.batch, self.logits())
        return self._logp

    def detached_logp(self) -> Tensor:
        return self.logp().detach()

    @cached_property
    def scores(self) -> list[list[TokenScores]]:
        """Scores of every token under the model: one entry for each completion, group by group."""
        columns = zip(self._split(self.detached_logp()), self.column("shortfall"), strict=True)
        return [[TokenScores(*next(columns)) for _ in rows] for rows in self.batch.completions]

    def column(self, name: str) -> list[np.ndarray]:
        """A column of `COLUMNS` for every token; float32 of shape (T,) for each completion."""
        column, batch, sampling = COLUMNS[name], self.batch, self.scorer.sampling
        with torch.no_grad():
            logits = self.logits().detach()
            rows, ids = loss.targets(batch, logits.device)
            # Only first tokens share rows; indexing all rows at once would copy the logits.
            num_first, num_groups = len(batch.rows), len(batch.prompts)
            first, further = logits[rows[:num_first]], logits[num_groups:]
            parts = [
                column(first, ids[:num_first], sampling),
                column(further, ids[num_first:], sampling),
            ]
            return self._split(torch.cat(parts))

    def _split(self, flat: Tensor) -> list[np.ndarray]:
        return [part.numpy() for part in self.batch.split(flat.float().cpu())]


def shortfall(logits: Tensor, ids: Tensor, sampling: SamplingConfig) -> Tensor:
    """How far below the sampling support each token is; (R, V), (R,) -> (R,)."""
    chosen = logits.gather(-1, ids[:, None])
    result = torch.zeros_like(chosen.squeeze(-1))
    k = sampling.top_k if 0 < sampling.top_k < logits.shape[-1] else logits.shape[-1]
    if sampling.top_p < 1:
        suspects = torch.ones_like(result, dtype=torch.bool)
    else:
        # Counting the better tokens is much cheaper than sorting all tokens. The boundary itself
        # is needed only for the few tokens that fail.
        suspects = (logits > chosen).sum(-1) >= k
    if suspects.any():
        kept = sampler.support(logits[suspects], sampling)
        lowest = logits[suspects].masked_fill(~kept, float("inf")).amin(-1)
        result[suspects] = (lowest - chosen[suspects].squeeze(-1)).clamp_min(0)
    # Comparisons with NaN are false, and a NaN must not count as inside the support.
    return torch.where(chosen.squeeze(-1).isnan(), chosen.squeeze(-1), result)


def entropy(logits: Tensor, ids: Tensor, sampling: SamplingConfig) -> Tensor:  # noqa: ARG001
    """Entropy of the full softmax at each place, in nats; (R, V), (R,) -> (R,)."""
    logp = logits.log_softmax(-1)
    return -(logp.exp() * logp.masked_fill(logp == float("-inf"), 0)).sum(-1)


# Values that a pass can compute for each token besides its log-probability, by name.
COLUMNS: Mapping[str, Column] = {"shortfall": shortfall, "entropy": entropy}
