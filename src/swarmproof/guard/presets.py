"""Guards by name: which defences, with which rule for refusals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swarmproof.config import OnReject
from swarmproof.registry import did_you_mean


@dataclass(frozen=True, slots=True)
class Preset:
    """A guard as data."""

    defenses: tuple[Mapping[str, Any], ...]
    on_reject: OnReject
    why: str  # one line: what it is for


PRESETS: Mapping[str, Preset] = {
    "paper-one-model": Preset(
        ({"name": "logit"},),
        "drop",
        "The paper's check where all nodes hold the same weights; needs a model.",
    ),
    "paper-any-model": Preset(
        ({"name": "judge", "on_reject": "drop"},),
        "drop",
        "The paper's judge, for any swarm; needs no model of the receiver.",
    ),
}


def preset(name: str) -> Preset:
    """The preset with this name.

    Raises:
        ValueError: there is no such preset; lists the known ones.
    """
    if name not in PRESETS:
        raise ValueError(f"no preset is called {name!r:.60}{did_you_mean(name, PRESETS)}")
    return PRESETS[name]
