"""What the nodes of a run start from: where an added model is from, and what its warm-up was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from swarmproof.records.folder import read_json, trial_folder
from swarmproof.records.run import Run
from swarmproof.swarm.identity import FINGERPRINTS, SOURCE_OF
from swarmproof.swarm.warmup import WARMUP


def notes(run: Run) -> list[str]:
    """A sentence for each added model, and one for each warm-up; none of them twice."""
    return list(dict.fromkeys(_all(run)))


def _all(run: Run) -> Iterator[str]:
    for arm in run.config["arms"]:
        for seed in run.config["seeds"]:
            folder = trial_folder(run.path, arm, seed)
            if (folder / FINGERPRINTS).is_file():
                for key, told in read_json(folder, FINGERPRINTS).items():
                    if key.startswith(SOURCE_OF):
                        yield f"{key.removeprefix('the ').capitalize()}: {told}."
            if (folder / WARMUP).is_file():
                for path, record in read_json(folder, WARMUP).items():
                    yield _warmup(path, record)


def _warmup(path: str, record: Mapping[str, Any]) -> str:
    parts = []
    if record["steps"]:
        parts.append(
            f"{record['steps']} steps of {record['batch']} solutions (learning rate "
            f"{record['lr']:g}, loss {record['loss_first']:.2f} to {record['loss_last']:.2f})"
        )
    if shots := record.get("shots", 0):
        parts.append(f"{shots} solved example{'s' * (shots > 1)} before every prompt")
    return (
        f"Warm-up of {path} before the first round: {' and '.join(parts)}, from "
        f"{record['problems']} problems that no round uses (seed {record['seed']}); held-out "
        f"accuracy after it {record['heldout_accuracy']:.1%} of {record['heldout_problems']} "
        "problems."
    )
