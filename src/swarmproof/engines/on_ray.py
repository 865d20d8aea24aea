"""Trials as tasks of a Ray cluster, of one machine or many. Needs the extra `ray`.

Knows how a trial is sent, followed, stopped, and sent again when its node is lost; not what it
computes. All machines must share the folders of the trials, and the task checks that they do
(`on_ray_task.py`, which is what runs there).

Ray itself retries nothing here. A task is a generator, and what it yields reaches the driver while
it runs; of a retried one Ray drops as many values as came before, as if both attempts yielded the
same, while an attempt that goes on from a checkpoint yields less. So the driver sends it again.
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
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from swarmproof.engines import on_ray_task
from swarmproof.engines.endings import Stopped, name
from swarmproof.engines.events import Finished, OnEvent, Restarted, RoundDone, Started
from swarmproof.engines.local import cores_granted
from swarmproof.engines.on_ray_task import Begun, Done, Play, Round, Said

if TYPE_CHECKING:
    from swarmproof.config import TrialConfig
    from swarmproof.swarm.trial import Trial

LOSSES = 4  # of a trial in a row, without a new round between them

_SECONDS_TO_ANSWER = 10.0
_OBJECT_STORE_BYTES = 100 * 2**20  # near the least that Ray takes; nothing large goes through it
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Of a cluster that is started here: by default Ray's workers stand back for all else that runs
    # on the machine, and where it is busy a trial would hardly begin.
    "RAY_worker_niceness": "0",
    # Ray prints what it thinks of a dead worker into the progress. `Restarted` tells it.
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
}


def require(address: str | None) -> None:
    """Find what would stop a run on Ray, in seconds: Ray's own attempt takes minutes to fail.

    Raises:
        ValueError: Ray is not installed, the address is none, or nothing answers there.
    """
    if importlib.util.find_spec("ray") is None:
        raise ValueError("--engine ray needs Ray: pip install 'swarmproof[ray]'")
    if address is None:
        return
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isdecimal()) or "/" in address:
        raise ValueError(
            f"--address {address!r}: give HOST:PORT, as `ray start --head` prints it; "
            "this machine must be a node of that cluster"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_ANSWER).close()
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"no Ray cluster answers at {address} ({error}); give the address that "
            "`ray start --head` printed, or leave out --address to use this machine alone"
        ) from None


@contextmanager
def connected(address: str | None = None) -> Iterator[None]:
    """A connection to a cluster; without an address, to one of this machine that ends with it.

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
    """Run every trial to its end within `connected`; events arrive in this thread.

    A trial takes one CPU, and one GPU if its model or the judge of a defence is on one. One that
    is lost with its node goes on elsewhere from its last checkpoint; of what it plays again no
    event is told twice.

    Args:
        jobs: trials handed to Ray at once; all if None, and Ray runs as many as fit.
        resume: go on from the checkpoints in the trials' folders.
        play: `experiment.play_trial` if None; importable by name.

    Raises:
        ValueError, OSError: what a trial raised, under the same kind; the others were stopped.
        ValueError: no node is large enough, or the nodes do not share the trials' folders.
        ChildProcessError: a trial was lost `LOSSES` times without getting any further, or the
            node of this machine died.
        TrialCrashedError: a bug in a trial.
    """
    ray = _ray()
    waiting = deque(_Follower(trial, gpus(trial.config), fresh=not resume) for trial in trials)
    for needed in {follower.gpus for follower in waiting}:
        _require_node(needed)
    # A process for each trial, as with the local engine: nothing of one is left to the next.
    task = ray.remote(num_cpus=1, max_retries=0, max_calls=1)(on_ray_task.attempt)
    slots = len(trials) if jobs is None else jobs
    running: dict[Any, _Follower] = {}
    try:
        while waiting or running:
            while waiting and len(running) < slots:
                follower = waiting.popleft()
                running[follower.send(task, play)] = follower
            (stream,), _ = ray.wait(list(running), num_returns=1, fetch_local=False)
            # To the end of the line, so that no trial is kept from being heard by another.
            follower = running.pop(stream)
            match _next(stream):
                case Done():
                    on_event(Finished(follower.trial))
                case Begun() | Round() as said:
                    running[stream] = follower
                    follower.tell(said, on_event)
                case Stopped() as stopped:
                    raise stopped.as_error(follower.trial)
                case str() as reason:
                    follower.lose(reason, on_event)
                    waiting.appendleft(follower)
    finally:
        for stream in running:
            ray.cancel(stream, force=True)


def room(trials: Sequence[Trial]) -> int:
    """How many of the trials fit on the connected cluster at once, at least one."""
    total = _ray().cluster_resources()
    on_gpu = any(gpus(trial.config) for trial in trials)
    fit = min(total.get("CPU", 0), total.get("GPU", 0) if on_gpu else len(trials), len(trials))
    return max(1, int(fit))


def gpus(config: TrialConfig) -> int:
    """How many GPUs a trial takes: a whole one or none.

    Raises:
        ValueError: the config picks a GPU by its number, and Ray deals them.
    """
    devices = set(_devices(config.model_dump()))
    if numbered := sorted(device for device in devices if device.startswith("cuda:")):
        raise ValueError(
            f"a device is {numbered[0]!r}, and with --engine ray each trial sees one GPU, which "
            "Ray picks: set it to 'cuda'"
        )
    return int("cuda" in devices)


@dataclass(slots=True)
class _Follower:
    """The driver's side of one trial, over all its attempts."""

    trial: Trial
    gpus: int
    fresh: bool  # the checkpoint that may lie in the folder is not of this run
    started: bool = False
    latest: dict[str, int] = field(default_factory=dict)  # the last round told, of each cohort
    losses: int = 0

    def send(self, task: Any, play: Play | None) -> Any:
        """Start an attempt; the stream of what it says."""
        folder = self.trial.folder.absolute()
        token = uuid4().hex
        folder.mkdir(parents=True, exist_ok=True)
        (folder / on_ray_task.LOCK).write_text(token)
        trial = replace(self.trial, folder=folder)
        return task.options(num_gpus=self.gpus).remote(
            trial, self.fresh, token, str(Path.cwd()), play
        )

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
                f"{name(self.trial)} was lost {LOSSES} times and got no further ({reason}); "
                "run again with --resume, perhaps on nodes with more memory"
            )
        on_event(Restarted(self.trial, reason))


def _next(stream: Any) -> Said | str:
    """What a trial says next, or, as a string of one line, how it was lost."""
    ray = _ray()
    try:
        said: Said = ray.get(next(stream))
    except StopIteration:
        return "it ended without a word"
    except ray.exceptions.RayTaskError as error:
        # The task keeps its own errors, so this one came before it: swarmproof is missing there.
        return Stopped(None, str(error))
    except ray.exceptions.LocalRayletDiedError:
        raise ChildProcessError(
            "the Ray node of this machine died, and the run with it; start it again, and go on "
            "with --resume"
        ) from None
    except ray.exceptions.RayError as error:
        return _first_sentence(error)
    return said


def _first_sentence(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text.partition(". ")[0].rstrip(".")


def _require_node(num_gpus: int) -> None:
    """One that is not there would be waited for without a word."""
    nodes = [node["Resources"] for node in _ray().nodes() if node["Alive"]]
    if not any(node.get("CPU", 0) >= 1 and node.get("GPU", 0) >= num_gpus for node in nodes):
        what = "a CPU and a GPU" if num_gpus else "a CPU"
        raise ValueError(
            f"no node of the Ray cluster has {what} for a trial; add one"
            + (", or set the device of the model (and of a judge) to cpu" if num_gpus else "")
        )


def _devices(table: Any) -> Iterator[str]:
    """Every value of a key `device`, however deep."""
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
    # Read when Ray is imported.
    for key, value in _ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    return importlib.import_module("ray")
