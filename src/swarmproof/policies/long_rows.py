"""Attention of long rows by a fused kernel, which keeps no scores for the backward pass.

`attention.py` holds the scores of a layer in full: fast for short rows, but memory grows with the
square of their length. From `LONG` tokens on, rows are computed here: the same function up to
rounding (ADR 0003), in memory that grows with their length. Queries are cut into blocks, and a
block reads only the keys in front of its end.

Shapes: R rows of one group, W their width, Tp its prompt, KV key-value heads, rep query heads for
each, d head size.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from swarmproof.policies.shapes import LONG_ROW

LONG = LONG_ROW  # rows of more tokens are long
_BLOCK = 256  # queries at once


class Masks:
    """The masks of a layout, each made once for all layers, which keep them for the backward pass.

    In the type of the queries: a mask of booleans would be converted, and kept, in every layer.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, int], Tensor] = {}

    def get(self, queries: Tensor, seen: int) -> Tensor:
        """0 for the first `seen` keys and a query's own past, else -inf; (rep * count, keys).

        Args:
            queries: (R, KV, rep, count, d).
            seen: keys in front of the first query.
        """
        rep, count = queries.shape[2:4]
        key = (rep, count, seen)
        if key not in self._known:
            hidden = queries.new_full((count, seen + count), float("-inf")).triu(seen + 1)
            # The query heads of a key-value head become further queries: no copies of its keys.
            self._known[key] = hidden.repeat(rep, 1)
        return self._known[key]


def after_prompt(
    q: Tensor, k: Tensor, v: Tensor, kp: Tensor, vp: Tensor, *, masks: Masks
) -> Tensor:
    """Every row attends to the prompt and to its own past.

    Args:
        q: scaled queries, (R, KV, rep, W, d).
        k, v: keys and values of the rows, (R, KV, W, d).
        kp, vp: those of the prompt, all of whose tokens are seen, (KV, Tp, d).

    Returns:
        (R, KV, rep, W, d).
    """
    seen = kp.shape[1]
    keys = torch.cat([kp.expand(len(k), -1, -1, -1), k], 2)
    values = torch.cat([vp.expand(len(v), -1, -1, -1), v], 2)
    out = []
    for first in range(0, q.shape[3], _BLOCK):
        block = q[:, :, :, first : first + _BLOCK]
        mask = masks.get(block, seen + first)
        end = mask.shape[1]
        attended = scaled_dot_product_attention(
            block.flatten(2, 3), keys[:, :, :end], values[:, :, :end], mask, scale=1
        )
        out.append(attended.view(block.shape))
    return torch.cat(out, 3)
