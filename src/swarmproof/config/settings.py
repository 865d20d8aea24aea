"""The tables of an arm's settings, with their bounds, defaults and descriptions.

How they are read from a TOML file is in `loading.py`; the page docs/settings.md is made from the
descriptions. Nothing here imports torch.
"""

from __future__ import annotations

import operator
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

OnReject = Literal["monitor", "mask", "drop", "zero_reward", "refill", "void_node"]
Topology = Literal["horizontal", "vertical"]

MAX_NODES = 4096
MAX_ROUNDS = 1_000_000
MAX_COUNT = 2**31 - 1


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelConfig(Table):
    """The model that every node trains, and how models are loaded."""

    path: Annotated[
        str,
        Field(
            max_length=4096,
            description="a model of the zoo, a folder with a Hugging Face model, or a hub id",
        ),
    ] = "tiny-math"
    dtype: Annotated[
        Literal["float32", "bfloat16"], Field(description="the type that the model computes in")
    ] = "float32"
    device: Annotated[
        str,
        Field(pattern=r"^(cpu|cuda(:\d{1,4})?)$", description="`cpu`, `cuda`, or `cuda:1`"),
    ] = "cpu"
    gradient_checkpointing: Annotated[
        bool, Field(description="recompute activations: less memory, more time")
    ] = False
    memory_gb: Annotated[
        float,
        # Left out where it is not set: configs without it must stay what they are.
        Field(
            ge=0,
            le=1e6,
            exclude_if=operator.not_,
            description="memory of a trial in GB: completions are drawn in parts that fit into it; "
            "0: no limit",
        ),
    ] = 0.0


class WarmupConfig(Table):
    """How a model learns the format before round 0: a short supervised phase, or solved examples.

    All arms and seeds start from the same warmed-up model, which is kept in the cache folder.
    """

    shots: Annotated[
        int,
        # Left out where there are none: configs without them must stay what they are.
        Field(
            ge=0,
            le=64,
            exclude_if=operator.not_,
            description="so many solved examples before every prompt, always the same; with or "
            "without `steps`",
        ),
    ] = 0

    steps: Annotated[
        int, Field(ge=0, le=MAX_ROUNDS, description="optimiser steps; 0: no warm-up")
    ] = 0
    batch: Annotated[int, Field(ge=1, le=65_536, description="solutions in a step")] = 8
    lr: Annotated[
        float, Field(gt=0, le=10, description="learning rate of Adam; falls linearly to 0")
    ] = 2e-4
    problems: Annotated[
        int,
        Field(
            ge=1,
            le=MAX_COUNT,
            description="so many of the last training problems; no round of the trial uses them",
        ),
    ] = 320
    seed: Annotated[
        int, Field(ge=0, lt=2**63, description="of the order of the problems, and of the shots")
    ] = 0
    dtype: Annotated[
        Literal["float32", "bfloat16"],
        Field(
            description="the type that it computes in, whatever that of the arm; the weights that "
            "it leaves have 32 bits"
        ),
    ] = "float32"

    @property
    def in_use(self) -> bool:
        return self.steps > 0 or self.shots > 0

    @model_validator(mode="after")
    def _shots_are_of_its_problems(self) -> Self:
        if self.shots + (self.steps > 0) > self.problems:
            raise ValueError(
                f"warmup.shots = {self.shots} are taken from warmup.problems = {self.problems}, "
                "and its steps need others; raise warmup.problems"
            )
        return self


class SwarmConfig(Table):
    """Who takes part, and how the work is divided."""

    topology: Annotated[
        Topology,
        Field(
            description="horizontal: the nodes share every group; vertical: each node has groups "
            "of its own"
        ),
    ] = "horizontal"
    nodes: Annotated[
        int, Field(ge=1, le=MAX_NODES, description="all nodes, malicious ones included")
    ] = 4
    malicious: Annotated[
        int, Field(ge=0, description="how many of the nodes are malicious; they act as one")
    ] = 1
    models: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=4096)], ...],
        # Left out where it is empty: configs without it must stay what they are.
        Field(
            exclude_if=operator.not_,
            max_length=MAX_NODES,
            description="several models in place of `model.path`, given to the honest nodes in "
            "turn; malicious nodes have the first; empty: one model",
        ),
    ] = ()
    problems: Annotated[
        Literal["picked", "dealt"],
        Field(
            exclude_if="picked".__eq__,
            description="vertical swarms: `picked`: a node may choose its problems; `dealt`: they "
            "follow from the seed, and every receiver refuses a choice",
        ),
    ] = "picked"


class BatchConfig(Table):
    """The work of a round, over the whole swarm."""

    problems: Annotated[int, Field(ge=1, le=65_536, description="problems per round")] = 32
    group_size: Annotated[
        int, Field(ge=2, le=65_536, description="completions per problem, of all nodes together")
    ] = 12


class SamplingConfig(Table):
    """The generation strategy. It is public: a receiver verifies against it."""

    temperature: Annotated[
        float, Field(ge=1e-4, le=10, description="divides the logits before the softmax")
    ] = 1.0
    top_k: Annotated[
        int, Field(ge=0, le=MAX_COUNT, description="draw from the k likeliest tokens; 0: from all")
    ] = 50
    top_p: Annotated[
        float,
        Field(gt=0, le=1, description="draw from the likeliest tokens with this total probability"),
    ] = 1.0
    max_new_tokens: Annotated[
        int, Field(ge=1, le=131_072, description="a completion is cut after so many tokens")
    ] = 128


class GrpoConfig(Table):
    """The learner. Defaults are the paper's, except the learning rate."""

    lr: Annotated[float, Field(gt=0, le=10, description="learning rate of Adam")] = 2e-5
    beta1: Annotated[float, Field(ge=0, lt=1, description="decay of Adam's mean of gradients")] = (
        0.9
    )
    beta2: Annotated[
        float, Field(ge=0, lt=1, description="decay of Adam's mean of squared gradients")
    ] = 0.999
    eps: Annotated[
        float, Field(gt=0, le=1, description="added to the denominator of Adam's step")
    ] = 1e-8
    warmup: Annotated[
        int,
        Field(ge=0, le=MAX_ROUNDS, description="rounds over which the learning rate rises"),
    ] = 0
    max_grad_norm: Annotated[
        float, Field(gt=0, description="a longer gradient is scaled down to this norm")
    ] = 1.0
    beta: Annotated[
        float,
        Field(ge=0, description="weight of the KL term (k3 estimator, against the start model)"),
    ] = 0.0
    scale_rewards: Annotated[
        bool, Field(description="divide advantages by the group's standard deviation")
    ] = True
    on_reject: Annotated[
        OnReject,
        Field(description="what a rejection does to its group: see docs/metrics.md"),
    ] = "drop"
    foreign: Annotated[
        Literal["all", "positive"],
        Field(
            description="which completions of another model are learnt from: all, or those better "
            "than their group's mean; several models that learn from all may diverge (ADR 0012)"
        ),
    ] = "all"
    updates: Annotated[
        int,
        Field(
            ge=1, le=1024, description="optimiser steps per round; the ratio is clipped if over 1"
        ),
    ] = 1
    clip: Annotated[float, Field(gt=0, lt=1, description="range of the clipped ratio")] = 0.2
    micro_batch_tokens: Annotated[
        int,
        Field(
            ge=1,
            le=MAX_COUNT,
            description="tokens in one forward and backward pass; changes memory and speed, and "
            "what `replay` with a tolerance above 0.01 counts together",
        ),
    ] = 2048


class GuardConfig(Table):
    """A tested combination of defences, by name."""

    preset: Annotated[
        str,
        Field(description="in place of `defenses`: `swarmproof explain` lists and explains them"),
    ] = ""


class EvaluationConfig(Table):
    """Held-out problems, answered by one sampled completion each."""

    every: Annotated[
        int,
        Field(
            ge=1,
            le=MAX_ROUNDS,
            description="rounds between evaluations; the last is evaluated too",
        ),
    ] = 10
    problems: Annotated[
        int, Field(ge=1, le=MAX_COUNT, description="how many, if the task has so many")
    ] = 128
