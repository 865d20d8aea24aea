"""One iteration with an added model, by part, each side in a process of its own.

    python -m benchmarks --model smollm2-135m --problems 8 --group-size 8 --tokens 64

All completions have the same number of tokens. Processor seconds and peak memory of each process.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from importlib.util import find_spec
from typing import Any

import torch

from benchmarks import floor, ours
from swarmproof.records.versions import versions
from swarmproof.swarm import needs
from swarmproof.swarm.allocator import keep_freed_memory
from swarmproof.swarm.round import Swarm, play_round
from swarmproof.zoo.locate import locate

_OWN, _GUARDED = ("ours-float32", "ours-bfloat16"), ("guarded-float32", "guarded-bfloat16")
# Half of the default. It takes a gigabyte less and the same time (docs/performance.md).
_MICRO_BATCH_TOKENS = 1024
_THREADS = 1  # as in a trial
_TOLERANCES = {"float32": 1e-3, "bfloat16": 0.5}


def compare(model: str, problems: int, group_size: int, tokens: int, times: int) -> dict[str, Any]:
    """Ours in fp32 and bf16, without and with `logit` and `replay`, beside TRL if it is installed.

    Also the ratios of the medians.
    """
    shape = ["--problems", str(problems), "--group-size", str(group_size), "--tokens", str(tokens)]
    sides = [*_OWN, *_GUARDED, *(["trl-float32"] if find_spec("trl") else [])]
    found: dict[str, Any] = {
        "model": model,
        "shape": [problems, group_size, tokens],
        # Those of the file belong to its other comparisons.
        "versions": versions(),
        "threads": _THREADS,
        "micro_batch_tokens": _MICRO_BATCH_TOKENS,
    }
    for side in sides:
        command = [sys.executable, "-m", "benchmarks.large", side, "--model", model, *shape]
        done = subprocess.run(
            [*command, "--times", str(times)], capture_output=True, text=True, check=True
        )
        found[side] = json.loads(done.stdout.splitlines()[-1])
        print(side, json.dumps(found[side]), flush=True)
    if "trl-float32" in found:
        trl = found["trl-float32"]["iteration"]
        for side in _OWN:
            found[f"trl_over_{side}"] = trl / found[side]["iteration"]
    return found


def _swarm(options: argparse.Namespace, dtype: str, *defenses: str) -> Swarm:
    tolerance = _TOLERANCES[dtype]
    return ours.swarm(
        problems=options.problems,
        group_size=options.group_size,
        max_new_tokens=options.tokens,
        endless=True,
        models=(options.model,),
        dtype=dtype,
        micro_batch_tokens=_MICRO_BATCH_TOKENS,
        defenses=[{"name": name, "tolerance": tolerance} for name in defenses],
    )


def guarded(options: argparse.Namespace, dtype: str) -> dict[str, Any]:
    """Median seconds of the checks of `logit` and `replay`, and their share of all the rest.

    Their log-probabilities count as checks, although the update takes them over.
    """
    swarm = _swarm(options, dtype, "logit", "replay")
    spent = [
        outcome.watch.cpu for i in range(options.times) for outcome in play_round(swarm, i + 1)
    ]
    checked = [cpu["inspect"] for cpu in spent]
    rest = [sum(cpu.values()) - cpu["inspect"] for cpu in spent]
    shares = [a / b for a, b in zip(checked, rest, strict=True)]
    return {
        "iteration": statistics.median(sum(cpu.values()) for cpu in spent),
        "inspect": statistics.median(checked),
        "inspect_share": statistics.median(shares),
    }


def own(options: argparse.Namespace, dtype: str) -> dict[str, Any]:
    """Median seconds of an iteration, and its parts over their floors."""
    swarm = _swarm(options, dtype)
    spent, parts = [], []
    for i in range(options.times):
        began = time.process_time()
        parts.append(floor.parts(swarm, i + 1))
        # The floors are timed after the round, and do not belong to it.
        spent.append(sum(part["seconds"] for part in parts[-1].values()))
        parts[-1]["floors"] = {"seconds": time.process_time() - began - spent[-1]}
    planned = needs.of_trial(swarm.config)
    return {
        "iteration": statistics.median(spent),
        **{
            part: {key: statistics.median(p[part][key] for p in parts) for key in parts[0][part]}
            for part in ("produce", "learn")
        },
        "planned_gb": None if planned is None else planned.peak / needs.GB,
    }


def theirs(options: argparse.Namespace) -> dict[str, Any]:
    """The same of TRL's trainer."""
    from benchmarks import peers

    steps = peers.trl_steps(
        ours.ParityWords(),
        options.problems,
        options.group_size,
        options.tokens,
        steps=options.times,
        endless=True,
        source=locate(options.model),
        clock=time.process_time,
    )
    return {"iteration": statistics.median(steps)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=[*_OWN, *_GUARDED, "trl-float32"])
    parser.add_argument("--model", required=True)
    for name in ("problems", "group-size", "tokens", "times"):
        parser.add_argument(f"--{name}", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(_THREADS)
    keep_freed_memory()
    who, _, dtype = options.side.partition("-")
    if who == "trl":
        found = theirs(options)
    else:
        found = {"ours": own, "guarded": guarded}[who](options, dtype)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / needs.GB
    print(json.dumps(found | {"peak_gb": peak, "times": options.times}))


if __name__ == "__main__":
    main()
