"""How long trials take on this machine: a few real rounds of each kind of trial, timed.

Two trials are of one kind if they do the same work in a round. Writes and downloads nothing. What a
model learns later may make its completions shorter or longer, and trials side by side slow one
another down; so the result is an estimate.
"""

from __future__ import annotations

import heapq
import json
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from statistics import fmean, median

from swarmproof import registry
from swarmproof.config import TrialConfig
from swarmproof.defenses import Defense, Judge
from swarmproof.engines import capacity
from swarmproof.policies.shapes import SHAPES
from swarmproof.reproduce import estimate

BUDGET = 60.0  # seconds of timing, after which a trial of a new kind is taken for a usual one
_ROUNDS = 2  # the first is evaluated and pays for what is done once; the second is the pace


@dataclass(frozen=True, slots=True)
class Pace:
    """Wall seconds of the parts of a trial."""

    load: float  # models and data
    evaluate: float  # on held-out problems, once
    rest: float  # of a round, without that

    def seconds(self, config: TrialConfig) -> float:
        """Of the whole trial."""
        evaluated = estimate.evaluations(config) * self.evaluate
        return self.load + evaluated + config.rounds * self.rest


@dataclass(slots=True)
class Timing:
    """The paces of kinds, each measured when it is first asked for.

    `measured` and `guessed` count the kinds. `computed` counts the trials that are estimated by
    their FLOPs, because two rounds of a large model would take too long.
    """

    on_kind: Callable[[TrialConfig], None] = lambda _: None
    budget: float = BUDGET
    computed: int = 0
    _rates: dict[str, float] = field(default_factory=dict)
    _paces: dict[str, Pace] = field(default_factory=dict)
    _guessed: set[str] = field(default_factory=set)
    _spent: float = 0.0

    @property
    def measured(self) -> int:
        return len(self._paces)

    @property
    def guessed(self) -> int:
        return len(self._guessed)

    def seconds(self, config: TrialConfig) -> float | None:
        """An estimate for one trial alone; None if it would need a download or a server."""
        if not _is_here(config):
            return None
        if config.model.path in SHAPES:
            self.computed += 1
            rate = self._rate(config.model.dtype)
            return estimate.cpu_seconds(config, rate, tiles=capacity.has_tiles())
        kind = _kind(config)
        if kind not in self._paces:
            if self._paces and self._spent >= self.budget:
                self._guessed.add(kind)
                return self._usual().seconds(config)
            self.on_kind(config)
            began = time.perf_counter()
            self._paces[kind] = measure(config)
            self._spent += time.perf_counter() - began
        return self._paces[kind].seconds(config)

    def warmup_seconds(self, config: TrialConfig) -> float:
        """Of the warm-up of a known model here; that of another is in the pace of its trials."""
        if config.model.path not in SHAPES or not _is_here(config):
            return 0.0
        rate = self._rate(config.warmup.dtype)
        return estimate.warmup_seconds(config, rate, tiles=capacity.has_tiles())

    def _rate(self, dtype: str) -> float:
        if dtype not in self._rates:
            self._rates[dtype] = matmul_rate(dtype)
        return self._rates[dtype]

    def _usual(self) -> Pace:
        paces = self._paces.values()
        return Pace(*(fmean(getattr(pace, part) for pace in paces) for part in _PARTS))


_PARTS = ("load", "evaluate", "rest")


def measure(config: TrialConfig) -> Pace:
    """Play the first rounds of a trial, without records.

    Raises:
        ValueError: a model cannot be loaded.
    """
    import torch

    from swarmproof.engines.here import torch_restored
    from swarmproof.swarm.assembly import assemble
    from swarmproof.swarm.round import play_round

    with torch_restored():
        torch.set_num_threads(1)  # as in a trial
        began = time.perf_counter()
        swarm = assemble(config, 0)
        load = time.perf_counter() - began
        with closing(swarm.channel):
            for round in range(_ROUNDS):
                began = time.perf_counter()
                outcomes = play_round(swarm, round)
                whole = time.perf_counter() - began
                spent = sum(outcome.watch.seconds.get("evaluate", 0.0) for outcome in outcomes)
                if round == 0:
                    evaluate = spent
    return Pace(load, evaluate, whole - spent)


def matmul_rate(dtype: str, times: int = 10) -> float:
    """FLOP/s of a matrix product on one core: the median of a few, in processor time.

    Of the shape of a feed-forward layer of SmolLM2-135M in a pass of 2,048 tokens.
    """
    import torch

    from swarmproof.engines.here import torch_restored

    with torch_restored():
        torch.set_num_threads(1)
        x, weight = (
            torch.randn(*shape).to(getattr(torch, dtype)) for shape in ((2048, 576), (576, 1536))
        )
        spent = []
        for _ in range(times):
            began = time.process_time()
            x @ weight
            spent.append(time.process_time() - began)
    return 2 * 2048 * 576 * 1536 / median(spent)


def side_by_side(seconds: Iterable[float], jobs: int) -> float:
    """How long trials take together, `jobs` at a time, each started as soon as there is room."""
    slots = [0.0] * max(1, jobs)
    for each in seconds:
        heapq.heapreplace(slots, slots[0] + each)
    return max(slots)


def _kind(config: TrialConfig) -> str:
    """What a round's work depends on."""
    table = config.model_dump(mode="json")
    for key in ("rounds", "checkpoint_every", "evaluation"):
        del table[key]
    table["grpo"] = {"kl": config.grpo.beta > 0}
    # The words of an attack cost no time.
    table["attack"] = table["attack"]["name"]
    table["evaluated"] = config.evaluation.problems
    return json.dumps(table, sort_keys=True)


def _is_here(config: TrialConfig) -> bool:
    """Whether a trial needs this machine only, and nothing that must be fetched."""
    defenses = [registry.build(Defense, table) for table in config.defenses]
    asks = any(isinstance(d, Judge) and d.model_path is None for d in defenses)
    return not asks and config.exchange["name"] == "memory" and not estimate.fetches([config])
