"""Assigns models to honest nodes. Pure: loads nothing and reads no disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from swarmproof.types import NodeId

HOMOGENEOUS = "honest"  # the only cohort of a swarm in which all nodes train one model


@dataclass(frozen=True, slots=True)
class Members:
    """A cohort: the honest nodes that train one model."""

    name: str  # the cohort's
    path: str
    nodes: tuple[NodeId, ...]


def deal(paths: Sequence[str], num_honest: int) -> tuple[Members, ...]:
    """Give models to the honest nodes in turn: node i gets model i modulo `len(paths)`.

    A path that is listed several times is one model with more nodes. A cohort is named after the
    last part of its path, with a number appended if that name is taken.

    >>> deal(["tiny-math", "me/tiny-math"], 3)  # doctest: +NORMALIZE_WHITESPACE
    (Members(name='tiny-math', path='tiny-math', nodes=(0, 2)),
     Members(name='tiny-math-2', path='me/tiny-math', nodes=(1,)))
    """
    nodes: dict[str, list[NodeId]] = {}
    for node in range(num_honest):
        nodes.setdefault(paths[node % len(paths)], []).append(node)
    if len(nodes) == 1:
        return tuple(Members(HOMOGENEOUS, path, tuple(own)) for path, own in nodes.items())
    names: dict[str, str] = {}
    for path in nodes:
        stem = name = PurePath(path).name or "model"
        number = 1
        while name in names:
            number += 1
            name = f"{stem}-{number}"
        names[name] = path
    return tuple(Members(name, path, tuple(nodes[path])) for name, path in names.items())


def of_trial(trial: Mapping[str, Any]) -> tuple[Members, ...]:
    """The cohorts of an arm, from its resolved settings as in `config.json`."""
    swarm = trial["swarm"]
    # `models` is left out of the config where it is empty.
    paths = swarm.get("models") or [trial["model"]["path"]]
    return deal(paths, swarm["nodes"] - swarm["malicious"])
