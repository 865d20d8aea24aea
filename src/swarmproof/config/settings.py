"""The settings of an experiment and of its arms, with their bounds, defaults and descriptions.

How they are read from a TOML file is in `loading.py`; the page docs/settings.md is made from the
descriptions. Nothing here imports torch.
"""

from __future__ import annotations

import operator
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from swarmproof import registry
from swarmproof.config import cohorts

Topology = Literal["horizontal", "vertical"]
OnReject = Literal["monitor", "mask", "drop", "zero_reward"]

_MAX_NODES = 4096
MAX_SEEDS = 1000
_MAX_ROUNDS = 1_000_000
_MAX_COUNT = 2**31 - 1


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def describes(kind: registry.Kind) -> AfterValidator:
    """A validator: the table must describe a plug-in of this kind. The table is not changed."""

    def check(table: dict[str, Any]) -> dict[str, Any]:
        registry.check(kind, table)
        return table

    return AfterValidator(check)


class ModelConfig(_Table):
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


class SwarmConfig(_Table):
    """Who takes part, and how the work is divided."""

    topology: Annotated[
        Topology,
        Field(
            description="horizontal: the nodes share every group; vertical: each node has groups "
            "of its own"
        ),
    ] = "horizontal"
    nodes: Annotated[
        int, Field(ge=1, le=_MAX_NODES, description="all nodes, malicious ones included")
    ] = 4
    malicious: Annotated[
        int, Field(ge=0, description="how many of the nodes are malicious; they act as one")
    ] = 1
    models: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=4096)], ...],
        # Left out where it is empty: configs without it must stay what they are.
        Field(
            exclude_if=operator.not_,
            max_length=_MAX_NODES,
            description="several models in place of `model.path`, given to the honest nodes in "
            "turn; malicious nodes have the first; empty: one model",
        ),
    ] = ()


class BatchConfig(_Table):
    """The work of a round, over the whole swarm."""

    problems: Annotated[int, Field(ge=1, le=65_536, description="problems per round")] = 32
    group_size: Annotated[
        int, Field(ge=2, le=65_536, description="completions per problem, of all nodes together")
    ] = 12


class SamplingConfig(_Table):
    """The generation strategy. It is public: a receiver verifies against it."""

    temperature: Annotated[
        float, Field(ge=1e-4, le=10, description="divides the logits before the softmax")
    ] = 1.0
    top_k: Annotated[
        int, Field(ge=0, le=_MAX_COUNT, description="draw from the k likeliest tokens; 0: from all")
    ] = 50
    top_p: Annotated[
        float,
        Field(gt=0, le=1, description="draw from the likeliest tokens with this total probability"),
    ] = 1.0
    max_new_tokens: Annotated[
        int, Field(ge=1, le=131_072, description="a completion is cut after so many tokens")
    ] = 128


class GrpoConfig(_Table):
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
        Field(ge=0, le=_MAX_ROUNDS, description="rounds over which the learning rate rises"),
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
            le=_MAX_COUNT,
            description="tokens in one forward and backward pass; changes memory and speed only",
        ),
    ] = 2048


class EvaluationConfig(_Table):
    """Held-out problems, answered by one sampled completion each."""

    every: Annotated[
        int,
        Field(
            ge=1,
            le=_MAX_ROUNDS,
            description="rounds between evaluations; the last is evaluated too",
        ),
    ] = 10
    problems: Annotated[
        int, Field(ge=1, le=_MAX_COUNT, description="how many, if the task has so many")
    ] = 128


class TrialConfig(_Table):
    """One arm of an experiment, resolved; with a seed it is one trial."""

    rounds: Annotated[int, Field(ge=1, le=_MAX_ROUNDS, description="rounds of the trial")]
    task: Annotated[
        dict[str, Any],
        describes("task"),
        Field(description="the problems and their rewards: `swarmproof list tasks`"),
    ]
    model: Annotated[ModelConfig, Field(description="the model that every node trains")] = (
        ModelConfig()
    )
    swarm: Annotated[SwarmConfig, Field(description="who takes part")] = SwarmConfig()
    batch: Annotated[BatchConfig, Field(description="the work of a round")] = BatchConfig()
    sampling: Annotated[SamplingConfig, Field(description="the generation strategy")] = (
        SamplingConfig()
    )
    grpo: Annotated[GrpoConfig, Field(description="the learner")] = GrpoConfig()
    attack: Annotated[
        dict[str, Any],
        describes("attack"),
        Field(
            description="what malicious nodes do: `swarmproof list attacks`; without such nodes it "
            "only names the success measure"
        ),
    ]
    defenses: Annotated[
        tuple[Annotated[dict[str, Any], describes("defense")], ...],
        Field(
            max_length=64,
            description="what honest nodes inspect completions with: `swarmproof list defenses`",
        ),
    ] = ()
    evaluation: Annotated[EvaluationConfig, Field(description="held-out problems")] = (
        EvaluationConfig()
    )
    exchange: Annotated[dict[str, Any], describes("exchange")] = Field(
        default_factory=lambda: {"name": "memory"},
        description="how completions travel: `swarmproof list exchanges`",
    )
    checkpoint_every: Annotated[
        int, Field(ge=1, le=_MAX_ROUNDS, description="rounds between two checkpoints")
    ] = 10

    @model_validator(mode="after")
    def _consistent(self) -> TrialConfig:
        swarm, batch = self.swarm, self.batch
        if swarm.malicious >= swarm.nodes:
            raise ValueError(
                f"swarm.malicious is {swarm.malicious} of {swarm.nodes} nodes; "
                "at least one node must be honest"
            )
        if len(swarm.models) > swarm.nodes - swarm.malicious:
            raise ValueError(
                f"swarm.models has {len(swarm.models)} models for "
                f"{swarm.nodes - swarm.malicious} honest nodes; "
                "list fewer, or raise swarm.nodes, or leave out the arm (--arm)"
            )
        work, size = (
            ("batch.group_size", batch.group_size)
            if swarm.topology == "horizontal"
            else ("batch.problems", batch.problems)
        )
        if size % swarm.nodes:
            fits = [n for n in range(1, min(size, _MAX_NODES) + 1) if size % n == 0]
            raise ValueError(
                f"{work} = {size} does not divide among swarm.nodes = {swarm.nodes} in a "
                f"{swarm.topology} swarm; nodes may be {', '.join(map(str, fits))}"
            )
        names = [table["name"] for table in self.defenses]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"defenses: {', '.join(sorted(repeated))} is listed twice")
        return self

    @property
    def models_key(self) -> str:
        """The setting that names the models, for messages."""
        return "swarm.models" if self.swarm.models else "model.path"

    @property
    def model_paths(self) -> tuple[str, ...]:
        """The paths of the models, as they are dealt to the honest nodes."""
        return self.swarm.models or (self.model.path,)

    @property
    def cohorts(self) -> tuple[cohorts.Members, ...]:
        """The honest nodes, grouped by the model that they train."""
        return cohorts.deal(self.model_paths, self.swarm.nodes - self.swarm.malicious)


class ExperimentConfig(_Table):
    """A whole experiment: its arms, each resolved, and the seeds of each."""

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=100,
            description="names the run folder",
        ),
    ]
    title: Annotated[str, Field(max_length=1000, description="title of the report")] = ""
    claim: Annotated[
        str,
        Field(max_length=4000, description="what a reader should see if the claim holds"),
    ] = ""
    seeds: Annotated[
        tuple[Annotated[int, Field(ge=0, lt=2**63)], ...],
        Field(
            min_length=1,
            max_length=MAX_SEEDS,
            description="each arm runs with each of them; replaced by --seeds",
        ),
    ] = (0,)
    arms: Annotated[
        dict[str, TrialConfig],
        Field(description="settings of each arm, laid on those of the file"),
    ]

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed is listed twice")
        return seeds

    @field_validator("name", "title", "claim")
    @classmethod
    def _printable(cls, text: str) -> str:
        # They are printed in a terminal, where control characters are commands.
        if not text.replace("\n", " ").isprintable():
            raise ValueError("it has a control character, or another that cannot be shown")
        return text
