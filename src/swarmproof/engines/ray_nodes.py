"""What a Ray cluster has, and what a trial needs of it. Needs the extra `ray`."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swarmproof.config import TrialConfig
    from swarmproof.swarm.trial import Trial

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # For a cluster that is started here. By default, Ray's workers have a low priority, and on a
    # busy machine a trial would hardly start.
    "RAY_worker_niceness": "0",
    # Ray would print about dead workers into the progress display. `Restarted` reports these.
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
}


def load_ray() -> Any:
    """The package, with the settings that a cluster of our own needs."""
    # Ray reads these when it is imported.
    for key, value in _ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    return importlib.import_module("ray")


def room(trials: Sequence[Trial]) -> int:
    """The number of trials that fit on the connected cluster at once, at least one."""
    total = load_ray().cluster_resources()
    on_gpu = any(gpus(trial.config) for trial in trials)
    fit = min(total.get("CPU", 0), total.get("GPU", 0) if on_gpu else len(trials), len(trials))
    return max(1, int(fit))


def gpus(config: TrialConfig) -> int:
    """The number of GPUs of a trial: 0 or 1.

    Raises:
        ValueError: the config picks a GPU by its number, but Ray assigns GPUs.
    """
    devices = set(_devices(config.model_dump()))
    if numbered := sorted(device for device in devices if device.startswith("cuda:")):
        raise ValueError(
            f"a device is {numbered[0]!r}, but with --engine ray each trial sees only the GPU that "
            "Ray picks; set the device to 'cuda'"
        )
    return int("cuda" in devices)


def places(num_gpus: int) -> int:
    """The number of tasks that fit on all nodes together."""
    nodes = [node["Resources"] for node in load_ray().nodes() if node["Alive"]]
    free = (min(n.get("CPU", 0), n.get("GPU", 0) if num_gpus else n.get("CPU", 0)) for n in nodes)
    return sum(map(int, free))


def require_node(num_gpus: int) -> None:
    """Ray would wait for a missing node forever, and print nothing."""
    if not places(num_gpus):
        what = "a CPU and a GPU" if num_gpus else "a CPU"
        raise ValueError(
            f"no node of the Ray cluster has {what} for a trial; add a node"
            + (", or set the device of the model (and of a judge) to cpu" if num_gpus else "")
        )


def _devices(table: Any) -> Iterator[str]:
    """The values of all keys `device`, at any depth."""
    if isinstance(table, Mapping):
        for key, value in table.items():
            if key == "device":
                yield str(value)
            else:
                yield from _devices(value)
    elif isinstance(table, list | tuple):
        for value in table:
            yield from _devices(value)
