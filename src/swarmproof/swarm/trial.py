"""One trial: an arm of an experiment with one seed. Rounds, checkpoints, resume.

Knows no engine: the package `engines` decides where trials run and how many at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from swarmproof.config import TrialConfig
from swarmproof.swarm import checkpoint, identity, warmup
from swarmproof.swarm.allocator import keep_freed_memory
from swarmproof.swarm.assembly import assemble
from swarmproof.types import NodeId, RoundRecord


@dataclass(frozen=True, slots=True)
class Trial:
    """One arm with one seed.

    `local`: the nodes that this process runs, if other processes run the rest; None: all of them.
    `beside`: the folders of these other processes, where all must start from the same fingerprints.
    """

    experiment: str
    arm: str
    seed: int
    config: TrialConfig
    folder: Path
    local: tuple[NodeId, ...] | None = None
    beside: tuple[Path, ...] = ()


def run_trial(
    trial: Trial,
    *,
    resume: bool,
    on_round: Callable[[RoundRecord, float], None] = lambda *_: None,
) -> None:
    """Run a trial to its last round, writing into its folder as it goes.

    Args:
        trial: the trial to run.
        resume: continue from the last checkpoint; the records are then the same bytes as without
            the interruption. A finished trial is not changed.
        on_round: called after each round with the record of each cohort, and the round's seconds.

    Raises:
        ValueError: the config, the data or the model is wrong.
        OSError: the folder cannot be written; files written before stay valid.
    """
    for record, seconds in play_trial(trial, resume=resume):
        on_round(record, seconds)


def play_trial(trial: Trial, *, resume: bool) -> Iterator[tuple[RoundRecord, float]]:
    """`run_trial` as an iterator over the arguments of `on_round`; closing it stops the trial."""
    import torch

    from swarmproof.records.streams import TrialWriter
    from swarmproof.swarm.round import play_round

    # Sums are split by thread, so repeatable results need a fixed number of threads.
    torch.set_num_threads(1)
    keep_freed_memory()
    # Left by a process that was killed while it wrote a checkpoint or the fingerprints.
    for stray in (*trial.folder.glob(".tmp*"), *trial.folder.glob(".*.tmp")):
        stray.unlink()
    swarm = assemble(trial.config, trial.seed, trial.local)
    start, offsets = checkpoint.restore(trial.folder, swarm) if resume else (0, None)
    identity.remember(trial.folder, swarm.fingerprints, resume=resume)
    identity.require_shared(trial.folder, trial.beside, swarm.fingerprints)
    warmup.remember(trial.folder, swarm.warmups)
    if offsets is None:
        (trial.folder / checkpoint.CHECKPOINT).unlink(missing_ok=True)
    several = len(trial.config.cohorts) > 1
    with (
        closing(swarm.channel),
        TrialWriter(trial.folder, offsets, malicious=swarm.malicious, by_cohort=several) as writer,
    ):
        for round in range(start, trial.config.rounds):
            began = time.perf_counter()
            outcomes = play_round(swarm, round)
            for outcome in outcomes:
                watch = outcome.watch
                writer.write(outcome.record, outcome.found, watch.seconds, watch.cpu)
            done = round + 1
            if done % trial.config.checkpoint_every == 0 or done == trial.config.rounds:
                checkpoint.save(trial.folder, swarm, done, writer.flush())
            for outcome in outcomes:
                yield outcome.record, time.perf_counter() - began
