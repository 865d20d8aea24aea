"""Reads `config.json` and `summary.json`, and checks that they hold what their readers use.

Plug-ins need not be installed, so their settings are not checked here. docs/metrics.md describes
the content.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import msgspec

from swarmproof.config.settings import MAX_NODES
from swarmproof.records.folder import CONFIG, SUMMARY, read_json

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_Seed = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Nodes = Annotated[int, msgspec.Meta(ge=0, le=MAX_NODES)]
_Interval = Annotated[list[float | None], msgspec.Meta(min_length=2, max_length=2)]
_Text = Annotated[str, msgspec.Meta(min_length=1)]


class _Model(TypedDict):
    path: _Text


class _Swarm(TypedDict):
    nodes: _Nodes
    malicious: _Nodes
    models: NotRequired[list[_Text]]


class _Trial(TypedDict):
    rounds: _Count
    model: _Model
    swarm: _Swarm


class _Config(TypedDict):
    """The part of `config.json` that is read without plug-ins."""

    name: str
    claim: NotRequired[str]
    title: NotRequired[str]
    seeds: list[_Seed]
    arms: dict[str, _Trial]


class _Course(TypedDict):
    """M in docs/metrics.md."""

    first: float | None
    final: float | None
    by_iteration: list[float | None]
    ci95: _Interval
    ci95_over: Literal["seeds"] | None
    unit: NotRequired[Literal["share", "ratio"]]


class _Refused(TypedDict):
    count: _Count
    of: _Count
    rate: float | None
    ci95: _Interval


class _BothRefused(TypedDict):
    poisoned: _Refused
    honest: _Refused


class _Heldout(TypedDict):
    accuracy: _Course
    asr: _Course
    asr_wide: NotRequired[_Course]


class _Numbers(TypedDict):
    """The metrics of an arm, or of one model in it."""

    asr: _Course
    asr_wide: NotRequired[_Course]
    accuracy: _Course
    length: _Course
    refused: _BothRefused
    by_defense: dict[str, dict[str, _Count]]
    malformed: _Count
    absent: _Count
    refilled: _Count
    heldout: _Heldout


class _Arm(_Numbers):
    seconds: float
    seconds_by_step: dict[str, float]
    seeds: list[_Seed]
    rounds: _Count
    unfinished_seeds: list[_Seed]
    models: NotRequired[dict[str, _Numbers]]


class _Summary(TypedDict):
    """`summary.json`."""

    experiment: str
    claim: str
    arms: dict[str, _Arm]


def read_config(path: Path) -> dict[str, Any]:
    """The `config.json` of a run folder, as it was written.

    Raises:
        ValueError: not a run folder, or the file is damaged; one line with the remedy.
    """
    return _read(path, CONFIG, _Config, "put back a copy of it, or make the run again")


def read_summary(path: Path) -> dict[str, Any]:
    """The `summary.json` of a run folder.

    Raises:
        ValueError: there is none yet, or it is damaged; one line with the remedy.
    """
    if (path / CONFIG).exists() and not (path / SUMMARY).exists():
        raise ValueError(
            f"{path} has no {SUMMARY} yet; `swarmproof report {path}` writes it from the records"
        )
    return _read(path, SUMMARY, _Summary, f"`swarmproof report {path}` writes it anew")


def _read(path: Path, name: str, shape: Any, remedy: str) -> dict[str, Any]:
    table = read_json(path, name, remedy)
    try:
        msgspec.convert(table, shape)
    except msgspec.ValidationError as error:
        raise ValueError(f"{path / name} is damaged: {error}; {remedy}") from None
    return table
