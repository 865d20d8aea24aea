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
import socket
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from swarmproof.engines import by_cohort, on_ray_task
from swarmproof.engines.endings import Stopped, name
from swarmproof.engines.events import Finished, OnEvent, Restarted, RoundDone, Started
from swarmproof.engines.local import cores_granted
from swarmproof.engines.on_ray_task import Begun, Done, Play, Round, Said
from swarmproof.engines.ray_nodes import gpus, load_ray, places, require_node

if TYPE_CHECKING:
    from swarmproof.swarm.trial import Trial

LOSSES = 4  # of a trial, without a new round in between, after which the run stops

_SECONDS_TO_ANSWER = 10.0
_OBJECT_STORE_BYTES = 100 * 2**20  # near Ray's minimum; nothing large goes through it


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
    ray = load_ray()
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

    A trial takes one CPU, and one GPU if its model or the judge of a defence is on one. A trial of
    several models takes as much for each of them, if the cluster has room for all cohorts of the
    trials at once; otherwise one process trains all. If a node is lost, what it did continues on
    another node from the last checkpoint. The rounds that are repeated give no second event.

    Args:
        jobs: number of trials handed to Ray at once; all if None, and Ray runs as many as fit.
        resume: continue from the checkpoints in the trials' folders.
        play: `swarm.trial.play_trial` if None; importable by name.

    Raises:
        ValueError, OSError: raised by a trial, or by its place: no node is large enough, or the
            nodes do not share the trials' folders. The other trials were stopped.
        ChildProcessError: a trial was lost `LOSSES` times without a new round, or the node of this
            machine died.
        TrialCrashedError: a bug in a trial.
    """
    slots = len(trials) if jobs is None else min(jobs, len(trials))
    waiting = deque(_Job.of(trial, slots, resume, on_event) for trial in trials)
    # A process for each trial, as in the local engine: no state passes from one to the next.
    task = load_ray().remote(num_cpus=1, max_retries=0, max_calls=1)(on_ray_task.attempt)
    _play(waiting, slots, lambda follower: follower.send(task, play))


def _play(waiting: deque[_Job], slots: int, send: Callable[[_Follower], Any]) -> None:
    """Run all jobs, `slots` at once. `send` starts a task, and returns the stream of messages."""
    ray = load_ray()
    working: list[_Job] = []
    running: dict[Any, tuple[_Job, _Follower]] = {}
    try:
        while waiting or working:
            while waiting and len(working) < slots:
                working.append(job := waiting.popleft())
                job.begin()
                running |= {send(follower): (job, follower) for follower in job.followers}
            (stream,), _ = ray.wait(list(running), num_returns=1, fetch_local=False)
            # Moved to the end of the queue, so that no trial keeps the others waiting.
            job, follower = running[stream] = running.pop(stream)
            state = follower.hear(_next(stream), job.on_event)
            if state == "running":
                continue
            del running[stream]
            if state == "lost":
                running[send(follower)] = (job, follower)
            elif all(of is not job for of, _ in running.values()):
                job.end()
                working.remove(job)
    finally:
        for stream in running:
            ray.cancel(stream, force=True)
        for job in working:
            job.end()


@dataclass(eq=False, slots=True)
class _Job:
    """The driver's side of a trial: one task, or one for each cohort."""

    trial: Trial
    fresh: bool
    followers: list[_Follower]
    on_event: OnEvent
    group: Any = None  # Ray's placement group, if there are several tasks

    @classmethod
    def of(cls, trial: Trial, slots: int, resume: bool, on_event: OnEvent) -> _Job:
        """Decide whether a trial is split.

        Args:
            slots: trials at once.
            resume: continue, in the same way as before.

        Raises:
            ValueError: no node has what the trial needs; or it was split before, and the cluster
                has no room for that now.
        """
        needed = gpus(trial.config)
        require_node(needed)
        parts = () if resume and by_cohort.is_whole(trial) else by_cohort.parts_of(trial)
        fits = slots * len(parts) <= places(needed)
        if parts and not fits and resume and by_cohort.is_begun(parts):
            raise ValueError(
                f"{name(trial)} was begun with a worker for each of its {len(parts)} models, and "
                "the cluster has no room for them now; add nodes, lower --jobs, or start anew "
                "without --resume"
            )
        if not (parts and fits):
            return cls(trial, not resume, [_Follower(trial, needed, not resume)], on_event)
        followers = [_Follower(part, needed, not resume) for part in parts]
        return cls(trial, not resume, followers, by_cohort.Joined(trial, parts, on_event))

    def begin(self) -> None:
        if self.fresh:
            by_cohort.discard(self.trial)
        if len(self.followers) == 1:
            return
        # The parts wait for one another, so all of them get their places, or none does.
        each = {"CPU": 1, "GPU": self.followers[0].gpus}
        bundles = [{what: count for what, count in each.items() if count}] * len(self.followers)
        self.group = load_ray().util.placement_group(bundles, strategy="SPREAD")
        strategies = importlib.import_module("ray.util.scheduling_strategies")
        for place, follower in enumerate(self.followers):
            follower.where = strategies.PlacementGroupSchedulingStrategy(
                self.group, placement_group_bundle_index=place
            )

    def end(self) -> None:
        if self.group is not None:
            load_ray().util.remove_placement_group(self.group)


@dataclass(slots=True)
class _Follower:
    """The driver's side of one task, across all attempts."""

    trial: Trial
    gpus: int
    fresh: bool  # a checkpoint in the folder would be from an earlier run
    where: Any = None  # Ray's scheduling strategy
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
        return task.options(num_gpus=self.gpus, scheduling_strategy=self.where).remote(
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
    ray = load_ray()
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
