"""Which honest node trains which model. Pure: nothing is loaded, or looked up on a disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from swarmproof.types import NodeId

HOMOGENEOUS = "honest"  # the one cohort of a swarm in which all train one model


@dataclass(frozen=True, slots=True)
class Members:
    """The honest nodes that train one model."""

    name: str  # of the cohort
    path: str
    nodes: tuple[NodeId, ...]


def deal(paths: Sequence[str], num_honest: int) -> tuple[Members, ...]:
    """Deal models to the honest nodes in turn: node i gets number i modulo `len(paths)`.

    A path that comes several times is one model, with as many more nodes. The cohort is called
    after the path's last part, with a number behind it where that is taken.

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
    """The cohorts of an arm, from its resolved settings as `config.json` has them."""
    swarm = trial["swarm"]
    paths = swarm.get("models") or [trial["model"]["path"]]  # left out where it is empty
    return deal(paths, swarm["nodes"] - swarm["malicious"])
