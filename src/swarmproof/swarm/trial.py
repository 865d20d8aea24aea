"""One trial: an arm of an experiment with one seed. Rounds, checkpoints, resume.

Knows no engine: who runs trials, where and how many at once, is in `engines`.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, cast

from swarmproof import registry
from swarmproof.attacks import Attack
from swarmproof.config import TrialConfig
from swarmproof.defenses import Defense
from swarmproof.exchange import Exchange
from swarmproof.swarm.allocator import keep_freed_memory
from swarmproof.tasks import Task
from swarmproof.types import Problem, RoundRecord, withheld
from swarmproof.zoo import hub
from swarmproof.zoo.locate import locate

if TYPE_CHECKING:
    from swarmproof.swarm.round import Swarm

CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True, slots=True)
class Trial:
    """What one process computes."""

    experiment: str
    arm: str
    seed: int
    config: TrialConfig
    folder: Path


@dataclass(frozen=True, slots=True)
class _Parts:
    """The plug-ins that a config names."""

    task: Task
    attack: Attack
    defenses: tuple[Defense, ...]
    exchange: Exchange


def _parts(config: TrialConfig) -> _Parts:
    return _Parts(
        cast(Task, registry.build("task", config.task)),
        cast(Attack, registry.build("attack", config.attack)),
        tuple(cast(Defense, registry.build("defense", table)) for table in config.defenses),
        cast(Exchange, registry.build("exchange", config.exchange)),
    )


def _heldout(config: TrialConfig, parts: _Parts) -> Sequence[Problem]:
    """The first held-out problems to which the attack applies, also where nobody attacks."""
    apply = (p for p in parts.task.problems("test") if parts.attack.applies(p))
    return tuple(islice(apply, config.evaluation.problems))


def _pickable(config: TrialConfig, parts: _Parts) -> Sequence[Problem] | None:
    """The problems that malicious nodes choose from; None where they take what they are dealt."""
    if config.swarm.topology != "vertical" or not config.swarm.malicious:
        return None
    train = parts.task.problems("train")
    attack = parts.attack
    picks = tuple(p for p in train if attack.picks(p if attack.oracle else withheld(p)))
    return None if len(picks) == len(train) else picks


def check(config: TrialConfig) -> None:
    """Find what would stop a trial, before any is started. Loads data, and no model.

    Of several models it loads the tokenizers, as they must be able to read one another.

    Raises:
        ValueError: one line with the remedy.
    """
    parts = _parts(config)
    if config.swarm.topology not in parts.attack.topologies:
        raise ValueError(
            f"the attack {parts.attack.name!r} works in {', '.join(parts.attack.topologies)} "
            f"swarms, and swarm.topology is {config.swarm.topology!r}"
            + (f": {parts.attack.only_because}" if parts.attack.only_because else "")
        )
    parts.attack.require(parts.task)
    for defense in parts.defenses:
        defense.require()
    count = len(parts.task.problems("train"))
    if count < config.batch.problems:
        raise ValueError(
            f"batch.problems is {config.batch.problems}, and the task has only {count} to train on"
        )
    if not _heldout(config, parts):
        raise ValueError(
            f"the task has no held-out problems to which the attack {parts.attack.name!r} applies"
        )
    picks = _pickable(config, parts)
    if picks is not None and len(picks) < config.batch.problems:
        raise ValueError(
            f"the attack {parts.attack.name!r} can use {len(picks)} of the task's problems, and "
            f"batch.problems is {config.batch.problems}; use fewer, or a task with more of them"
        )
    paths = [members.path for members in config.cohorts]
    for path in paths:
        locate(path, config.models_key)
    if len(paths) > 1:
        for path in paths:
            hub.reach(path, config.models_key)
        from swarmproof.policies import sharing

        sharing.require(paths, parts.task, config.sampling.max_new_tokens)


def run_trial(
    trial: Trial,
    *,
    resume: bool,
    on_round: Callable[[RoundRecord, float], None] = lambda *_: None,
) -> None:
    """Run a trial to its last round, writing into its folder as it goes.

    Args:
        trial: what to run.
        resume: go on from the last checkpoint; the records are then the same bytes as without the
            interruption. A finished trial is left as it is.
        on_round: called after each round with the record of each cohort, and the round's seconds.

    Raises:
        ValueError: the config, the data or the model is wrong.
        OSError: the folder cannot be written; what was written before stays valid.
    """
    for record, seconds in play_trial(trial, resume=resume):
        on_round(record, seconds)


def play_trial(trial: Trial, *, resume: bool) -> Iterator[tuple[RoundRecord, float]]:
    """`run_trial` as an iterator over what it tells `on_round`; closed early, it stops there."""
    import torch

    from swarmproof.records.streams import TrialWriter
    from swarmproof.swarm.round import play_round

    # Sums are split by thread, so the number of threads is part of what makes a run repeatable.
    torch.set_num_threads(1)
    keep_freed_memory()
    for stray in trial.folder.glob(".tmp*"):  # of a process killed while it wrote a checkpoint
        stray.unlink()
    swarm = assemble(trial.config, trial.seed)
    start, offsets = _restore(trial, swarm) if resume else (0, None)
    if offsets is None:
        (trial.folder / CHECKPOINT).unlink(missing_ok=True)
    malicious = frozenset(swarm.adversary.nodes if swarm.adversary is not None else ())
    several = len(swarm.cohorts) > 1
    with TrialWriter(trial.folder, offsets, malicious=malicious, by_cohort=several) as writer:
        for round in range(start, trial.config.rounds):
            began = time.perf_counter()
            outcomes = play_round(swarm, round)
            for outcome in outcomes:
                writer.write(outcome.record, outcome.samples, outcome.seconds)
            done = round + 1
            if done % trial.config.checkpoint_every == 0 or done == trial.config.rounds:
                _checkpoint(trial, swarm, done, writer.flush())
            for outcome in outcomes:
                yield outcome.record, time.perf_counter() - began


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


def assemble(config: TrialConfig, run_seed: int) -> Swarm:
    """Build the swarm of a trial, with freshly loaded models."""
    from swarmproof.policies.policy import Policy
    from swarmproof.swarm.node import Adversary, Cohort
    from swarmproof.swarm.round import Swarm

    parts = _parts(config)
    dealt = config.cohorts
    cohorts = tuple(
        Cohort(
            members.name,
            members.nodes,
            Policy(
                config.model.model_copy(update={"path": members.path}), config.grpo, config.sampling
            ),
            parts.task,
            parts.defenses,
            run_seed,
            # Of what another model wrote only the text is used. What malicious nodes say that
            # they run is up to them, so it is a model of their own.
            foreign=frozenset(range(config.swarm.nodes)) - {*members.nodes}
            if len(dealt) > 1
            else frozenset(),
        )
        for members in dealt
    )
    num_honest = config.swarm.nodes - config.swarm.malicious
    malicious = tuple(range(num_honest, config.swarm.nodes))
    adversary = Adversary(
        malicious,
        parts.attack,
        parts.task,
        cohorts[0].policy,
        config.swarm.topology,
        config.swarm.nodes,
        run_seed,
    )
    return Swarm(
        config=config,
        run_seed=run_seed,
        task=parts.task,
        attack=parts.attack,
        train=parts.task.problems("train"),
        heldout=_heldout(config, parts),
        pickable=_pickable(config, parts),
        cohorts=cohorts,
        adversary=adversary if malicious else None,
        channel=parts.exchange.connect(),
    )


def _checkpoint(trial: Trial, swarm: Swarm, done: int, offsets: dict[str, int]) -> None:
    """Weights, optimiser and the lengths of the streams in one file, replaced in one step."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {
        f"{cohort.name}/{name}": tensor.contiguous()
        for cohort in swarm.cohorts
        for name, tensor in cohort.policy.state().items()
    }
    metadata = {"done": str(done)} | {f"offset:{k}": str(v) for k, v in offsets.items()}
    path = trial.folder / CHECKPOINT
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


def _restore(trial: Trial, swarm: Swarm) -> tuple[int, dict[str, int] | None]:
    """Load the checkpoint, if there is one: rounds done, and the lengths of the streams."""
    from safetensors import SafetensorError, safe_open

    path = trial.folder / CHECKPOINT
    if not path.exists():
        return 0, None
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        done = int(metadata["done"])
        for cohort in swarm.cohorts:
            prefix = f"{cohort.name}/"
            cohort.policy.restore(
                {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            )
    except (SafetensorError, KeyError) as error:  # KeyError: a file of something else
        raise ValueError(f"{path} is damaged ({error}); delete {trial.folder} and resume") from None
    offsets = {
        k.removeprefix("offset:"): int(v) for k, v in metadata.items() if k.startswith("offset:")
    }
    return done, offsets
