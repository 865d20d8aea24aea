"""What a trial needs in memory and on disk, before any model is loaded. Imports no torch.

The formulas count what the code holds at its peak, in bytes, for a model with N parameters, L
layers, width H, keys and values of width K, feed-forward width F, h query heads and V words, in a
type of s bytes:
  weights s N; fp32 masters of bf16 weights 4 N; Adam 8 N; a frozen start for a KL term s N
  gradients s N, in bf16 then 4 N for the masters, when no pass is held any more
  draws: 2 L K s for each token that has room and each token of a prompt, and 16 V for each row;
  of a group, one prompt while all its rows grow, and one for each row that is left afterwards
  a pass: for each token what every layer keeps for the backward pass (`_kept`), or, with gradient
  checkpointing, a layer's input and one layer at a time; for each predicted token 2 s V, its
  logits and their gradient
Completions are counted at their maximum length, and passes at `micro_batch_tokens`, or one whole
group if that is more. Draws and passes alternate, so the larger of them counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

from swarmproof import registry, zoo
from swarmproof.config import TrialConfig
from swarmproof.defenses import Defense
from swarmproof.policies import DrawEngine
from swarmproof.policies.shapes import COMPACT_BELOW, LONG_ROW, Shape, shape_of
from swarmproof.tasks import Task
from swarmproof.zoo.locate import config_of

GB = 1e9
PROCESS = 0.45 * GB  # Python, torch, transformers and the data of a generated task
# Freed memory that does not fit what is asked for next, a share of draws and passes; there is none
# in the first round. Set by the peak of one run of SmolLM2-135M (docs/performance.md).
LOST = 0.7
PROMPT_TOKENS, LONG_PROMPT_TOKENS = 64, 200  # of generated tasks, and of data sets
_LARGE_GROUP = 8  # rows
AT_ONCE = 98_304  # tokens that are drawn at once where memory does not forbid it


@dataclass(frozen=True, slots=True)
class Needs:
    """Bytes of one trial, by what they are for."""

    process: float
    weights: float
    masters: float
    optimiser: float
    reference: float
    judges: float
    generator: float  # of another engine than ours, beside the model
    gradients: float
    draws: float  # keys, values and logits of the completions that are drawn at once
    activations: float  # of one pass
    logits: float  # of one pass
    several_rounds: bool = True

    @property
    def kept(self) -> float:
        """What is there from the first round to the last."""
        parts = (self.process, self.weights, self.masters, self.optimiser, self.reference)
        return sum(parts) + self.judges + self.generator

    @property
    def learning(self) -> float:
        """What an update adds to that."""
        return max(self.gradients + self.activations + self.logits, self.gradients + self.masters)

    @property
    def peak(self) -> float:
        # Adam's moments are made by the first step, after the passes of the first round.
        if not self.several_rounds:
            passes = max(self.draws, self.gradients + self.activations + self.logits)
            return self.kept + max(passes - self.optimiser, self.gradients + self.masters)
        return self.kept + max(self.draws, self.learning)

    def lines(self) -> Iterator[str]:
        """Each part, and the peak."""
        for field in fields(self):
            value = getattr(self, field.name)
            if value and field.name != "several_rounds":
                yield f"  {field.name:<12}{value / GB:7.2f} GB"
        yield f"  {'peak':<12}{self.peak / GB:7.2f} GB (draws and passes alternate)"


def of_trial(config: TrialConfig) -> Needs | None:
    """The needs of one trial; None if the shape of a model is not known."""
    shapes = [shape for path in config.model_paths if (shape := shape_of(path)) is not None]
    if len(shapes) < len(config.model_paths):
        return None
    size = _size(config.model.dtype)
    total = sum(shape.parameters for shape in shapes)
    largest = max(shapes, key=lambda shape: shape.parameters)  # cohorts take turns
    activations, logits = _pass(config, largest)
    # Another engine draws in what it holds all the time.
    engine = registry.build(DrawEngine, config.generator)
    held = sum(engine.held_bytes(shape.parameters, size) for shape in shapes)
    needs = Needs(
        process=PROCESS,
        weights=total * size,
        masters=total * 4 if size == 2 else 0.0,
        optimiser=total * 8,
        reference=total * size if config.grpo.beta else 0.0,
        judges=_judges(config),
        generator=held,
        gradients=largest.parameters * size,
        draws=0.0 if held else _draws(config, largest) * _lost(config),
        activations=activations * _lost(config),
        logits=logits,
        several_rounds=config.rounds > 1,
    )
    limit = config.model.memory_gb
    if not limit:
        return needs
    return replace(needs, draws=min(needs.draws, max(0.0, limit * GB - needs.kept)))


def checkpoint_bytes(config: TrialConfig) -> float | None:
    """Of a checkpoint on disk: masters and Adam's moments in 32 bits; None if it is not known."""
    shapes = [shape_of(path) for path in config.model_paths]
    known = [shape.parameters for shape in shapes if shape is not None]
    return 12 * sum(known) if len(known) == len(shapes) else None


def token_bytes(config: TrialConfig, shape: Shape, rows: int = 1) -> float:
    """Of a drawn token: keys and values, and its share of the logits of its row and of its prompt.

    Args:
        rows: that share a prompt; one in an evaluation.
    """
    length = config.sampling.max_new_tokens
    cache = 2 * shape.layers * shape.kv_width * _size(config.model.dtype)
    return cache * (1 + prompt_tokens(config) / (rows * length)) + 16 * shape.words / length


def room(config: TrialConfig, shape: Shape) -> int:
    """Tokens that may be drawn at once within `model.memory_gb`, at least one completion.

    Raises:
        ValueError: the memory is too small for the trial; names what it needs.
    """
    limit, needs = config.model.memory_gb, of_trial(config)
    if not limit or needs is None:  # `require_limit` refuses a limit for what is not known
        return AT_ONCE
    each = token_bytes(config, shape) * _lost(config)
    one = config.sampling.max_new_tokens * each
    least = needs.kept + max(one, needs.learning)
    if least > limit * GB:
        raise ValueError(
            f"model.memory_gb is {limit:g}, and this trial needs about {least / GB:.1f} GB even if "
            "it draws one completion at a time; raise it, or lower grpo.micro_batch_tokens, "
            "batch.group_size or sampling.max_new_tokens, or set model.gradient_checkpointing"
        )
    return min(AT_ONCE, int((limit * GB - needs.kept) / each))


def require_limit(config: TrialConfig) -> None:
    """Raise ValueError if `model.memory_gb` is too small for the trial, or cannot be kept.

    Nothing is known yet of a model of the hub that was never downloaded.
    """
    if not config.model.memory_gb:
        return
    shapes = []
    for path in config.model_paths:
        shape = shape_of(path)
        if shape is None and config_of(path) is None:
            return
        if shape is None:
            raise ValueError(
                f"model.memory_gb is {config.model.memory_gb:g}, and what the model {path!r} needs "
                "is not known: its config.json is of another kind, such as that of a mixture of "
                "experts; leave model.memory_gb out"
            )
        shapes.append(shape)
    room(config, max(shapes, key=lambda shape: shape.parameters))


def _lost(config: TrialConfig) -> float:
    return 1 + LOST if config.rounds > 1 else 1.0


def _size(dtype: str) -> int:
    return 2 if dtype == "bfloat16" else 4


def _draws(config: TrialConfig, shape: Shape) -> float:
    """Of the draws of a round, or of an evaluation if they are more."""
    batch, length = config.batch, config.sampling.max_new_tokens
    return max(
        min(prompts * rows * length, AT_ONCE)
        * max(token_bytes(config, shape, rows), _left(rows) * token_bytes(config, shape))
        for prompts, rows in (
            (batch.problems, batch.group_size),
            (config.evaluation.problems, 1),
        )
    )


def _left(rows: int) -> float:
    """The share of the rows that is left when groups of so many are cut into single rows.

    Small groups are cut when the batch is compacted for the first time, others the second time
    (tried out with random lengths).
    """
    return COMPACT_BELOW if rows < _LARGE_GROUP else COMPACT_BELOW**2


def prompt_tokens(config: TrialConfig) -> int:
    """Of a prompt of the trial's task, about."""
    task = registry.build(Task, config.task)
    prompt = LONG_PROMPT_TOKENS if task.downloads else PROMPT_TOKENS
    return prompt * (1 + 2 * config.warmup.shots)  # a shot has a solution as well


def _pass(config: TrialConfig, shape: Shape) -> tuple[float, float]:
    """Activations and logits of the largest pass."""
    batch, length = config.batch, config.sampling.max_new_tokens
    prompt = prompt_tokens(config)
    group = prompt + batch.group_size * length
    tokens = min(max(config.grpo.micro_batch_tokens, group), batch.problems * group)
    size = _size(config.model.dtype)
    layer = _kept(shape, size, length, prompt)
    a_token = shape.layers * layer
    if config.model.gradient_checkpointing:
        a_token = shape.layers * shape.width * size + layer
    a_token += (16 if size == 4 else 10) * shape.width  # embeddings, last norm, input of the head
    return tokens * a_token, tokens * (1 - prompt / group) * 2 * size * shape.words


def _kept(shape: Shape, size: int, length: int, prompt: int) -> float:
    """Bytes that a layer keeps for the backward pass of one token."""
    wide = (32 if size == 4 else 20) * shape.width  # both norms work in fp32
    own = 2 * shape.kv_width + 4 * shape.feed_forward
    if length > LONG_ROW:  # keys and values once more, behind those of the prompt
        copies = shape.width + 2 * shape.kv_width * (1 + prompt / length)
        return wide + size * (own + copies)
    scores = (4 if size == 4 else 6) * shape.heads * (prompt + length)  # softmax in fp32
    return wide + size * own + scores


def _judges(config: TrialConfig) -> float:
    """Weights of the models that defences load, other than those of the zoo."""
    total = 0.0
    for table in config.defenses:
        path = registry.build(Defense, table).model_path
        shape = None if path is None or path in zoo.names() else shape_of(path)
        model = table.get("model")
        half = isinstance(model, dict) and model.get("dtype") == "bfloat16"
        total += shape.parameters * (2 if half else 4) if shape else 0.0
    return total
