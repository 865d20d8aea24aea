"""A trial's checkpoint: weights, optimiser, what guards remember, and the lengths of the streams.

One file, replaced in one step; no pickle. A trial that resumes from it writes the same bytes as one
that was never interrupted (ADR 0007).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swarmproof.swarm.round import Swarm

CHECKPOINT = "checkpoint.safetensors"
_GUARD = "guard"  # what the defences of a cohort remember


def rounds_done(folder: Path) -> int:
    """How many rounds of a trial its checkpoint has; 0 without one.

    Raises:
        ValueError: the checkpoint is damaged.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / CHECKPOINT
    if not path.exists():
        return 0
    try:
        with safe_open(path, "numpy") as file:
            return int((file.metadata() or {})["done"])
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{path} is damaged ({error}); delete {folder} to start anew") from None


def save(folder: Path, swarm: Swarm, done: int, offsets: Mapping[str, int]) -> None:
    """Weights, optimiser, what the guards remember and the lengths of the streams, in one step."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {
        f"{cohort.name}/{name}": tensor.contiguous()
        for cohort in swarm.cohorts
        for name, tensor in cohort.policy.learner.state().items()
    }
    for cohort in swarm.cohorts:
        told = json.dumps(cohort.guard.state_dict(), sort_keys=True).encode()
        tensors[f"{cohort.name}/{_GUARD}"] = torch.frombuffer(bytearray(told), dtype=torch.uint8)
    metadata = {"done": str(done)} | {f"offset:{k}": str(v) for k, v in offsets.items()}
    path = folder / CHECKPOINT
    part = path.with_suffix(".part")
    try:
        save_file(tensors, part, metadata)
    except SafetensorError as error:  # what the system said, a full disk say, is only in its text
        code = re.search(r"os error (\d+)", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from None
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)


def restore(folder: Path, swarm: Swarm) -> tuple[int, dict[str, int] | None]:
    """Load the checkpoint, if there is one: rounds done, and the lengths of the streams."""
    from safetensors import SafetensorError, safe_open

    path = folder / CHECKPOINT
    if not path.exists():
        return 0, None
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        done = int(metadata["done"])
        for cohort in swarm.cohorts:
            prefix = f"{cohort.name}/"
            told = bytes(tensors.pop(prefix + _GUARD).numpy())
            cohort.guard.load_state_dict(json.loads(told))
            cohort.policy.learner.restore(
                {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            )
    except (SafetensorError, KeyError) as error:  # KeyError: a file of something else
        raise ValueError(f"{path} is damaged ({error}); delete {folder} and resume") from None
    offsets = {
        k.removeprefix("offset:"): int(v) for k, v in metadata.items() if k.startswith("offset:")
    }
    return done, offsets
