"""Estimates of downloads, GPU memory and GPU time of a trial, from formulas. Downloads nothing.

Memory, in bytes, of a model with N parameters, L layers, width H, keys and values of width K,
feed-forward width F and a vocabulary of V words, which generates C completions of T tokens and
learns from M tokens at a time:
  weights, fp32 masters, Adam, gradients   N (2 + 4 + 8 + 2 + 4) in bf16, N (4 + 8 + 4) in fp32
  frozen start of a KL term                N x bytes
  keys and values while generating         2 L K C T x bytes
  while learning                           M (3 V x 4 + (4 H + 3 F + L H) x bytes)
Generating and learning alternate, so the larger of the two counts. M is `micro_batch_tokens`, or
one whole group with its prompt if that is more. A judge adds its weights; its keys and values are
not counted. All completions are counted at their maximum length, so this is an upper bound for the
counted parts. Fragmentation of the allocator is not counted.

Time is FLOPs / (peak x utilisation), with 2 N FLOPs for a token that is read or written, and 6 N
(8 N with gradient checkpointing) for a token that is learnt from. The assumptions are the constants
below. None of them is measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swarmproof import registry, zoo
from swarmproof.attacks import Attack
from swarmproof.config import TrialConfig
from swarmproof.defenses import Defense
from swarmproof.measure.judge_eval import JudgeEval
from swarmproof.tasks import Task

PEAK_FLOPS = 989e12  # H100 SXM, bf16 without sparsity, by its data sheet
GENERATING, LEARNING = 0.05, 0.35  # utilisation, a share of the peak
MEAN_SHARE = 0.3  # mean length of a completion, as a share of the maximum length
PROMPT_TOKENS = 200
JUDGEMENT_TOKENS = 600  # that a judge reads and writes for one completion
ASSUMPTIONS = (
    f"Hours: FLOPs / (peak x utilisation) on one H100 ({PEAK_FLOPS / 1e12:.0f} TFLOP/s in bf16), "
    f"{GENERATING:.0%} while generating, {LEARNING:.0%} while learning;",
    f"completions {MEAN_SHARE:.0%} of the maximum length on average. GB: all at maximum length. "
    "Formulas, not measurements: swarmproof/reproduce/estimate.py.",
)


@dataclass(frozen=True, slots=True)
class Shape:
    """The dimensions of a model, from its published config."""

    parameters: float
    layers: int
    width: int
    kv_width: int
    feed_forward: int
    words: int


_SMALL = Shape(1.54e9, 28, 1536, 256, 8960, 151_936)
_MIDDLE = Shape(3.09e9, 36, 2048, 256, 11_008, 151_936)
# Qwen2.5 technical report, arXiv 2412.15115, and the models' config.json.
SHAPES: Mapping[str, Shape] = {
    "Qwen/Qwen2.5-1.5B": _SMALL,
    "Qwen/Qwen2.5-Coder-1.5B": _SMALL,
    "Qwen/Qwen2.5-3B": _MIDDLE,
    "Qwen/Qwen2.5-Coder-3B": _MIDDLE,
    "Qwen/Qwen2.5-7B-Instruct": Shape(7.62e9, 28, 3584, 512, 18_944, 152_064),
    "Qwen/Qwen2.5-14B-Instruct": Shape(14.8e9, 48, 5120, 1024, 13_824, 152_064),
    "Qwen/Qwen2.5-32B-Instruct": Shape(32.8e9, 64, 5120, 1024, 27_648, 152_064),
}


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
            if name.count("/") == 1 and not name.startswith((".", "/", "~")):
                found[f"{kind} {name}"] = None
    return list(found)


def of_trial(config: TrialConfig) -> Cost:
    """One trial alone on a GPU. Models of the zoo need no GPU and have no estimate."""
    shape = SHAPES.get(config.model.path)
    judge = _judge(config.defenses)
    if shape is None or (judge is not None and judge not in SHAPES):
        return Cost(None, None)
    judge_parameters = SHAPES[judge].parameters if judge else 0.0
    memory = _training_bytes(config, shape) + 2 * judge_parameters
    return Cost(memory / 1e9, _seconds(config, shape, judge_parameters) / 3600)


def of_judge(config: JudgeEval, num_variants: int) -> Cost:
    """An evaluation of a judge: its weights, and its tokens for a dozen families."""
    shape = SHAPES.get(_judge([config.judge]) or "")
    if shape is None:
        return Cost(None, None)
    asked = 12 * config.completions * config.judgements * num_variants
    flops = 2 * shape.parameters * asked * JUDGEMENT_TOKENS
    return Cost(2 * shape.parameters / 1e9, flops / (PEAK_FLOPS * GENERATING) / 3600)


def _training_bytes(config: TrialConfig, shape: Shape) -> float:
    size = 2 if config.model.dtype == "bfloat16" else 4
    longest = config.sampling.max_new_tokens
    kept = shape.parameters * (20 if size == 2 else 16)
    if config.grpo.beta:
        kept += shape.parameters * size
    completions = config.batch.problems * config.batch.group_size
    cache = 2 * shape.layers * shape.kv_width * completions * longest * size
    group = PROMPT_TOKENS + config.batch.group_size * longest
    tokens = max(config.grpo.micro_batch_tokens, group)
    checkpoints = shape.layers * shape.width
    if not config.model.gradient_checkpointing:
        checkpoints *= 12
    layer = 4 * shape.width + 3 * shape.feed_forward
    learning = tokens * (12 * shape.words + (layer + checkpoints) * size)
    return kept + max(cache, learning)


def _seconds(config: TrialConfig, shape: Shape, judge_parameters: float) -> float:
    mean = MEAN_SHARE * config.sampling.max_new_tokens
    batch, swarm = config.batch, config.swarm
    completions = batch.problems * batch.group_size
    attack = registry.build(Attack, config.attack)
    # Samples of the adversary, for each problem in which it has slots.
    own = batch.problems if swarm.topology == "horizontal" else batch.problems // swarm.nodes
    draws = own * attack.draws(swarm.topology) if swarm.malicious else 0
    heldout = config.evaluation.problems / config.evaluation.every
    written = (completions + draws + heldout) * mean
    generating = 2 * shape.parameters * written
    generating += 2 * judge_parameters * completions * JUDGEMENT_TOKENS
    factor = 8 if config.model.gradient_checkpointing else 6
    learning = factor * shape.parameters * completions * mean
    a_round = generating / (PEAK_FLOPS * GENERATING) + learning / (PEAK_FLOPS * LEARNING)
    return config.rounds * a_round


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
