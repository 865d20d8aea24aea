"""Scores of completions under a model: log-probabilities, and distances below the support.

This part only reads: no optimiser, no second copy of the weights. The learner (`learner.py`) uses
the same forward passes, so verifying completions that are learnt from costs almost nothing
(ADR 0004).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from swarmproof.config import SamplingConfig
from swarmproof.policies import loader, loss, sampler
from swarmproof.policies.codec import Codec
from swarmproof.policies.columns import COLUMNS, ZERO_FOR_DRAWS, Places, known
from swarmproof.types import Tokens, TokenScores


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
        _, ids, _, _ = self._tokens
        result = torch.zeros(len(ids), device=ids.device)
        wanted = torch.ones_like(ids, dtype=torch.bool)
        if name in ZERO_FOR_DRAWS and (name == "margin" or self._draws_are_cheap):
            wanted = self._no_draws
        for at, places in self._places(wanted):
            result[at] = COLUMNS[name](places, self.scorer.sampling)
        return result

    @property
    def _draws_are_cheap(self) -> bool:
        """Whether to find the draw of a token costs less than to look for it in the support."""
        vocab = self.logits().shape[-1]
        cheap = vocab >= sampler.WIDE and sampler.few_candidates(vocab, self.scorer.sampling)
        return self._slot_seeds is not None and cheap

    @cached_property
    def _no_draws(self) -> Tensor:
        """Which tokens are not the draw at their address, bool (M,)."""
        sampling, logits = self.scorer.sampling, self.logits().detach()
        rows, ids, _, _ = self._tokens
        # A draw is inside the support, but a NaN must not count as that.
        found = logits[rows, ids].isnan()
        for at, places in self._places(torch.ones_like(found)):
            drawn = sampler.draw_scaled(places.logits, known(places.seeds), places.t, sampling)
            found[at] |= drawn != places.ids
        return found

    @cached_property
    def _tokens(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of each token: its row of logits, its id, its completion and its index there; (M,)."""
        device = self.logits().device
        return *loss.targets(self.batch, device), *loss.places(self.batch, device)

    @cached_property
    def _slot_seeds(self) -> Tensor | None:
        """The seed of the slot of each token, int64 (M,); None: not known."""
        if not self.seeds or None in self.seeds:
            return None
        _, _, of, _ = self._tokens
        flat = [seed for row in self.seeds for seed in row or ()]
        return torch.tensor(flat, device=of.device)[of]

    def _places(self, wanted: Tensor) -> Iterator[tuple[Tensor, Places]]:
        """The tokens that are wanted, some at a time: their indices, and their places."""
        logits, seeds = self.logits().detach(), self._slot_seeds
        rows, ids, _, t = self._tokens
        for at in torch.split(wanted.nonzero().squeeze(-1), loss.rows_at_once(logits)):
            scaled = sampler.scaled(logits[rows[at]], self.scorer.sampling.temperature)
            yield at, Places(scaled, ids[at], t[at], None if seeds is None else seeds[at])

    def _split(self, flat: Tensor) -> list[list[np.ndarray]]:
        parts = iter(part.numpy() for part in self.batch.split(flat.float().cpu()))
        return [[next(parts) for _ in rows] for rows in self.batch.completions]
