"""The settings of an experiment and of its arms, with their bounds and defaults.

How they are read from a TOML file is in `loading.py`. Nothing here imports torch.
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


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def describes(kind: registry.Kind) -> AfterValidator:
    """Checks that a table describes a plug-in, and leaves it as it is."""

    def check(table: dict[str, Any]) -> dict[str, Any]:
        registry.check(kind, table)
        return table

    return AfterValidator(check)


class ModelConfig(_Table):
    """The model that every node trains, and how models are loaded."""

    # A name in the zoo, a directory with a Hugging Face model, or a hub id.
    path: str = "tiny-math"
    dtype: Literal["float32", "bfloat16"] = "float32"
    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:\d+)?)$")] = "cpu"
    gradient_checkpointing: bool = False


class SwarmConfig(_Table):
    """Who takes part, and how the work is divided."""

    topology: Topology = "horizontal"
    nodes: Annotated[int, Field(ge=1, le=_MAX_NODES)] = 4
    malicious: Annotated[int, Field(ge=0)] = 1
    # Paths of several models instead of `model.path`, dealt to the honest nodes in turn; `model`
    # has their other settings. The malicious nodes hold the first.
    models: Annotated[
        # Left out where it is empty: older configs have none, and must stay what they are.
        tuple[Annotated[str, Field(min_length=1)], ...], Field(exclude_if=operator.not_)
    ] = ()


class BatchConfig(_Table):
    """B problems a round, G completions each, over the whole swarm."""

    problems: Annotated[int, Field(ge=1, le=65_536)] = 32
    group_size: Annotated[int, Field(ge=2, le=65_536)] = 12


class SamplingConfig(_Table):
    """The generation strategy. It is public: a receiver verifies against it."""

    temperature: Annotated[float, Field(gt=0, le=10)] = 1.0
    top_k: Annotated[int, Field(ge=0)] = 50  # 0: no limit
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_new_tokens: Annotated[int, Field(ge=1, le=131_072)] = 128


class GrpoConfig(_Table):
    """The learner. Defaults are the paper's, the learning rate apart."""

    lr: Annotated[float, Field(gt=0)] = 2e-5
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    eps: Annotated[float, Field(gt=0)] = 1e-8
    warmup: Annotated[int, Field(ge=0)] = 0  # rounds over which lr rises linearly
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    beta: Annotated[float, Field(ge=0)] = 0.0  # weight of the KL term (k3, frozen start)
    scale_rewards: bool = True  # divide by the group's standard deviation
    on_reject: OnReject = "drop"  # what a rejection does to its group: docs/metrics.md
    # Which completions of another model teach: `positive`, those better than their group's mean.
    # Several models that learn from all of it may come apart (ADR 0012).
    foreign: Literal["all", "positive"] = "all"
    updates: Annotated[int, Field(ge=1)] = 1  # optimiser steps per round; clipping if > 1
    clip: Annotated[float, Field(gt=0, lt=1)] = 0.2
    # Cuts the work only: more is more memory, and on a CPU no faster.
    micro_batch_tokens: Annotated[int, Field(ge=1)] = 2048


class EvaluationConfig(_Table):
    """Held-out problems, answered by one sampled completion each."""

    every: Annotated[int, Field(ge=1)] = 10  # and at the first and the last round
    problems: Annotated[int, Field(ge=1)] = 128


class TrialConfig(_Table):
    """One arm of an experiment, resolved; with a seed it is one trial."""

    rounds: Annotated[int, Field(ge=1)]
    task: Annotated[dict[str, Any], describes("task")]
    model: ModelConfig = ModelConfig()
    swarm: SwarmConfig = SwarmConfig()
    batch: BatchConfig = BatchConfig()
    sampling: SamplingConfig = SamplingConfig()
    grpo: GrpoConfig = GrpoConfig()
    # The attack of the malicious nodes; where there are none it only names the success measure.
    attack: Annotated[dict[str, Any], describes("attack")]
    defenses: tuple[Annotated[dict[str, Any], describes("defense")], ...] = ()
    evaluation: EvaluationConfig = EvaluationConfig()
    exchange: Annotated[dict[str, Any], describes("exchange")] = Field(
        default_factory=lambda: {"name": "memory"}
    )
    checkpoint_every: Annotated[int, Field(ge=1)] = 10

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
        """The setting that names the models, for errors."""
        return "swarm.models" if self.swarm.models else "model.path"

    @property
    def model_paths(self) -> tuple[str, ...]:
        """The paths of the models, as they are dealt to the honest nodes."""
        return self.swarm.models or (self.model.path,)

    @property
    def cohorts(self) -> tuple[cohorts.Members, ...]:
        """The honest nodes by the model that they train."""
        return cohorts.deal(self.model_paths, self.swarm.nodes - self.swarm.malicious)


class ExperimentConfig(_Table):
    """A whole experiment: its arms, each resolved, and the seeds of each."""

    name: str
    title: str = ""
    # What a reader should see if the claim holds; shown in the report.
    claim: str = ""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0,)
    arms: dict[str, TrialConfig]

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed is listed twice")
        return seeds
