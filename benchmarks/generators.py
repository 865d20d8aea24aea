"""Compares the generator `vllm` with ours: time, equal draws, and margins under our scorer.

    python -m benchmarks.generators [--model tiny-math] [--dtype float32] [--seeds 0,1,2]

Needs vLLM in this environment. Both draw the same slots in turn, on one thread; times are those
of the processor, as other work may run beside it. The margins of our own draws are the control:
where those are above 0, the draws and the scorer of one model differ by rounding too.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from swarmproof import config, registry
from swarmproof.defenses.replay import Replay
from swarmproof.policies.generator import Generator
from swarmproof.policies.policy import Policy, load
from swarmproof.policies.vllm_generator import Vllm
from swarmproof.randomness import derive_seed
from swarmproof.tasks import Task


def timed(generator: Generator, prompts: Any, seeds: Any) -> tuple[list[Any], float]:
    """Its draws, and its processor seconds."""
    start = time.process_time()
    return generator.generate(prompts, seeds), time.process_time() - start


def margins(of: Policy, prompts: Sequence[str], drawn: Any, seeds: Any) -> list[np.ndarray]:
    """Of the tokens of each completion."""
    column = of.scorer.score(prompts, drawn, seeds, ("margin",)).column("margin")
    return [each for row in column for each in row]


def told(name: str, found: Sequence[np.ndarray]) -> str:
    every, ties = np.concatenate(found), Replay().ties
    lost, above = int((every > 0).sum()), sum((each > 0).sum() > ties for each in found)
    return (
        f"{name}: {lost} of {len(every)} tokens are not the draw, largest margin {every.max():.4f};"
        f" {above} of {len(found)} completions have more than {ties} such tokens"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny-math")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--shape", default="16x12x64", help="problems x group x new tokens")
    parser.add_argument("--compile", action="store_true", help="vllm compiles the model")
    given = parser.parse_args()
    problems, group, most = map(int, given.shape.split("x"))

    torch.set_num_threads(1)
    model = config.ModelConfig(path=given.model, dtype=given.dtype)
    ours = load(model, config.SamplingConfig(max_new_tokens=most))
    name = "code_words" if "code" in given.model else "math_words"
    task = registry.build(Task, {"name": name})
    prompts = [task.prompt(problem) for problem in task.problems("train")[:problems]]
    start = time.perf_counter()
    engine = Vllm(cache_gb=0.5, eager=not given.compile)
    vllm = engine.start(ours.model, ours.codec, ours.sampling, None)
    print(f"{given.model} {given.dtype} {given.shape}; start: {time.perf_counter() - start:.1f} s")
    vllm.generate(prompts, [[0]] * problems)

    seconds, equal = [], 0
    found: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for run in map(int, given.seeds.split(",")):
        seeds = [
            [derive_seed(run, "completion", 0, str(p), g) for g in range(group)]
            for p in range(problems)
        ]
        sides = [timed(each, prompts, seeds) for each in (vllm, ours.generator)]
        seconds.append(tuple(side[1] for side in sides))
        pairs = zip(*(side[0] for side in sides), strict=True)
        equal += sum(a == b for row in pairs for a, b in zip(*row, strict=True))
        for each, (drawn, _) in zip(found, sides, strict=True):
            each.extend(margins(ours, prompts, drawn, seeds))
    theirs, own = (statistics.median(side) for side in zip(*seconds, strict=True))
    ratios = sorted(a / b for a, b in seconds)
    print(f"processor seconds: vllm {theirs:.2f}, ours {own:.2f}")
    print(f"vllm / ours: {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    print(f"equal completions: {equal} of {len(seconds) * problems * group}")
    for side, of in zip(("vllm", "ours"), found, strict=True):
        print(told(side, of))


if __name__ == "__main__":
    main()
