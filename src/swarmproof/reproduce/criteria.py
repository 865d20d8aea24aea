"""Criteria for agreement with the paper: a closed set of comparisons, as data.

Pure functions of measured numbers, which do not know where the numbers come from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from swarmproof.config import validate

Stat = Literal["final", "first", "peak", "growth"]
# Curve -> metric -> {"first", "final", "peak", "ci95"}; a number may be missing or None.
Measured = Mapping[str, Mapping[str, Mapping[str, Any]]]


class _Criterion(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    text: str
    metric: str | None = None  # None: the metric of the figure
    # final: mean over the last 10 iterations; peak: highest iteration; growth: final / first.
    stat: Stat = "final"


class Bound(_Criterion):
    """A curve is within bounds."""

    curve: str
    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Bound:
        if self.at_least is None and self.at_most is None:
            raise ValueError("a criterion on one curve needs at_least, at_most or both")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        return (self.curve,)

    def holds(self, values: list[float]) -> bool:
        (value,) = values
        low = -float("inf") if self.at_least is None else self.at_least
        high = float("inf") if self.at_most is None else self.at_most
        return low <= value <= high


class Order(_Criterion):
    """Curves from highest to lowest, each at least `by` above the next."""

    order: Annotated[tuple[str, ...], Field(min_length=2)]
    by: Annotated[float, Field(gt=0)]

    @property
    def names(self) -> tuple[str, ...]:
        return self.order

    def holds(self, values: list[float]) -> bool:
        return all(higher - lower >= self.by for higher, lower in pairwise(values))


class Near(_Criterion):
    """No two curves differ by more than `within`."""

    near: Annotated[tuple[str, ...], Field(min_length=2)]
    within: Annotated[float, Field(gt=0)]

    @property
    def names(self) -> tuple[str, ...]:
        return self.near

    def holds(self, values: list[float]) -> bool:
        return max(values) - min(values) <= self.within


_KINDS: dict[str, type[Bound | Order | Near]] = {"curve": Bound, "order": Order, "near": Near}


def _build(table: Any) -> Any:
    """The criterion that a table describes. The key that names the curves decides its kind."""
    if not isinstance(table, dict):
        return table
    for key, kind in _KINDS.items():
        if key in table:
            return validate(kind, table)
    raise ValueError(f"a criterion needs one of {', '.join(_KINDS)}")


Criterion = Annotated[Bound | Order | Near, BeforeValidator(_build)]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a criterion."""

    text: str
    agrees: bool | None  # None: not measured
    measured: str  # the numbers that decided it; empty if there are none

    @property
    def word(self) -> str:
        return "not measured" if self.agrees is None else "agrees" if self.agrees else "differs"


def judge(criterion: Bound | Order | Near, measured: Measured, metric: str) -> Outcome:
    """Whether a criterion holds for the means over seeds.

    Args:
        criterion: of a figure.
        measured: the numbers of the figure.
        metric: of the figure, for criteria without a metric.
    """
    metric = criterion.metric or metric
    values = [value(measured, curve, metric, criterion.stat) for curve in criterion.names]
    known = [v for v in values if v is not None]
    if len(known) < len(values):
        return Outcome(criterion.text, None, "")
    shown = zip(criterion.names, known, strict=True)
    told = "; ".join(f"{curve} {show(v, metric, criterion.stat)}" for curve, v in shown)
    return Outcome(criterion.text, criterion.holds(known), told)


def value(measured: Measured, curve: str, metric: str, stat: Stat = "final") -> float | None:
    """One number of a curve; None if it was not measured."""
    course = measured.get(curve, {}).get(metric, {})
    if stat == "growth":
        first, final = course.get("first"), course.get("final")
        return final / first if first and final is not None else None
    found: float | None = course.get(stat)
    return found


def show(number: float, metric: str, stat: Stat = "final") -> str:
    """A number with its unit. Shares are in percent."""
    if stat == "growth":
        return f"{number:.2f} ×"
    if metric == "leverage":
        return f"{number:.3f}"
    return f"{number:.1f} tokens" if metric == "length" else f"{100 * number:.1f} %"
