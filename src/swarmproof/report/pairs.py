"""Which arms of a run may be compared: those that differ in one thing only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def undefended(arms: Mapping[str, Any], arm: str) -> str | None:
    """The arm that has no defences and otherwise the same settings; None if there is none."""
    wanted = _without_defences(arms[arm])
    return next(
        (
            name
            for name, trial in arms.items()
            if not trial["defenses"] and _without_defences(trial) == wanted
        ),
        None,
    )


def quiet(arms: Mapping[str, Any], arm: str) -> str | None:
    """The arm without malicious nodes and defences and otherwise the same settings."""
    wanted = _without_malice(arms[arm])
    return next(
        (
            name
            for name, trial in arms.items()
            if not trial["defenses"]
            and not trial["swarm"]["malicious"]
            and _without_malice(trial) == wanted
        ),
        None,
    )


def _without_defences(trial: Mapping[str, Any]) -> dict[str, Any]:
    # Where nothing is refused it does not matter what a rejection does.
    grpo = {key: value for key, value in trial["grpo"].items() if key != "on_reject"}
    return {**trial, "grpo": grpo, "defenses": None}


def _without_malice(trial: Mapping[str, Any]) -> dict[str, Any]:
    return {**_without_defences(trial), "swarm": {**trial["swarm"], "malicious": 0}}
