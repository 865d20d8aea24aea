"""Trials in parallel on one machine, each in a process of its own with one thread.

This module knows how a trial is started, followed and stopped, not what it computes. Every child
has one two-way pipe. The trial and its events are sent through it. When the parent dies, however
that happens, the pipe closes and the child exits. Each child has its own pipe instead of a shared
queue: a child that is killed during a write would leave the queue locked for all others.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from swarmproof.engines.endings import Stopped, TrialCrashedError, name, stopped_by
from swarmproof.engines.events import Event, Finished, OnEvent, RoundDone, Started

if TYPE_CHECKING:
    from swarmproof.swarm.trial import Trial
    from swarmproof.types import RoundRecord

OnRound = Callable[["RoundRecord", float], None]

_SECONDS_TO_STOP = 5.0
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class RunTrial(Protocol):
    """The work of a child. Importable by name, because it is sent to another process."""

    def __call__(self, trial: Trial, *, resume: bool, on_round: OnRound) -> None: ...


def default_jobs(num_trials: int, num_cores: int | None = None) -> int:
    """The number of trials to run at once.

    One for each core. If there are fewer than twice as many trials as cores, all run at once: with
    two cores, two trials and then a third would leave one core idle for half of the time, but three
    time-sliced trials end together. Four run two at a time, in half of the memory.
    """
    cores = num_cores or cores_granted()
    return num_trials if num_trials < 2 * cores else cores


def run_trials(
    trials: Sequence[Trial],
    *,
    jobs: int | None = None,
    resume: bool,
    on_event: OnEvent,
    run_trial: RunTrial | None = None,
) -> None:
    """Run all trials. Events arrive in this thread, in order within a trial.

    Args:
        jobs: number of processes at once; `default_jobs` if None.
        resume: continue from the checkpoints in the trials' folders.
        run_trial: `swarm.trial.run_trial` if None.

    Raises:
        ValueError, OSError: raised by a trial; the others were stopped.
        ChildProcessError: a trial was killed, most likely because memory ran out.
        TrialCrashedError: a bug in a trial.
    """
    waiting = deque(trials)
    running: list[_Child] = []
    slots = default_jobs(len(trials)) if jobs is None else jobs
    try:
        while waiting or running:
            while waiting and len(running) < slots:
                trial = waiting.popleft()
                running.append(_Child(trial, resume, run_trial))
                on_event(Started(trial))
            ready = wait([child.connection for child in running])
            for child in [child for child in running if child.connection in ready]:
                event = child.next_event()
                on_event(event)
                if isinstance(event, Finished):
                    child.process.join()
                    running.remove(child)
    finally:
        _stop(running)


class _Child:
    """The parent's side of one trial."""

    def __init__(self, trial: Trial, resume: bool, run_trial: RunTrial | None) -> None:
        context = multiprocessing.get_context("spawn")
        self.trial = trial
        self.connection, theirs = context.Pipe(duplex=True)
        self.process: SpawnProcess = context.Process(
            target=_child, args=(theirs,), name=name(trial), daemon=True
        )
        # Ctrl-C reaches the whole process group. It is blocked before the start, because a child
        # inherits this: the parent decides what is stopped, and no child prints a traceback.
        old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, old)
        theirs.close()
        # If the child is already gone, `next_event` notices the closed pipe.
        with contextlib.suppress(BrokenPipeError):
            # Sent, not passed as an argument: unpickling the arguments imports torch, before the
            # child can set its number of threads.
            self.connection.send((trial, resume, run_trial))

    def next_event(self) -> Event:
        try:
            event: Event | Stopped = self.connection.recv()
        except (EOFError, OSError):  # OSError: it died during a write
            self.process.join()
            raise self._death() from None
        if isinstance(event, Stopped):
            raise event.as_error(self.trial)
        return event

    def _death(self) -> Exception:
        code = self.process.exitcode or 0
        if code < 0:
            return ChildProcessError(
                f"{name(self.trial)} was killed by {signal.Signals(-code).name}, perhaps because "
                "memory ran out; run again with --resume, and with --jobs 1 to need less memory"
            )
        return TrialCrashedError(f"{name(self.trial)} ended with exit code {code} and no message")


def _stop(children: Sequence[_Child]) -> None:
    for child in children:
        child.process.terminate()
    for child in children:
        child.process.join(_SECONDS_TO_STOP)
        if child.process.is_alive():
            child.process.kill()
            child.process.join()
        child.connection.close()


def _child(connection: Connection[Any, Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    with _Report(connection) as report:
        trial, resume, run_trial = connection.recv()
        threading.Thread(target=_leave_with_parent, args=(connection,), daemon=True).start()
        work: RunTrial = run_trial or _import_run_trial()
        work(
            trial,
            resume=resume,
            on_round=lambda record, seconds: connection.send(RoundDone(trial, record, seconds)),
        )
        report.last = Finished(trial)


def _import_run_trial() -> RunTrial:
    from swarmproof.swarm.trial import run_trial

    return run_trial


class _Report:
    """Tells the parent how the trial ended, in every case."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self._connection = connection
        self.last: Finished | None = None

    def __enter__(self) -> _Report:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        # The parent may be gone.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._connection.send(stopped_by(error) if error else self.last)
        return True


def _leave_with_parent(connection: Connection[Any, Any]) -> None:
    # The parent sends only once, so this returns only when its end of the pipe is closed.
    with contextlib.suppress(EOFError, OSError):
        connection.recv()
    os._exit(1)


def cores_granted() -> int:
    # A container or taskset may grant fewer cores than the machine has.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
