"""Run all comparisons and write `results/bench.json`.

Both sides of a comparison alternate in one process; what is reported is the median of the ratios
of neighbours, since machines are noisy and seconds are not comparable between them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

from benchmarks import floor, large, ours, peers
from swarmproof.records.versions import versions
from swarmproof.swarm.allocator import keep_freed_memory

OUT = Path(__file__).parents[1] / "results" / "bench.json"
Side = Callable[[int], float]


def alternate(a: Side, b: Side, times: int) -> dict[str, Any]:
    """Medians of a, of b, and of the ratio a / b of neighbours; one warm-up of each."""
    a(1), b(1)
    pairs = [(a(i), b(i)) for i in range(2, times + 2)]
    ratios = sorted(x / y for x, y in pairs)
    return {
        "ratio": statistics.median(ratios),
        "ratio_range": [ratios[0], ratios[-1]],
        "seconds": [statistics.median(x for x, _ in pairs), statistics.median(y for _, y in pairs)],
        "times": times,
    }


def against_trl(problems: int, times: int, *, endless: bool = False) -> dict[str, Any]:
    """One iteration of TRL's GRPOTrainer over one of ours.

    Args:
        endless: all completions have 64 tokens; else natural lengths up to 128.
    """
    limit = 64 if endless else 128
    swarm = ours.swarm(problems=problems, group_size=12, max_new_tokens=limit, endless=endless)
    task = ours.ParityWords()

    def trl(_: int) -> float:
        steps = peers.trl_steps(task, problems, 12, limit, steps=4, endless=endless)
        return statistics.median(steps[1:])

    def own(i: int) -> float:
        return statistics.median(ours.step(swarm, 4 * i + j)[0] for j in range(3))

    return alternate(trl, own, times)


def against_itself(times: int, a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    """Time of configuration a over that of b, on the same slots."""
    first, second = ours.swarm(**a), ours.swarm(**b)
    return alternate(lambda i: ours.step(first, i)[0], lambda i: ours.step(second, i)[0], times)


def models_over_single_runs(models: Sequence[str], times: int, **shape: Any) -> dict[str, Any]:
    """Time of a swarm of several models, a node each, over the sum of such swarms of each alone."""
    shape["nodes"] = len(models)
    together = ours.swarm(**shape, models=models)
    alone = [ours.swarm(**shape, models=[model]) for model in models]
    return alternate(
        lambda i: ours.step(together, i)[0],
        lambda i: sum(ours.step(swarm, i)[0] for swarm in alone),
        times,
    )


def programs_over_iteration(problems: int, group_size: int, times: int) -> dict[str, Any]:
    """Time to reward that many programs in the default sandbox, over that of an iteration."""
    swarm = ours.swarm(problems=problems, group_size=group_size, max_new_tokens=128)
    sent = ours.programs(problems, group_size)
    return alternate(lambda _: ours.reward(sent), lambda i: ours.step(swarm, i)[0], times)


def throughput(times: int) -> dict[str, Any]:
    """Generated tokens a second, and what share of the measured matrix-product rate that uses."""
    swarm = ours.swarm(problems=32, group_size=12, max_new_tokens=128)
    parameters = sum(p.numel() for p in swarm.cohorts[0].policy.model.parameters())
    runs = [ours.step(swarm, i) for i in range(1, times + 2)][1:]
    rate = statistics.median(tokens / seconds["produce"] for _, seconds, tokens in runs)
    learn = statistics.median(tokens / seconds["learn"] for _, seconds, tokens in runs)
    peak = matmul_rate()
    return {
        "generated_tokens_per_second": rate,
        "learned_tokens_per_second": learn,
        "matmul_gflops": peak / 1e9,
        # A token costs 2 operations a parameter forward, and 6 forward and backward.
        "share_of_matmul_rate": {
            "generate": rate * 2 * parameters / peak,
            "learn": learn * 6 * parameters / peak,
        },
    }


def over_floor(problems: int, times: int) -> dict[str, Any]:
    """Processor seconds of the draws and of the update over those of their matrix products."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a trial
    swarm = ours.swarm(problems=problems, group_size=12, max_new_tokens=128)
    runs = [floor.parts(swarm, i) for i in range(1, times + 2)][1:]
    torch.set_num_threads(threads)
    return {
        part: {key: statistics.median(run[part][key] for run in runs) for key in runs[0][part]}
        for part in runs[0]
    }


def matmul_rate(size: int = 2048, times: int = 8) -> float:
    """fp32 operations a second of a large matrix product."""
    x = torch.randn(size, size)
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        x @ x
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5, help="repeats of each comparison")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--only", nargs="*", help="names of comparisons; all if not given")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--model", help="an added model: one iteration by part, beside TRL")
    for name, count in (("problems", 8), ("group-size", 8), ("tokens", 64)):
        parser.add_argument(f"--{name}", type=int, default=count, help="with --model")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()  # as a trial's process does; both sides of every comparison have it
    logging.disable_progress_bar()
    times = options.times
    small = {"problems": 16, "group_size": 12, "max_new_tokens": 128}
    usual = {"problems": 32, "group_size": 12, "max_new_tokens": 128}
    logit = {"defenses": [{"name": "logit"}]}
    # Nothing is refused, so that both sides learn from the same.
    judge = {"defenses": [{"name": "judge", "threshold": 99}]}
    nodes = {"problems": 6, "group_size": 64, "max_new_tokens": 128}
    comparisons: dict[str, Callable[[], dict[str, Any]]] = {
        "trl_over_ours_16x12": lambda: against_trl(16, times),
        "trl_over_ours_16x12_of_64_tokens": lambda: against_trl(16, times, endless=True),
        "trl_over_ours_32x12": lambda: against_trl(32, max(2, times // 2)),
        "64_nodes_over_4": lambda: against_itself(
            times, nodes | {"nodes": 64}, nodes | {"nodes": 4}
        ),
        "3_models_over_single_runs": lambda: models_over_single_runs(
            ("tiny-math", "tiny-math-wide", "tiny-math-llama"), times, **small
        ),
        "logit_over_none_honest": lambda: against_itself(2 * times, small | logit, small),
        "logit_over_none_attacked": lambda: against_itself(
            2 * times, small | logit | {"malicious": 1}, small | {"malicious": 1}
        ),
        # The task's own reward: groups of equal rewards are only inspected, not learnt from.
        "logit_over_none_own_reward": lambda: against_itself(
            2 * times,
            small | logit | {"every_group": False},
            small | {"every_group": False},
        ),
        # The same forward passes, and the noise of each token besides.
        "replay_over_logit_honest": lambda: against_itself(
            2 * times, small | {"defenses": [{"name": "replay"}]}, small | logit
        ),
        # Only what earns a reward is judged: half of the completions, and 11 of 12.
        "judge_over_none_half_right": lambda: against_itself(times, usual | judge, usual),
        "judge_over_none_mostly_right": lambda: against_itself(
            times, usual | judge | {"mostly_right": True}, usual | {"mostly_right": True}
        ),
        "rewards_code_share_32x12": lambda: programs_over_iteration(32, 12, 2 * times),
        "throughput_32x12": lambda: throughput(times),
        "over_floor_16x12": lambda: over_floor(16, times),
    }
    if options.model:
        shape = (options.problems, options.group_size, options.tokens)
        comparisons = {options.model: lambda: large.compare(options.model, *shape, times)}
    results: dict[str, Any] = {
        "versions": {**versions(), "trl": version("trl")},
        "threads": options.threads,
        # More than a little says that the seconds below were shared with somebody.
        "load_before": os.getloadavg()[0],
    }
    for name, compare in comparisons.items():
        if options.only and name not in options.only:
            continue
        results[name] = compare()
        print(name, json.dumps(results[name]), flush=True)
    if options.model or options.only:  # the other comparisons stay what they were
        before = json.loads(options.out.read_text()) if options.out.exists() else {}
        results = before | {k: v for k, v in results.items() if k in comparisons}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(f"written to {options.out}")


if __name__ == "__main__":
    main()
