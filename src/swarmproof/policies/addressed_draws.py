"""The draws of our noise inside vLLM: a logits processor that leaves one token for each request.

vLLM (0.32, its first model runner) tells a processor which requests enter, leave and move in its
batch, and gives it the logits of one token of each. The processor computes the draw of the
request's slot at that place and sets all other logits to minus infinity, so that greedy decoding
takes the draw. This module knows vLLM's interface, but imports it only to derive from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from swarmproof.config import SamplingConfig
from swarmproof.policies import sampler

SEED = "slot_seed"  # in a request's `extra_args`


class AddressedDraws:
    """Which slot each row of the engine's batch belongs to, and the draw of each row.

    Args:
        sampling: the generation strategy.
        unknown_ids: the ids that stand for no token, which are never drawn.
    """

    def __init__(self, sampling: SamplingConfig, unknown_ids: Sequence[int]) -> None:
        self.sampling, self.unknown_ids = sampling, list(unknown_ids)
        # Row -> seed of its slot, and its tokens so far: a list of the engine, which grows.
        self.rows: dict[int, tuple[int, Sequence[int]]] = {}

    def update(self, change: Any) -> None:
        """Follow a change of the batch: vLLM's `BatchUpdate`, or None if nothing changed."""
        if change is None:
            return
        for row in change.removed:
            self.rows.pop(row, None)
        for row, params, _, drawn in change.added:
            self.rows[row] = (params.extra_args[SEED], drawn)
        for start, end, direction in change.moved:
            first, second = self.rows.pop(start, None), self.rows.pop(end, None)
            if first is not None:
                self.rows[end] = first
            if second is not None and direction.name == "SWAP":
                self.rows[start] = second

    def apply(self, logits: Tensor) -> Tensor:
        """The same logits with all but the draws at minus infinity, (R, V)."""
        places = [self.rows[row] for row in range(len(logits))]
        seeds = torch.tensor([seed for seed, _ in places], device=logits.device)
        t = torch.tensor([len(drawn) for _, drawn in places], device=logits.device)
        logits[:, self.unknown_ids] = float("-inf")
        tokens = sampler.draw(logits, seeds, t, self.sampling)
        return torch.full_like(logits, float("-inf")).scatter_(-1, tokens[:, None], 0.0)


def processor(sampling: SamplingConfig, unknown_ids: Sequence[int]) -> type[Any]:
    """A class that vLLM makes its processor of, with our settings."""
    from vllm.v1.sample.logits_processor import LogitsProcessor

    class Processor(LogitsProcessor):  # type: ignore[misc]
        def __init__(self, _config: object, _device: object, _pinned: object) -> None:
            self.draws = AddressedDraws(sampling, unknown_ids)

        def is_argmax_invariant(self) -> bool:
            return False

        def update_state(self, batch_update: Any) -> None:
            self.draws.update(batch_update)

        def apply(self, logits: Tensor) -> Tensor:
            return self.draws.apply(logits)

    return Processor
