"""Draws completions: prompts and seeds in, token ids out.

The rest of the package uses only the `Generator` interface, so another engine can replace
`PackedGenerator`. An engine must sample with the addressed noise (`randomness.gumbel`), or its
completions cannot be replayed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from swarmproof.config import SamplingConfig
from swarmproof.policies import loader, sampler
from swarmproof.policies.codec import Codec
from swarmproof.types import Tokens

# Capacity of a sampling batch in tokens, without prompts: 768 completions of 128.
ROOM = 98_304


class Generator(Protocol):
    """Draws a completion for every seed."""

    def generate(
        self, prompts: Sequence[str], seeds: Sequence[Sequence[int]]
    ) -> list[list[Tokens]]:
        """Return a completion for every seed, prompt by prompt; the rows may differ in length.

        A completion that ended includes its end-of-text.
        """


class PackedGenerator:
    """Draws with a model in this process, many rows at a time: at most `room` tokens."""

    def __init__(
        self, model: Any, codec: Codec, sampling: SamplingConfig, room: int | None = None
    ) -> None:
        self.model, self.codec, self.sampling, self.room = model, codec, sampling, room or ROOM

    def generate(
        self, prompts: Sequence[str], seeds: Sequence[Sequence[int]]
    ) -> list[list[Tokens]]:
        drawn: list[list[Tokens]] = [[] for _ in prompts]
        encoded = [self.codec.encode_prompt(prompt) for prompt in prompts]
        # A batch has as many rows for each of its prompts.
        for size in sorted({len(row) for row in seeds} - {0}):
            equal = [p for p, row in enumerate(seeds) if len(row) == size]
            self._draw(encoded, seeds, equal, drawn)
        return drawn

    def _draw(
        self,
        encoded: Sequence[Sequence[int]],
        seeds: Sequence[Sequence[int]],
        places: Sequence[int],
        drawn: list[list[Tokens]],
    ) -> None:
        """Fill `drawn` at the given places, all of which have equally many seeds."""
        most = max(1, self.room // self.sampling.max_new_tokens)
        with loader.packed(self.model, self.codec):
            for part, start, count in _batches(len(places), len(seeds[places[0]]), most):
                chosen = [places[i] for i in part]
                rows = sampler.generate(
                    self.model,
                    [encoded[p] for p in chosen],
                    [seeds[p][start : start + count] for p in chosen],
                    self.sampling,
                    self.codec.end_ids,
                )
                for p, row in zip(chosen, rows, strict=True):
                    drawn[p] += row


def _batches(num_prompts: int, group_size: int, most: int) -> Iterator[tuple[range, int, int]]:
    """Cut P x G rows into batches of at most `most`: prompts, first column, columns."""
    at_once = max(1, most // group_size)
    for first in range(0, num_prompts, at_once):
        chosen = range(first, min(first + at_once, num_prompts))
        for start in range(0, group_size, most):
            yield chosen, start, min(most, group_size - start)
