"""An experiment as data: a TOML file, checked to the last key before anything is computed.

`load` reads a shipped name or a file, applies `--set` overrides and resolves every arm to a
`TrialConfig`. Nothing here imports torch, so that a mistake is told within a second.
"""

from __future__ import annotations

import operator
import re
import tomllib
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from swarmproof import cohorts, registry

Topology = Literal["horizontal", "vertical"]
OnReject = Literal["drop", "zero_reward"]

ModelT = TypeVar("ModelT", bound=BaseModel)

_MAX_NODES = 4096
# Settings of a whole experiment; all others are of its arms.
_HEAD = ("name", "title", "claim", "seeds")
_PLUGINS: dict[str, registry.Kind] = {
    "task": "task",
    "attack": "attack",
    "exchange": "exchange",
    "defenses": "defense",
    "judge": "defense",  # of `swarmproof judge-eval`
}


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def describes(kind: registry.Kind) -> AfterValidator:
    """Checks that a table describes a plug-in, and leaves it as it is."""

    def check(table: dict[str, Any]) -> dict[str, Any]:
        registry.build(kind, table)
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
    def cohorts(self) -> tuple[cohorts.Members, ...]:
        """The honest nodes by the model that they train."""
        swarm = self.swarm
        return cohorts.deal(swarm.models or (self.model.path,), swarm.nodes - swarm.malicious)


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


def shipped() -> dict[str, Path]:
    """The experiments that come with the package: name -> TOML file."""
    root = Path(str(files("swarmproof"))) / "experiments"
    found = sorted(root.rglob("*.toml"))
    return {str(path.relative_to(root).with_suffix("")): path for path in found}


def load(
    name_or_path: str,
    *,
    arms: Iterable[str] = (),
    overrides: Iterable[str] = (),
    seeds: tuple[int, ...] | None = None,
) -> ExperimentConfig:
    """Read, override and check an experiment.

    Args:
        name_or_path: a shipped experiment, or a path that ends in `.toml`.
        arms: run only these; all if empty.
        overrides: `key.sub=value`, the value in TOML (a bare word is taken as a string); applied
            to every arm after the arm's own settings.
        seeds: instead of the file's.

    Raises:
        ValueError: one line that names the key and the remedy.
    """
    path = _find(name_or_path)
    try:
        raw: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # RecursionError: tables within tables
        raise ValueError(f"{path} is not valid TOML: {error}") from None
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    head: dict[str, Any] = {key: raw.pop(key) for key in _HEAD if key in raw}
    arm_tables = raw.pop("arms", {})
    if not isinstance(arm_tables, dict) or not arm_tables:
        raise ValueError(f"{path} has no arms; add at least one table such as [arms.attack]")
    wanted = list(arms) or list(arm_tables)
    for arm in wanted:
        if arm not in arm_tables:
            raise ValueError(
                f"{path.stem} has no arm {arm!r}{registry.did_you_mean(arm, arm_tables)}"
            )
    _reject_unknown(raw, (*_HEAD, "arms", *TrialConfig.model_fields))
    for arm, table in arm_tables.items():
        if not re.fullmatch(r"\w[\w.-]*", arm):
            raise ValueError(f"an arm cannot be called {arm!r}; use letters, digits, -, _ and dots")
        if not isinstance(table, dict):  # a mistake in a file, whatever its kind, is a ValueError
            raise ValueError(  # noqa: TRY004
                f"arms.{arm} must be a table such as [arms.{arm}], not {table!r:.60}"
            )
        if part := next((key for key in table if key[:1].isdigit()), ""):
            raise ValueError(f'an arm with a dot in its name needs quotes: [arms."{arm}.{part}"]')
        _reject_unknown(table, tuple(TrialConfig.model_fields))
    overrides = list(overrides)
    resolved = {arm: override(_merge(raw, arm_tables[arm]), overrides) for arm in wanted}
    head.setdefault("name", path.stem)
    if seeds is not None:
        head["seeds"] = seeds
    return validate(ExperimentConfig, {**head, "arms": resolved})


def override(table: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """The table with `key.sub=value` texts laid on top; a ValueError names one that is no such."""
    table = dict(table)
    for key_path, value in [_parse_override(text) for text in overrides]:
        table = _merge(table, _nest(key_path, value))
    return table


def validate(model: type[ModelT], table: Mapping[str, Any]) -> ModelT:
    """`model_validate` with pydantic's report cut down to one line that names the key."""
    try:
        return model.model_validate(table)
    except ValidationError as error:
        raise ValueError(_one_line(error, model, table)) from None


def _find(name_or_path: str) -> Path:
    if name_or_path.endswith(".toml"):
        path = Path(name_or_path)
        if not path.is_file():
            raise ValueError(f"there is no file {name_or_path}")
        return path
    known = shipped()
    if name_or_path not in known:
        raise ValueError(
            f"no experiment is called {name_or_path!r}"
            f"{registry.did_you_mean(name_or_path, known)}; "
            "for a file of your own give a path that ends in .toml"
        )
    return known[name_or_path]


def _reject_unknown(table: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            raise ValueError(f"unknown setting {key!r}{registry.did_you_mean(key, known)}")


def _parse_override(text: str) -> tuple[list[str], Any]:
    key, equals, literal = text.partition("=")
    keys = [part.strip() for part in key.split(".")]
    if not equals or not all(keys):
        raise ValueError(f"--set {text!r:.60}: write it as key=value, for example grpo.lr=1e-4")
    if keys[0] in _HEAD:
        raise ValueError(
            f"--set {text!r:.60}: {keys[0]} is not a setting of an arm; change it in the file"
            + (", or use --seeds" if keys[0] == "seeds" else "")
        )
    try:
        parsed = tomllib.loads(f"value = {literal}")
    except (ValueError, RecursionError):
        return keys, literal
    # Only a text with line breaks in it can hold more than the one value.
    return keys, parsed["value"] if len(parsed) == 1 else literal


def _nest(keys: list[str], value: Any) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    assert isinstance(value, dict)
    return value


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid on `base`, table by table; a table that names another plug-in replaces it."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            same = value.get("name", old.get("name")) == old.get("name")
            value = _merge(old, value) if same else value
        merged[key] = value
    return merged


def _one_line(error: ValidationError, model: type[BaseModel], table: Mapping[str, Any]) -> str:
    """`grpo.lr: Input should be greater than 0 (got -1)`, with a guess for a misspelt key."""
    first = error.errors(include_url=False)[0]
    keys = first["loc"]
    if keys[:1] == ("arms",) and len(keys) > 1:
        model, table, keys = TrialConfig, table["arms"][keys[1]], keys[2:]
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        known = _known(model, table, keys[:-1])
        message = f"unknown setting{registry.did_you_mean(str(keys[-1]), known)}"
    elif first["type"] == "missing":
        message = "this setting is missing, and has no default"
    elif first["type"] != "value_error":
        message = f"{message} (got {_short(first['input'])})"
    where = ".".join(map(str, keys))
    return " ".join((f"{where}: {message}" if where else message).split())


def _known(
    model: type[BaseModel], table: Mapping[str, Any], keys: tuple[int | str, ...]
) -> list[str]:
    """The settings that there are at `keys` of a table; in a plug-in's table, that plug-in's."""
    kind: registry.Kind | None = None
    value: Any = table
    fields: Any = model.model_fields
    for key in keys:
        value = value[key]
        if kind:
            kind = "judge" if key == "model" else kind  # the back end of a judge
        elif not (kind := _PLUGINS.get(str(key))):
            fields = getattr(fields[key].annotation, "model_fields", {})
    return list(registry.plugins(kind)[value["name"]].model_fields if kind else fields)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]} …"
