"""A figure as data: a TOML that names its curves, its metric, and its criteria.

Every key is validated. A curve is an arm of a shipped experiment, so figures can share trials. This
module runs and draws nothing.
"""

from __future__ import annotations

import itertools
import json
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from swarmproof.config import TrialConfig, load, validate
from swarmproof.measure.judge_eval import VARIANTS, JudgeEval
from swarmproof.registry import did_you_mean
from swarmproof.reproduce.criteria import Criterion

Scale = Literal["tiny", "small", "paper"]
SCALES: tuple[Scale, ...] = ("tiny", "small", "paper")
# Keys of an arm in `summary.json`; see docs/metrics.md.
Metric = Literal["asr", "asr_wide", "accuracy", "length", "heldout.accuracy"]


@dataclass(frozen=True, slots=True)
class Arm:
    """The source of a curve: an arm of a shipped experiment, resolved."""

    experiment: str
    arm: str
    trial: TrialConfig


class _Figure(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str
    scale: Scale
    title: str
    paper: str  # the result that the paper reports
    criteria: tuple[Criterion, ...] = ()

    @property
    def label(self) -> str:
        """`Fig. 3a`, `Table 1`."""
        kind, number, letter = _parts(self.name)
        return f"{'Table' if kind == 'table' else 'Fig.'} {number}{letter}"


class Curves(_Figure):
    """Curves over iterations, each the mean over seeds of an arm."""

    kind: Literal["curves"] = "curves"
    metric: Metric
    x: str = "iteration"
    y: str
    # Name -> "experiment/arm". A curve with the name of a usual arm has the colour of that arm.
    curves: Annotated[dict[str, str], Field(min_length=1)]
    set: tuple[str, ...] = ()  # settings for every curve, in the form of `--set`
    # Setting -> values. Every curve is drawn once for each value, and named "curve-value".
    matrix: dict[str, tuple[int | float | str, ...]] = {}

    def arms(self, overrides: Iterable[str] = ()) -> dict[str, Arm]:
        """Every curve with its resolved config. The overrides are applied last.

        Raises:
            ValueError: an experiment, an arm or a setting does not exist.
        """
        found = {}
        for name, source in self.curves.items():
            experiment, _, arm = source.rpartition("/")
            for values in itertools.product(*self.matrix.values()):
                # A JSON value of these types is also valid TOML.
                pairs = zip(self.matrix, map(json.dumps, values), strict=True)
                sets = [*self.set, *(f"{key}={value}" for key, value in pairs), *overrides]
                trial = load(experiment, arms=[arm], overrides=sets).arms[arm]
                found["-".join([name, *map(str, values)])] = Arm(experiment, arm, trial)
        return found


class Theory(_Figure):
    """The leverage of poisoned completions. Nothing is trained."""

    kind: Literal["theory"] = "theory"
    metric: Literal["leverage"] = "leverage"


class Acceptance(_Figure):
    """Acceptance by judges, as in `swarmproof judge-eval`. A metric is "judge variant"."""

    kind: Literal["judge-eval"] = "judge-eval"
    metric: str
    variants: Annotated[tuple[str, ...], Field(min_length=1)]
    judges: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]  # back ends, by name
    settings: JudgeEval = JudgeEval()

    @field_validator("variants")
    @classmethod
    def _known(cls, variants: tuple[str, ...]) -> tuple[str, ...]:
        for name in variants:
            if name not in VARIANTS:
                raise ValueError(f"no variant is called {name!r}{did_you_mean(name, VARIANTS)}")
        return variants

    def evaluations(self) -> dict[str, JudgeEval]:
        """The settings of each judge."""
        table = self.settings.model_dump()
        return {
            name: validate(JudgeEval, table | {"judge": table["judge"] | {"model": model}})
            for name, model in self.judges.items()
        }


class LeftOut(_Figure):
    """A figure that this scale leaves out."""

    kind: Literal["left-out"] = "left-out"
    reason: str


Figure = Curves | Theory | Acceptance | LeftOut
_KINDS: dict[str, type[Figure]] = {
    "curves": Curves, "theory": Theory, "judge-eval": Acceptance, "left-out": LeftOut,
}  # fmt: skip


def names(scale: Scale) -> list[str]:
    """The figures of a scale in the order of the paper; the table comes last."""
    return sorted((path.stem for path in _folder(scale).glob("*.toml")), key=_parts)


def read(name: str, scale: Scale) -> Figure:
    """Read and validate a shipped figure.

    Raises:
        ValueError: there is no such figure, or its TOML is invalid; one line.
    """
    if name not in (known := names(scale)):
        raise ValueError(f"no figure is called {name!r}{did_you_mean(name, ['all', *known])}")
    return parse((_folder(scale) / f"{name}.toml").read_text(encoding="utf-8"), name, scale)


def parse(text: str, name: str, scale: Scale) -> Figure:
    """Parse and validate the TOML of a figure.

    Raises:
        ValueError: it is invalid; one line that names the key.
    """
    try:
        table = tomllib.loads(text)
    except ValueError as error:
        raise ValueError(f"{scale}/{name}.toml is not valid TOML: {error}") from None
    kind = table.get("kind", "curves")
    if kind not in _KINDS:
        raise ValueError(f"{name}: no kind is called {kind!r}{did_you_mean(str(kind), _KINDS)}")
    return validate(_KINDS[kind], {**table, "name": name, "scale": scale})


def _folder(scale: Scale) -> Path:
    return Path(str(files("swarmproof"))) / "reproduce" / scale


def _parts(name: str) -> tuple[str, int, str]:
    kind, number, letter = re.findall(r"^(fig|table)(\d+)([a-d]?)$", name)[0]
    return kind, int(number), letter
