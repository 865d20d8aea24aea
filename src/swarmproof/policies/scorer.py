"""Scores of completions under a model: log-probabilities, and distances below the support.

This part only reads: no optimiser, no second copy of the weights. The learner (`learner.py`) uses
the same forward passes, so verifying completions that are learnt from costs almost nothing
(ADR 0004).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from swarmproof.config import SamplingConfig
from swarmproof.policies import loader, loss, sampler
from swarmproof.policies.codec import Codec
from swarmproof.randomness import gumbel
from swarmproof.types import Tokens, TokenScores


@dataclass(frozen=True, slots=True)
class Places:
    """The places of R tokens: what a column is computed from."""

    logits: Tensor  # logits / temperature before each token, (R, V)
    ids: Tensor  # the tokens, int64 (R,)
    t: Tensor  # index of each token in its completion, int64 (R,)
    seeds: Tensor | None  # seed of the slot of each token, int64 (R,); None: not known


Column = Callable[[Places, SamplingConfig], Tensor]  # to (R,)


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
        seeds: Sequence[Sequence[int] | None] | None = None,
    ) -> Iterator[tuple[list[int], ForwardPass]]:
        """Cut a round's groups into forward passes, each small enough for memory.

        Args:
            prompts: P of them.
            completions: P groups; none empty.
            learnable: whether a group can have an advantage; the passes over the others keep
                nothing for a backward pass.
            seeds: the receiver's own seed for each completion's slot, for the column `margin`.

        Yields:
            the indices of the groups, in the order of the pass, and the pass.
        """
        for wanted in (True, False):
            chosen = [p for p in range(len(prompts)) if learnable[p] is wanted]
            encoded = [self.codec.encode_prompt(prompts[p]) for p in chosen]
            rows = [completions[p] for p in chosen]
            for chunk, batch in loss.micro_batches(encoded, rows, self.micro_batch_tokens):
                indices = [chosen[i] for i in chunk]
                own = [seeds[p] if seeds is not None else None for p in indices]
                yield indices, ForwardPass(self, batch, wanted, own)

    def score(
        self,
        prompts: Sequence[str],
        completions: Sequence[Sequence[Tokens]],
        seeds: Sequence[Sequence[int] | None] | None = None,
        columns: Sequence[str] = (),
    ) -> RoundScores:
        """The scores of every token of a round, group by group; nothing is learnt.

        Args:
            prompts: as `passes`, also `completions` and `seeds`.
            columns: further values to keep.
        """
        scores: dict[int, list[TokenScores]] = {}
        kept: dict[str, dict[int, list[np.ndarray]]] = {name: {} for name in columns}
        num_groups = len(prompts)
        for indices, forward in self.passes(prompts, completions, [False] * num_groups, seeds):
            scores |= zip(indices, forward.scores, strict=True)
            for name, of_groups in kept.items():
                of_groups |= zip(indices, forward.column(name), strict=True)
        return RoundScores(
            [scores[p] for p in range(num_groups)],
            {name: [of[p] for p in range(num_groups)] for name, of in kept.items()},
        )


@dataclass(frozen=True, slots=True)
class RoundScores:
    """The scores of a whole round, kept after their forward passes are freed."""

    scores: list[list[TokenScores]]
    columns: Mapping[str, list[list[np.ndarray]]] = field(default_factory=dict)

    def column(self, name: str) -> list[list[np.ndarray]]:
        return self.columns[name]


class ForwardPass:
    """One forward pass over whole groups, run when it is first needed and never twice."""

    def __init__(
        self,
        scorer: Scorer,
        batch: loss.PackedBatch,
        learnable: bool,
        seeds: Sequence[Sequence[int] | None] = (),
    ) -> None:
        self.scorer, self.batch, self.learnable = scorer, batch, learnable
        self.seeds = seeds  # of each completion's slot, group by group
        self._logits: Tensor | None = None
        self._logp: Tensor | None = None
        self._columns: dict[str, Tensor] = {}  # those that were computed, (M,)

    @property
    def ran(self) -> bool:
        return self._logits is not None or self._logp is not None

    def drop_logits(self) -> None:
        """Free the logits, the largest tensor of a pass, once nothing but `logp` is read."""
        self.logp()
        self._logits = None

    def logits(self) -> Tensor:
        if self._logits is None:
            assert self._logp is None, "the logits of this pass were dropped"
            model, codec = self.scorer.model, self.scorer.codec
            with torch.set_grad_enabled(self.learnable), loader.packed(model, codec):
                self._logits = loss.token_logits(model, self.batch)
        return self._logits

    def logp(self) -> Tensor:
        """log pi of every token, (M,), with its graph where the pass can be learnt from."""
        if self._logp is None:
            with torch.set_grad_enabled(self.learnable):
                temperature = self.scorer.sampling.temperature
                self._logp = loss.logprobs_of(self.batch, self.logits(), temperature)
        return self._logp

    def detached_logp(self) -> Tensor:
        return self.logp().detach()

    @cached_property
    def scores(self) -> list[list[TokenScores]]:
        """Scores of every token under the model: one entry for each completion, group by group."""
        logprob = self._split(self.detached_logp())
        return [
            [TokenScores(*pair) for pair in zip(*rows, strict=True)]
            for rows in zip(logprob, self.column("shortfall"), strict=True)
        ]

    def column(self, name: str) -> list[list[np.ndarray]]:
        """A column of `COLUMNS` for every token: float32 (T,) for each completion, by group."""
        if name not in self._columns:
            with torch.no_grad():
                self._columns[name] = self._compute(name)
        return self._split(self._columns[name])

    def _compute(self, name: str) -> Tensor:
        """A column, (M,). In slices, so that no float32 copy of all logits is made."""
        batch, sampling, logits = self.batch, self.scorer.sampling, self.logits().detach()
        rows, ids = loss.targets(batch, logits.device)
        of, t = loss.places(batch, logits.device)
        seeds = None
        if self.seeds and None not in self.seeds:
            flat = [seed for row in self.seeds for seed in row or ()]
            seeds = torch.tensor(flat, device=logits.device)[of]
        result = torch.zeros(len(ids), device=logits.device)
        wanted = torch.ones_like(ids, dtype=torch.bool)
        if name == "shortfall":
            if seeds is not None and logits.shape[-1] >= sampler.WIDE:
                self.column("margin")  # to find the draw costs less than to count
            if "margin" in self._columns:
                wanted = self._columns["margin"] != 0  # what is the draw is inside the support
        for at in torch.split(wanted.nonzero().squeeze(-1), loss.rows_at_once(logits)):
            scaled = sampler.scaled(logits[rows[at]], sampling.temperature)
            places = Places(scaled, ids[at], t[at], None if seeds is None else seeds[at])
            result[at] = COLUMNS[name](places, sampling)
        return result

    def _split(self, flat: Tensor) -> list[list[np.ndarray]]:
        parts = iter(part.numpy() for part in self.batch.split(flat.float().cpu()))
        return [[next(parts) for _ in rows] for rows in self.batch.completions]


def shortfall(at: Places, sampling: SamplingConfig) -> Tensor:
    """How far below the sampling support each token is."""
    logits, chosen = at.logits, at.logits.gather(-1, at.ids[:, None])
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


def entropy(at: Places, sampling: SamplingConfig) -> Tensor:  # noqa: ARG001
    """Entropy of the full softmax before each token, in nats."""
    logp = at.logits.log_softmax(-1)
    return -(logp.exp() * logp.masked_fill(logp == float("-inf"), 0)).sum(-1)


def margin(at: Places, sampling: SamplingConfig) -> Tensor:
    """How far each token is from being the draw at its address; 0: it is the draw.

    In units of logit / temperature: the smallest error of the logits that could explain it. A rival
    that wins the draw loses it if its sum falls below the token's, or if its logit falls out of the
    support. A token outside the support must first rise into it.

    Raises:
        ValueError: the seeds of the slots are not known.
    """
    if at.seeds is None:
        raise ValueError("the margin of a draw needs the seed of its slot; give slot_seeds")
    result = torch.zeros(len(at.ids), device=at.logits.device)
    others = (sampler.draw_scaled(at.logits, at.seeds, at.t, sampling) != at.ids).nonzero()
    if len(rows := others.squeeze(-1)):
        part = Places(at.logits[rows], at.ids[rows], at.t[rows], at.seeds[rows])
        result[rows] = torch.maximum(_lost_by(part, sampling), shortfall(part, sampling))
    chosen = at.logits.gather(-1, at.ids[:, None]).squeeze(-1)
    return torch.where(chosen.isnan(), chosen, result)


def _lost_by(at: Places, sampling: SamplingConfig) -> Tensor:
    """The error that would take the draw from each rival; the largest of them."""
    assert at.seeds is not None
    vocab = at.logits.shape[-1]
    kept = sampler.support(at.logits, sampling)
    edge = at.logits.masked_fill(kept, float("-inf")).amax(-1, keepdim=True)
    count = sampling.top_k if 0 < sampling.top_k < vocab else vocab
    values, ids = at.logits.topk(count)
    noise = gumbel(at.seeds, at.t, torch.cat([at.ids[:, None], ids], -1))
    own = at.logits.gather(-1, at.ids[:, None]) + noise[:, :1]
    lost = torch.minimum(values + noise[:, 1:] - own, values - edge)
    return lost.masked_fill(~kept.gather(-1, ids), float("-inf")).amax(-1).clamp_min(0)


# Values that a pass can compute for each token besides its log-probability, by name.
COLUMNS: Mapping[str, Column] = {"shortfall": shortfall, "entropy": entropy, "margin": margin}
