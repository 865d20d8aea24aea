"""What several commands share: options, seeds, the check before a run, JSON files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from swarmproof.config import ExperimentConfig

INTERRUPTED = 130  # what shells use for Ctrl-C

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting (repeatable)."),
]


def check(config: ExperimentConfig) -> None:
    from swarmproof.swarm.assembly import check
    from swarmproof.zoo import hub

    for name, trial in config.arms.items():
        try:
            check(trial)
            for members in trial.cohorts:
                hub.reach(members.path, trial.models_key)
        except ValueError as error:
            raise ValueError(f"arm {name}: {error}") from None


def parse_seeds(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    if not re.fullmatch(r"\d+(,\d+)*,?", text) or text == "0":
        raise ValueError(
            f"--seeds {text!r}: give how many (3), or which, with commas (0,1,5 or 4,)"
        )
    if "," not in text:
        return tuple(range(int(text)))
    seeds = tuple(map(int, text.removesuffix(",").split(",")))
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"--seeds {text!r}: a seed is listed twice")
    return seeds


def write(path: Path, found: dict[str, Any]) -> None:
    from swarmproof.records.folder import write_json
    from swarmproof.records.versions import versions

    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, found | {"versions": versions()})
