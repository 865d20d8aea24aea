"""What the experiment file expects, and how this run's settings differ from the shipped file.

The `claim` of an experiment is written before any run. It is shown only where the run has the
file's settings and arms and is finished, and then marked as an expectation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from swarmproof.config import load, shipped

_MAX_SHOWN = 12


def differences(config: Mapping[str, Any]) -> list[str] | None:
    """`rounds = 4 (shipped: 80)` for each setting that is not that of the shipped file.

    Seeds do not count. None if no shipped experiment has this name.
    """
    found = [
        _differences(config["arms"], one.model_dump(mode="json")["arms"])
        for name in shipped()
        if name.rpartition("/")[2] == config["name"] and (one := load(name)).name == config["name"]
    ]
    return min(found, key=len) if found else None


def notes(config: Mapping[str, Any], states: Mapping[str, str]) -> list[str]:
    """Lines for the head of a report: changed settings, and the expectation or why it is left out.

    Args:
        config: the run's `config.json`.
        states: of `states.of_arms`.
    """
    changed = differences(config)
    lines = []
    if changed:
        shown = "; ".join(changed[:_MAX_SHOWN])
        more = f"; and {len(changed) - _MAX_SHOWN} more" if len(changed) > _MAX_SHOWN else ""
        lines.append(f"Settings that differ from the shipped {config['name']}: {shown}{more}.")
    idle = [arm for arm, state in states.items() if state == "not started"]
    if idle:
        lines.append(f"Not started: {', '.join(idle)}.")
    if claim := config.get("claim"):
        if any(states.values()):
            lines.append("The file's expectation is not shown: the run is unfinished.")
        elif changed:
            lines.append(
                "The file's expectation is not shown: this run has other settings or arms."
            )
        elif changed is None:
            lines.append(
                f"Expectation in the experiment file, written before the run and not compared "
                f"with its settings: {claim}"
            )
        else:
            lines.append(f"Expectation in the experiment file, written before the run: {claim}")
    return lines


def _differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    common = [arm for arm in ours if arm in theirs]
    by_arm = {arm: list(_changed(ours[arm], theirs[arm], "")) for arm in common}
    everywhere = (
        [line for line in by_arm[common[0]] if all(line in v for v in by_arm.values())]
        if common
        else []
    )
    lines = [*everywhere]
    lines += [
        f"{arm}: {line}"
        for arm, changed in by_arm.items()
        for line in changed
        if line not in everywhere
    ]
    if missing := [arm for arm in theirs if arm not in ours]:
        lines.append(f"without the arms {', '.join(missing)}")
    if extra := [arm for arm in ours if arm not in theirs]:
        lines.append(f"with the arms {', '.join(extra)}, which are not in it")
    return lines


def _changed(ours: Any, theirs: Any, key: str) -> Iterator[str]:
    if ours == theirs:
        return
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for name in [*ours, *(name for name in theirs if name not in ours)]:
            where = f"{key}.{name}" if key else name
            yield from _changed(ours.get(name), theirs.get(name), where)
        return
    yield f"{key} = {_value(ours)} (shipped: {_value(theirs)})"


def _value(value: Any) -> str:
    text = "not set" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:80]} …"
