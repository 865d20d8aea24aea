"""Trials in this process, one after another: no child, so plug-ins of a notebook are known.

Knows how the state of torch that a trial changes is put back; not what a trial computes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from swarmproof.engines.events import Finished, OnEvent, RoundDone, Started

if TYPE_CHECKING:
    from swarmproof.swarm.trial import Trial
    from swarmproof.types import RoundRecord


def run_trials(trials: Sequence[Trial], *, resume: bool, on_event: OnEvent) -> None:
    """Run every trial to its end in the calling thread.

    The records are the same bytes as those of a trial in a process of its own. torch's number of
    threads and its global random state are afterwards what they were before.

    Args:
        trials: run in this order.
        resume: continue from the checkpoints in the trials' folders.
        on_event: called in this thread.

    Raises:
        ValueError, OSError: what a trial raised; the trials after it are not started.
    """
    from swarmproof.swarm.trial import run_trial

    with torch_restored():
        for trial in trials:
            on_event(Started(trial))

            def tell(record: RoundRecord, seconds: float, trial: Trial = trial) -> None:
                on_event(RoundDone(trial, record, seconds))

            run_trial(trial, resume=resume, on_round=tell)
            on_event(Finished(trial))


@contextmanager
def torch_restored() -> Iterator[None]:
    """A context after which torch's number of threads and its random state are what they were."""
    import torch

    threads = torch.get_num_threads()
    try:
        # Only that of the CPU: to read that of a GPU would start the GPU.
        with torch.random.fork_rng(devices=()):
            yield
    finally:
        torch.set_num_threads(threads)
