"""Estimates of downloads, memory and time of a trial, from formulas. Downloads nothing.

Memory is what `swarm.needs` counts. Time is FLOPs / (rate x utilisation), with 2 N FLOPs for a
token that is read or written, and 6 N (8 N with gradient checkpointing) for a token that is learnt
from, N parameters. On a GPU the rate and the utilisation are assumptions, the constants below. On
this machine the rate is that of a matrix product, timed now, and the utilisation was measured with
SmolLM2-135M (docs/performance.md). A warm-up counts once for all trials that share it, also if the
cache has it; a solution counts as long as a completion.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarmproof import registry, zoo
from swarmproof.attacks import Attack
from swarmproof.config import TrialConfig
from swarmproof.defenses import Defense
from swarmproof.measure.judge_eval import JudgeEval
from swarmproof.policies.shapes import SHAPES, Shape
from swarmproof.reproduce import inputs
from swarmproof.swarm import needs, warmup
from swarmproof.tasks import Task
from swarmproof.zoo import added
from swarmproof.zoo.addable import ADDABLE

PEAK_FLOPS = 989e12  # H100 SXM, bf16 without sparsity, by its data sheet
GENERATING, LEARNING = 0.05, 0.35  # utilisation, a share of the peak
MEAN_SHARE = 0.3  # mean length of a completion, as a share of the maximum length
# The rest is measured: SmolLM2-135M on one core, 54 of 80 tokens a completion.
MEAN_SHARE_HERE = 0.65
CPU_FP32 = (0.63, 0.82)  # share of the rate of a matrix product: generating, learning
CPU_BF16 = (0.36, 0.56)
# Tiles make the products of a model much faster, and the rest of its work not.
CPU_BF16_TILES = (0.14, 0.17)
JUDGEMENT_TOKENS = 600  # that a judge reads and writes for one completion
ASSUMPTIONS = (
    f"Hours: FLOPs / (peak x utilisation) on one H100 ({PEAK_FLOPS / 1e12:.0f} TFLOP/s in bf16), "
    f"{GENERATING:.0%} while generating, {LEARNING:.0%} while learning;",
    f"completions {MEAN_SHARE:.0%} of the maximum length on average. GB: all at maximum length. "
    "A warm-up counts once. Formulas, not measurements: swarmproof/reproduce/estimate.py.",
)


@dataclass(frozen=True, slots=True)
class Cost:
    """The needs of a trial; None if a model is not in `SHAPES`."""

    memory_gb: float | None
    hours: float | None


def fetches(tables: Iterable[TrialConfig | JudgeEval]) -> list[str]:
    """The hub models and data sets that are needed, each once, in order."""
    found: dict[str, None] = {}
    for table in tables:
        for kind, name in _named(table):
            here = name.startswith((".", "/", "~")) or (kind == "model" and Path(name).is_dir())
            if name.count("/") == 1 and not here:
                found[f"{kind} {name}"] = None
    return list(found)


def to_add(tables: Iterable[TrialConfig | JudgeEval]) -> list[str]:
    """The known models that are needed and were not added to this machine, each once, in order.

    Raises:
        ValueError: the card of an added model is damaged.
    """
    named = [name for table in tables for kind, name in _named(table) if kind == "model"]
    return [name for name in dict.fromkeys(named) if name in ADDABLE and not _is_added(name)]


def _is_added(name: str) -> bool:
    folder = added.path(name)
    return folder is not None and added.card(folder) is not None


def of_trial(config: TrialConfig) -> Cost:
    """One trial alone. Models of the zoo have no estimate; hours are those on a GPU."""
    shape, found = SHAPES.get(config.model.path), needs.of_trial(config)
    judge = _judge(config.defenses)
    if shape is None or found is None or (judge is not None and judge not in SHAPES):
        return Cost(None, None)
    if config.model.device == "cpu":
        return Cost(found.peak / 1e9, None)
    judge_parameters = SHAPES[judge].parameters if judge else 0.0
    generating, learning = _flops(config, shape, judge_parameters, MEAN_SHARE)
    seconds = generating / (PEAK_FLOPS * GENERATING) + learning / (PEAK_FLOPS * LEARNING)
    return Cost(found.peak / 1e9, seconds / 3600)


def cpu_seconds(config: TrialConfig, rate: float, *, tiles: bool = False) -> float | None:
    """Processor seconds of a trial of a known model on one core; None if it is not known.

    All groups are counted as learnt from. The warm-up, the defences and longer completions are not
    counted.

    Args:
        rate: FLOP/s of a large matrix product on one core in the model's type.
        tiles: the processor multiplies bfloat16 numbers in tiles.
    """
    shape = SHAPES.get(config.model.path)
    if shape is None or config.model.device != "cpu":
        return None
    generating, learning = _flops(config, shape, 0.0, MEAN_SHARE_HERE)
    at = _shares(config.model.dtype, tiles=tiles)
    return generating / (rate * at[0]) + learning / (rate * at[1])


def _shares(dtype: str, *, tiles: bool) -> tuple[float, float]:
    if dtype != "bfloat16":
        return CPU_FP32
    return CPU_BF16_TILES if tiles else CPU_BF16


def new_warmups(configs: Iterable[TrialConfig], seen: set[str]) -> Iterator[TrialConfig]:
    """A config with the model of each warm-up whose key is not in `seen`; the key is then in it."""
    for config in configs:
        for path in warmup.paths(config) if config.warmup.steps else ():
            key = inputs.warmup_key(config, path)
            if key not in seen:
                seen.add(key)
                model = config.model.model_copy(update={"path": path})
                yield config.model_copy(update={"model": model})


def warmup_hours(config: TrialConfig) -> float:
    """Of the warm-up of a known model on a GPU; 0 for others."""
    if config.model.device == "cpu":
        return 0.0
    return _warmup_flops(config, MEAN_SHARE) / (PEAK_FLOPS * LEARNING) / 3600


def warmup_seconds(config: TrialConfig, rate: float, *, tiles: bool = False) -> float:
    """Processor seconds of the warm-up of a known model on one core; 0 for others.

    Args:
        rate: FLOP/s of a large matrix product on one core in the type of the warm-up.
        tiles: as for `cpu_seconds`.
    """
    if config.model.device != "cpu":
        return 0.0
    _, share = _shares(config.warmup.dtype, tiles=tiles)
    return _warmup_flops(config, MEAN_SHARE_HERE) / (rate * share)


def _warmup_flops(config: TrialConfig, share: float) -> float:
    shape = SHAPES.get(config.model.path)
    tokens = needs.prompt_tokens(config) + share * config.sampling.max_new_tokens
    examples = config.warmup.steps * config.warmup.batch
    return _learning(config) * shape.parameters * examples * tokens if shape else 0.0


def _learning(config: TrialConfig) -> int:
    """FLOPs for each parameter and each token that is learnt from."""
    return 8 if config.model.gradient_checkpointing else 6


def of_judge(config: JudgeEval, num_variants: int) -> Cost:
    """An evaluation of a judge: its weights, and its tokens for a dozen families."""
    shape = SHAPES.get(_judge([config.judge]) or "")
    if shape is None or not str(config.judge.get("model", {}).get("device")).startswith("cuda"):
        return Cost(None, None)
    asked = 12 * config.completions * config.judgements * num_variants
    flops = 2 * shape.parameters * asked * JUDGEMENT_TOKENS
    return Cost(2 * shape.parameters / 1e9, flops / (PEAK_FLOPS * GENERATING) / 3600)


def _flops(
    config: TrialConfig, shape: Shape, judge_parameters: float, share: float
) -> tuple[float, float]:
    """FLOPs of a trial while it generates or judges, and while it learns.

    Args:
        share: mean length of a completion, as a share of the maximum length.
    """
    mean = share * config.sampling.max_new_tokens
    batch, swarm = config.batch, config.swarm
    completions = batch.problems * batch.group_size
    attack = registry.build(Attack, config.attack)
    # Samples of the adversary, for each problem in which it has slots.
    own = batch.problems if swarm.topology == "horizontal" else batch.problems // swarm.nodes
    draws = own * attack.draws(swarm.topology) if swarm.malicious else 0
    heldout = evaluations(config) * config.evaluation.problems
    written = (config.rounds * (completions + draws) + heldout) * mean
    judged = config.rounds * completions * JUDGEMENT_TOKENS
    generating = 2 * shape.parameters * written + 2 * judge_parameters * judged
    learning = _learning(config) * shape.parameters * completions * mean
    return generating, config.rounds * learning


def evaluations(config: TrialConfig) -> int:
    """How often a trial is evaluated: every so many rounds, from the first on, and in the last."""
    every, last = config.evaluation.every, config.rounds - 1
    return last // every + 1 + (last % every != 0)


def _judge(defenses: Sequence[Mapping[str, Any]]) -> str | None:
    """The path of the first model that a defence loads, other than those of the zoo; or None."""
    paths = (registry.build(Defense, table).model_path for table in defenses)
    return next((path for path in paths if path not in (None, *zoo.names())), None)


def _named(table: TrialConfig | JudgeEval) -> Iterable[tuple[str, str]]:
    sides = [table] if isinstance(table, TrialConfig) else [table.math, table.code]
    for side in sides:
        yield "model", side.model.path
        task = registry.build(Task, side.task)
        if task.downloads:
            yield "data", task.downloads
    judges = table.defenses if isinstance(table, TrialConfig) else (table.judge,)
    if path := _judge(judges):
        yield "model", path
