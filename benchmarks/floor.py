"""The floor of an iteration: the time that its matrix products take alone.

The rows of every linear layer are recorded while an iteration runs. Then a product of each shape is
timed in the same process and type. Attention, norms, sampling, the optimiser and everything else
count nothing, and neither do rows that only fill up a batch.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from swarmproof.swarm.round import Swarm, play_round

_ENOUGH = 0.05  # seconds of timing for a shape, and at least three products
# Rows, inputs, outputs of a layer.
Shapes = Counter[tuple[int, int, int]]


@contextmanager
def recorded(model: Any) -> Iterator[dict[bool, Shapes]]:
    """Counts the calls of all linear layers by shape: those with a graph, and those without."""
    found: dict[bool, Shapes] = {True: Counter(), False: Counter()}

    def hook(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        weight: Any = layer.weight
        rows = inputs[0].numel() // weight.shape[1]
        found[torch.is_grad_enabled()][rows, weight.shape[1], weight.shape[0]] += 1

    layers = [m for m in model.modules() if isinstance(m, nn.Linear)]
    handles = [layer.register_forward_pre_hook(hook) for layer in layers]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def seconds(shapes: Shapes, dtype: torch.dtype, *, backward: bool) -> float:
    """Processor seconds of these products; with `backward`, of their two gradients too."""
    return sum(
        count * _product(*shape, dtype, backward=backward) for shape, count in shapes.items()
    )


def _product(rows: int, width: int, out: int, dtype: torch.dtype, *, backward: bool) -> float:
    x, weight = torch.randn(rows, width).to(dtype), torch.randn(out, width).to(dtype)
    grad = torch.randn(rows, out).to(dtype)
    spent: list[float] = []
    while len(spent) < 3 or sum(spent) < _ENOUGH:
        began = time.process_time()
        nn.functional.linear(x, weight)
        if backward:
            grad @ weight
            grad.T @ x
        spent.append(time.process_time() - began)
    return statistics.median(spent)


def parts(swarm: Swarm, round: int) -> dict[str, dict[str, float]]:
    """Play a round: processor seconds of its draws and of its update, their floors, the ratios."""
    model = swarm.cohorts[0].policy.model
    with recorded(model) as shapes:
        (outcome,) = play_round(swarm, round)
    cpu, drawn = outcome.watch.cpu, shapes[False]
    head = model.get_output_embeddings().weight.shape[0]
    rows = sum(rows * count for (rows, _, out), count in drawn.items() if out == head)
    # A first token comes from the pass over its prompt, one row for the whole group.
    wanted = outcome.record.generated_tokens - sum(len(g.completions) for g in outcome.found.groups)
    live = min(1.0, (wanted + len(outcome.found.groups)) / rows)
    floors = {
        "produce": live * seconds(drawn, model.dtype, backward=False),
        "learn": seconds(shapes[True], model.dtype, backward=True),
    }
    return {
        part: {"seconds": cpu[part], "floor": floor, "over_floor": cpu[part] / floor}
        for part, floor in floors.items()
    }
