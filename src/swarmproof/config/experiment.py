"""An experiment and its arms: the tables of `settings.py` put together, and checked as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field, field_validator, model_validator

from swarmproof import registry
from swarmproof.config import cohorts, presets
from swarmproof.config.settings import (
    MAX_NODES,
    MAX_ROUNDS,
    BatchConfig,
    EvaluationConfig,
    GrpoConfig,
    GuardConfig,
    ModelConfig,
    SamplingConfig,
    SwarmConfig,
    Table,
    WarmupConfig,
)

MAX_SEEDS = 1000


def describes(kind: registry.Kind) -> AfterValidator:
    """A validator: the table must describe a plug-in of this kind. The table is not changed."""

    def check(table: dict[str, Any]) -> dict[str, Any]:
        registry.check(kind, table)
        return table

    return AfterValidator(check)


class TrialConfig(Table):
    """One arm of an experiment, resolved; with a seed it is one trial."""

    rounds: Annotated[int, Field(ge=1, le=MAX_ROUNDS, description="rounds of the trial")]
    task: Annotated[
        dict[str, Any],
        describes("task"),
        Field(description="the problems and their rewards: `swarmproof list tasks`"),
    ]
    model: Annotated[ModelConfig, Field(description="the model that every node trains")] = (
        ModelConfig()
    )
    warmup: Annotated[
        WarmupConfig,
        # Left out where there is none: configs without it must stay what they are.
        Field(
            exclude_if=lambda table: not table.in_use,
            description="a supervised phase before round 0, or solved examples in the prompts",
        ),
    ] = WarmupConfig()
    swarm: Annotated[SwarmConfig, Field(description="who takes part")] = SwarmConfig()
    batch: Annotated[BatchConfig, Field(description="the work of a round")] = BatchConfig()
    sampling: Annotated[SamplingConfig, Field(description="the generation strategy")] = (
        SamplingConfig()
    )
    generator: Annotated[dict[str, Any], describes("generator")] = Field(
        default_factory=lambda: {"name": "packed"},
        # Left out where it is ours: configs without it must stay what they are.
        exclude_if={"name": "packed"}.__eq__,
        description="what draws completions: `swarmproof list generators`",
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
    guard: Annotated[
        GuardConfig,
        # Left out where it is empty: configs without it must stay what they are.
        Field(exclude_if=GuardConfig().__eq__, description="defences by name"),
    ] = GuardConfig()
    evaluation: Annotated[EvaluationConfig, Field(description="held-out problems")] = (
        EvaluationConfig()
    )
    exchange: Annotated[dict[str, Any], describes("exchange")] = Field(
        default_factory=lambda: {"name": "memory"},
        description="how completions travel: `swarmproof list exchanges`",
    )
    checkpoint_every: Annotated[
        int, Field(ge=1, le=MAX_ROUNDS, description="rounds between two checkpoints")
    ] = 10

    @model_validator(mode="before")
    @classmethod
    def _with_preset(cls, table: Any) -> Any:
        """Put the defences of a preset where its name stands."""
        guard = table.get("guard") if isinstance(table, Mapping) else None
        name = guard.get("preset") if isinstance(guard, Mapping) else None
        if not isinstance(name, str) or not name:
            return table
        defenses = [dict(each) for each in presets.preset(name).defenses]
        # A recorded config has both, and they agree.
        if table.get("defenses") and list(table["defenses"]) != defenses:
            raise ValueError(
                f"guard.preset is {name!r}, and defenses are given as well; leave one of them out "
                "(in the config.json of a run by an older version, the preset)"
            )
        return {**table, "defenses": defenses}

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
            fits = [n for n in range(1, min(size, MAX_NODES) + 1) if size % n == 0]
            raise ValueError(
                f"{work} = {size} does not divide among swarm.nodes = {swarm.nodes} in a "
                f"{swarm.topology} swarm; nodes may be {', '.join(map(str, fits))}"
            )
        names = [table["name"] for table in self.defenses]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"defenses: {', '.join(sorted(repeated))} is listed twice")
        refills = presets.require_refillable(self.defenses, self.grpo.on_reject)
        if refills and swarm.topology == "vertical" and swarm.problems == "picked":
            raise ValueError(
                "on_reject = 'refill' needs problems that no node can choose, or the choice is "
                'left to an attacker; set swarm.problems = "dealt"'
            )
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


class ExperimentConfig(Table):
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
