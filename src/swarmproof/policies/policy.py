"""A policy: a causal LM with its tokenizer, in three parts that sample, score and learn.

Zoo models, folders, hub ids and loaded models use the same code. A policy that only reads has no
learner: no optimiser, no second copy of the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers.modeling_layers import GradientCheckpointingLayer

from swarmproof.config import GrpoConfig, ModelConfig, SamplingConfig
from swarmproof.policies import loader, selftest
from swarmproof.policies.codec import Codec
from swarmproof.policies.drawing import DrawEngine, Packed
from swarmproof.policies.generator import Generator
from swarmproof.policies.learner import Learner
from swarmproof.policies.scorer import Scorer
from swarmproof.zoo import unfit


@dataclass(frozen=True, slots=True)
class Policy:
    """Samples and scores with one model's current weights."""

    codec: Codec
    sampling: SamplingConfig
    generator: Generator
    scorer: Scorer

    @property
    def model(self) -> Any:
        return self.scorer.model


@dataclass(frozen=True, slots=True)
class TrainedPolicy(Policy):
    """A policy that also learns."""

    learner: Learner

    def reader(self) -> Policy:
        """The same model, for a caller that may read it but not train it."""
        return Policy(self.codec, self.sampling, self.generator, self.scorer)


def load(
    model: str | ModelConfig,
    sampling: SamplingConfig | None = None,
    *,
    table: str = "model",
    self_test: bool = True,
    engine: DrawEngine | None = None,
) -> Policy:
    """Load a read-only policy.

    Args:
        model: a zoo name, a folder or a hub id; or the settings with which it is loaded.
        sampling: the generation strategy, also used for verification.
        table: name of the config table that requests it, for error messages.
        self_test: compute a few rows, and refuse a model whose packed attention differs.
        engine: what draws; None: our own generator.

    Raises:
        ValueError: the model cannot be found, reached or used; names the remedy.
    """
    config = ModelConfig(path=model) if isinstance(model, str) else model
    tokenizer, loaded = loader.load(
        config.path, config.dtype, config.device, table, self_test=self_test
    )
    codec = loader.codec_of(loaded, tokenizer)
    return _assemble(loaded, codec, sampling or SamplingConfig(), engine=engine or Packed())


def adopt(
    model: Any,
    tokenizer: Any,
    sampling: SamplingConfig | None = None,
    *,
    micro_batch_tokens: int = 2048,
    self_test: bool = True,
) -> Policy:
    """Make a read-only policy from a model that the caller has loaded, and may train.

    Args:
        model: a causal LM of `transformers`, which is not changed.
        tokenizer: its tokenizer.
        sampling: the generation strategy, also used for verification.
        micro_batch_tokens: packed tokens per pass; does not affect the result.
        self_test: compute a few rows, and refuse a model whose packed attention differs.

    Raises:
        ValueError: there is no tokenizer, or packed attention cannot compute the model.
    """
    if tokenizer is None:
        raise ValueError("a loaded model comes without a tokenizer; give its tokenizer too")
    if unsupported := loader.unsupported(model):
        raise ValueError(
            f"this model uses {unsupported}, which packed attention does not compute; use a "
            "model with plain causal attention in all layers (Qwen2, Qwen3, Llama, …)"
        )
    loader.require_finite(model)
    codec = loader.codec_of(model, tokenizer)
    if self_test:
        with loader.packed(model, codec):
            selftest.require(model, codec)
    return _assemble(model, codec, sampling or SamplingConfig(), micro_batch_tokens)


def _assemble(
    model: Any,
    codec: Codec,
    sampling: SamplingConfig,
    micro_batch_tokens: int = 2048,
    engine: DrawEngine = Packed(),  # noqa: B008 - it is a value
) -> Policy:
    return Policy(
        codec,
        sampling,
        engine.start(model, codec, sampling, None),
        Scorer(model, codec, sampling, micro_batch_tokens),
    )


def train(
    model: ModelConfig,
    grpo: GrpoConfig,
    sampling: SamplingConfig,
    room: int | None = None,
    engine: DrawEngine | None = None,
) -> TrainedPolicy:
    """Load a policy that samples, scores and learns.

    Args:
        model: the model, and how it is loaded.
        grpo: the settings of the update.
        sampling: the generation strategy, also used for verification.
        room: tokens that are drawn at once; None: as many as are usual.
        engine: what draws; None: our own generator.

    Raises:
        ValueError: the model cannot be found, reached or used; names the remedy.
    """
    read = load(model, sampling)
    if model.gradient_checkpointing:
        _checkpoint_gradients(read.model)
        selftest.require(read.model, read.codec, f"model.path = {model.path!r}")
    scorer = Scorer(read.model, read.codec, sampling, grpo.micro_batch_tokens)
    generator = (engine or Packed()).start(read.model, read.codec, sampling, room)
    return TrainedPolicy(read.codec, sampling, generator, scorer, Learner(scorer, grpo))


def _checkpoint_gradients(model: Any) -> None:
    with unfit.quiet():  # later versions deprecate this name, and earlier ones have no other
        model.gradient_checkpointing_enable({"use_reentrant": False})
    # transformers checkpoints activations in training mode only. In that mode parts of a layer use
    # dropout, but verification must not be random: so only the layers themselves are set to it.
    layers = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
    if not layers:
        raise ValueError(
            "this model has no layers to checkpoint; unset model.gradient_checkpointing"
        )
    for layer in layers:
        layer.training = True
