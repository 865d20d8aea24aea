"""Trials as tasks of a Ray cluster, of one machine or many. Needs the extra `ray`.

This module knows how a trial is sent, followed, stopped, and sent again after its node was lost. It
does not know what a trial computes. All machines must share the folders of the trials. The task,
which is in `on_ray_task.py`, checks that they do.

Ray's own retries are switched off. A task is a generator, and the driver receives its values while
it runs. When Ray retries a generator, it drops as many values as the first attempt yielded, because
it expects the same values again. An attempt that resumes from a checkpoint yields fewer values, so
Ray would drop new ones. Therefore the driver sends the trial again itself.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import socket
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from swarmproof.engines import on_ray_task
from swarmproof.engines.endings import Stopped, name
from swarmproof.engines.events import Finished, OnEvent, Restarted, RoundDone, Started
from swarmproof.engines.local import cores_granted
from swarmproof.engines.on_ray_task import Begun, Done, Play, Round, Said

if TYPE_CHECKING:
    from swarmproof.config import TrialConfig
    from swarmproof.swarm.trial import Trial

LOSSES = 4  # of a trial, without a new round in between, after which the run stops

_SECONDS_TO_ANSWER = 10.0
_OBJECT_STORE_BYTES = 100 * 2**20  # near Ray's minimum; nothing large goes through it
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # For a cluster that is started here. By default, Ray's workers have a low priority, and on a
    # busy machine a trial would hardly start.
    "RAY_worker_niceness": "0",
    # Ray would print about dead workers into the progress display. `Restarted` reports these.
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
}


def require(address: str | None) -> None:
    """Check in seconds whether Ray can be used. Ray's own attempt takes minutes to fail.

    Raises:
        ValueError: Ray is not installed, the address is malformed, or nothing answers there.
    """
    if importlib.util.find_spec("ray") is None:
        raise ValueError("--engine ray needs Ray: pip install 'swarmproof[ray]'")
    if address is None:
        return
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isdecimal()) or "/" in address:
        raise ValueError(
            f"--address {address!r}: give HOST:PORT, as printed by `ray start --head`; "
            "this machine must be a node of that cluster"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_ANSWER).close()
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"no Ray cluster answers at {address} ({error}); give the address that "
            "`ray start --head` printed, or omit --address to use only this machine"
        ) from None


@contextmanager
def connected(address: str | None = None) -> Iterator[None]:
    """Connect to a cluster. Without an address, start one on this machine and stop it at the end.

    Args:
        address: HOST:PORT of the head node. This machine must be a node of that cluster.

    Raises:
        ValueError: Ray is not installed, or the cluster cannot be reached.
    """
    require(address)
    ray = _ray()
    own = {
        "address": "local",
        "num_cpus": cores_granted(),
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE_BYTES,
    }
    where = own if address is None else {"address": address}
    try:
        ray.init(**where, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"cannot use the Ray cluster at {where['address']}: {reason}") from None
    try:
        yield
    finally:
        ray.shutdown()


def run_trials(
    trials: Sequence[Trial],
    *,
    jobs: int | None = None,
    resume: bool,
    on_event: OnEvent,
    play: Play | None = None,
) -> None:
    """Run all trials, within `connected`. Events arrive in this thread.

    A trial takes one CPU, and one GPU if its model or the judge of a defence is on one. If its node
    is lost, it continues on another node from its last checkpoint. The rounds that it repeats give
    no second event.

    Args:
        jobs: number of trials handed to Ray at once; all if None, and Ray runs as many as fit.
        resume: continue from the checkpoints in the trials' folders.
        play: `swarm.trial.play_trial` if None; importable by name.

    Raises:
        ValueError, OSError: raised by a trial; the others were stopped.
        ValueError: no node is large enough, or the nodes do not share the trials' folders.
        ChildProcessError: a trial was lost `LOSSES` times without a new round, or the node of this
            machine died.
        TrialCrashedError: a bug in a trial.
    """
    ray = _ray()
    waiting = deque(_Follower(trial, gpus(trial.config), fresh=not resume) for trial in trials)
    for needed in {follower.gpus for follower in waiting}:
        _require_node(needed)
    # A process for each trial, as in the local engine: no state passes from one to the next.
    task = ray.remote(num_cpus=1, max_retries=0, max_calls=1)(on_ray_task.attempt)
    slots = len(trials) if jobs is None else jobs
    running: dict[Any, _Follower] = {}
    try:
        while waiting or running:
            while waiting and len(running) < slots:
                follower = waiting.popleft()
                running[follower.send(task, play)] = follower
            (stream,), _ = ray.wait(list(running), num_returns=1, fetch_local=False)
            # Moved to the end of the queue, so that no trial keeps the others waiting.
            follower = running[stream] = running.pop(stream)
            state = follower.hear(_next(stream), on_event)
            if state != "running":
                del running[stream]
            if state == "lost":
                waiting.appendleft(follower)
    finally:
        for stream in running:
            ray.cancel(stream, force=True)


def room(trials: Sequence[Trial]) -> int:
    """The number of trials that fit on the connected cluster at once, at least one."""
    total = _ray().cluster_resources()
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


@dataclass(slots=True)
class _Follower:
    """The driver's side of one trial, across all attempts."""

    trial: Trial
    gpus: int
    fresh: bool  # a checkpoint in the folder would be from an earlier run
    started: bool = False
    latest: dict[str, int] = field(default_factory=dict)  # last reported round, by cohort
    losses: int = 0

    def send(self, task: Any, play: Play | None) -> Any:
        """Start an attempt; returns the stream of its messages."""
        folder = self.trial.folder.absolute()
        token = uuid4().hex
        folder.mkdir(parents=True, exist_ok=True)
        (folder / on_ray_task.LOCK).write_text(token)
        trial = replace(self.trial, folder=folder)
        return task.options(num_gpus=self.gpus).remote(
            trial, self.fresh, token, str(Path.cwd()), play
        )

    def hear(self, said: Said | str, on_event: OnEvent) -> Literal["running", "lost", "done"]:
        """Pass on a message of the attempt, or the reason for which it was lost."""
        match said:
            case Done():
                on_event(Finished(self.trial))
                return "done"
            case Stopped():
                raise said.as_error(self.trial)
            case str():
                self.lose(said, on_event)
                return "lost"
            case _:
                self.tell(said, on_event)
                return "running"

    def tell(self, said: Begun | Round, on_event: OnEvent) -> None:
        if isinstance(said, Begun):
            self.fresh = False
            if not self.started:
                self.started = True
                on_event(Started(self.trial))
        elif said.record.round > self.latest.get(said.record.cohort, -1):
            self.latest[said.record.cohort] = said.record.round
            self.losses = 0
            on_event(RoundDone(self.trial, said.record, said.seconds))

    def lose(self, reason: str, on_event: OnEvent) -> None:
        self.losses += 1
        if self.losses == LOSSES:
            raise ChildProcessError(
                f"{name(self.trial)} was lost {LOSSES} times without a new round ({reason}); "
                "run again with --resume, perhaps on nodes with more memory"
            )
        on_event(Restarted(self.trial, reason))


def _next(stream: Any) -> Said | str:
    """The next message of a trial; if it was lost, the reason as a string of one line."""
    ray = _ray()
    try:
        said: Said = ray.get(next(stream))
    except StopIteration:
        return "it ended without a message"
    except ray.exceptions.RayTaskError as error:
        # The task catches its own errors. This one came earlier: swarmproof is missing there.
        return Stopped(None, str(error))
    except ray.exceptions.LocalRayletDiedError:
        raise ChildProcessError(
            "the Ray node of this machine died, and ended the run; start the node again, and "
            "continue with --resume"
        ) from None
    except ray.exceptions.RayError as error:
        return _first_sentence(error)
    return said


def _first_sentence(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text.partition(". ")[0].rstrip(".")


def _require_node(num_gpus: int) -> None:
    """Ray would wait for a missing node forever, and print nothing."""
    nodes = [node["Resources"] for node in _ray().nodes() if node["Alive"]]
    if not any(node.get("CPU", 0) >= 1 and node.get("GPU", 0) >= num_gpus for node in nodes):
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


def _ray() -> Any:
    # Ray reads these when it is imported.
    for key, value in _ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    return importlib.import_module("ray")
