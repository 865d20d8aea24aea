"""A small run that is sent to a tracker: `python tracked.py MODEL FOLDER NAME [again]`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import swarmproof
import swarms  # registers the task

ARMS, SEEDS, ROUNDS = ("attack", "logit"), (0, 1), 4
SETTINGS: dict[str, Any] = {
    "rounds": ROUNDS,
    "task": {"name": swarms.Letters.name},
    "batch": {"problems": 4, "group_size": 4},
    "sampling.max_new_tokens": 56,
    "evaluation": {"problems": 4, "every": 2},
    "checkpoint_every": 2,
}


def run(model: Path, folder: Path, track: str | list[str], **more: Any) -> swarmproof.Run:
    settings = {**SETTINGS, "model.path": str(model)}
    chosen: dict[str, Any] = {"arms": ARMS, "seeds": SEEDS, **more}
    return swarmproof.run(set=settings, out=folder, jobs=0, quiet=True, track=track, **chosen)


def course(run: swarmproof.Run, arm: str, seed: int, key: str) -> list[tuple[int, float]]:
    """Round and value, where there is one."""
    frame = run.rounds
    rows = frame[(frame["arm"] == arm) & (frame["seed"] == seed)].dropna(subset=[key])
    return [(int(r), float(v)) for r, v in zip(rows["round"], rows[key], strict=True)]


if __name__ == "__main__":
    model, folder, name, *more = sys.argv[1:]
    run(Path(model), Path(folder), name)
    if more:  # as if it had been killed before the second checkpoint of a trial
        (Path(folder) / "trials/attack/seed-0/checkpoint.safetensors").unlink()
        run(Path(model), Path(folder), name, resume=True)
