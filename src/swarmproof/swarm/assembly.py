"""Builds a swarm from a config: plug-ins, data, models, guards, an exchange."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from swarmproof import registry
from swarmproof.attacks import Attack
from swarmproof.config import TrialConfig
from swarmproof.config.cohorts import Members
from swarmproof.defenses import Defense
from swarmproof.defenses.base import Setting
from swarmproof.exchange import Exchange, Session, wire
from swarmproof.guard.guard import Guard
from swarmproof.policies import DrawEngine
from swarmproof.policies.shapes import shape_of
from swarmproof.swarm import context, identity, needs, warmup
from swarmproof.tasks import Task
from swarmproof.types import NodeId, Problem, withheld
from swarmproof.zoo import hub
from swarmproof.zoo.locate import require_whole

if TYPE_CHECKING:
    from swarmproof.swarm.node import Adversary, Cohort
    from swarmproof.swarm.round import Swarm


@dataclass(frozen=True, slots=True)
class _Parts:
    """The plug-ins that a config names."""

    task: Task
    attack: Attack
    defenses: tuple[Defense, ...]
    exchange: Exchange
    engine: DrawEngine


def _parts(config: TrialConfig) -> _Parts:
    return _Parts(
        warmup.task_of(config),
        registry.build(Attack, config.attack),
        tuple(registry.build(Defense, table) for table in config.defenses),
        registry.build(Exchange, config.exchange),
        registry.build(DrawEngine, config.generator),
    )


def _heldout(config: TrialConfig, parts: _Parts) -> Sequence[Problem]:
    """The first held-out problems to which the attack applies, also in arms without an attacker."""
    apply = (p for p in parts.task.problems("test") if parts.attack.applies(p))
    return tuple(islice(apply, config.evaluation.problems))


def _pickable(config: TrialConfig, parts: _Parts) -> Sequence[Problem] | None:
    """The problems that malicious nodes choose from; None if they keep the assigned ones."""
    swarm = config.swarm
    if swarm.topology != "vertical" or not swarm.malicious or swarm.problems == "dealt":
        return None
    train = warmup.split(config, parts.task.problems("train"))
    attack = parts.attack
    picks = tuple(p for p in train if attack.picks(p if attack.oracle else withheld(p)))
    return None if len(picks) == len(train) else picks


def check(config: TrialConfig) -> None:
    """Find errors that would stop a trial, before any trial starts. Loads data, but no weights.

    It loads the tokenizers of several models, because each must be able to read the others' text.
    It loads the tokenizer of a single model only if a prompt may be longer than its context.

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
    setting = Setting(
        nodes=config.swarm.nodes,
        models=len(config.cohorts),
        topology=config.swarm.topology,
        programs=parts.task.writes_programs,
    )
    for defense in parts.defenses:
        defense.require_in(setting)
        defense.require()
    parts.engine.require(config.model)
    count = len(parts.task.problems("train"))
    if count < config.batch.problems:
        raise ValueError(
            f"batch.problems is {config.batch.problems}, and the task has only {count} to train on"
        )
    warmup.split(config, parts.task.problems("train"))
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
        require_whole(path, config.models_key)
    for path in paths:
        hub.reach(path, config.models_key)
    for path in dict.fromkeys(paths):
        _require_positions(config, parts, path)
    if len(paths) > 1:
        from swarmproof.policies import sharing

        sharing.require(paths, parts.task, config.sampling.max_new_tokens)


def _require_positions(config: TrialConfig, parts: _Parts, path: str) -> None:
    """Raise ValueError unless all that a trial gives a model fits into its context."""
    task, key = parts.task, config.models_key
    prompted = [*task.problems("train"), *_heldout(config, parts)]
    if config.warmup.in_use:  # its accuracy asks problems to which the attack need not apply
        prompted += task.problems("test")[: config.evaluation.problems]
    context.require(path, task, prompted, config.sampling.max_new_tokens, key)
    context.require_taught(path, task, warmup.lessons(config, task), key)


def assemble(config: TrialConfig, run_seed: int, local: Collection[NodeId] | None = None) -> Swarm:
    """Build the swarm of a trial, with freshly loaded models.

    Args:
        config: config of the trial.
        run_seed: seed of the run.
        local: the nodes that run in this process; None: all.

    Raises:
        ValueError: a model cannot be loaded, an exchange cannot be opened, or `local` has a node
            that is not in the swarm.
    """
    from swarmproof.swarm.round import Swarm

    parts = _parts(config)
    nodes: tuple[NodeId, ...] = tuple(range(config.swarm.nodes))
    here = frozenset(nodes if local is None else local)
    if unknown := sorted(map(str, here - {*nodes})):
        raise ValueError(f"there is no node {unknown[0]}; the swarm has nodes 0 to {nodes[-1]}")
    malicious = _malicious(config)
    attacks_here = bool(here & {*malicious})
    warm = {
        path: warmup.warmed(config, path, parts.task)
        for path in (config.model_paths if config.warmup.in_use else ())
    }
    # A local adversary keeps the first model in step with the honest nodes. For that it needs the
    # same completions as they do.
    cohorts = tuple(
        _cohort(config, members, parts, run_seed, warm)
        for place, members in enumerate(config.cohorts)
        if here & {*members.nodes} or (attacks_here and place == 0)
    )
    # Computed after the models are loaded, because only then all files of a hub model are local.
    for judge in identity.judges(config):
        judge.fetch()
    warmed = {path: found.fingerprint for path, found in warm.items()}
    fingerprints = identity.fingerprints(config, parts.task, warmed)
    run = identity.run_id(config, run_seed, fingerprints, nonce=parts.exchange.nonce)
    adversary = _adversary(config, parts, cohorts[0], run_seed) if attacks_here else None
    return Swarm(
        config=config,
        run_seed=run_seed,
        run_id=run,
        fingerprints=fingerprints,
        warmups={path: found.record for path, found in warm.items()},
        task=parts.task,
        attack=parts.attack,
        train={p.id: p for p in warmup.split(config, parts.task.problems("train"))},
        heldout=_heldout(config, parts),
        malicious=frozenset(malicious),
        cohorts=cohorts,
        adversary=adversary,
        local=here,
        channel=parts.exchange.connect(Session(run, nodes, here, _max_bytes(config))),
        deadline=parts.exchange.deadline,
    )


def _malicious(config: TrialConfig) -> tuple[NodeId, ...]:
    """The last nodes, as many as the config says."""
    return tuple(range(config.swarm.nodes - config.swarm.malicious, config.swarm.nodes))


def _adversary(config: TrialConfig, parts: _Parts, follows: Cohort, run_seed: int) -> Adversary:
    """The malicious nodes, with the model of the cohort that they follow."""
    from swarmproof.swarm.node import Adversary

    return Adversary(
        _malicious(config),
        parts.attack,
        parts.task,
        follows.policy.reader(),
        _pickable(config, parts),
        config.swarm.topology,
        config.swarm.nodes,
        run_seed,
    )


def _max_bytes(config: TrialConfig) -> int:
    """The largest message that a node may send in a round."""
    num_slots = config.batch.problems * config.batch.group_size // config.swarm.nodes
    return wire.max_bytes(num_slots, config.sampling.max_new_tokens)


def _cohort(
    config: TrialConfig,
    members: Members,
    parts: _Parts,
    run_seed: int,
    warm: Mapping[str, warmup.Warmed],
) -> Cohort:
    """One cohort, with its own model and its own guard."""
    from swarmproof.policies import policy
    from swarmproof.swarm.node import Cohort

    path = warm[members.path].path if members.path in warm else members.path
    model = config.model.model_copy(update={"path": path})
    context.context_of(path, config.models_key)  # of a hub model, its config is here then
    needs.require_limit(config)
    shape = shape_of(path)
    room = None if shape is None else needs.room(config, shape)
    trained = policy.train(model, config.grpo, config.sampling, room, parts.engine)
    # Only the text of a completion by another model is used. Malicious nodes may claim any model,
    # so they count as running a model of their own.
    several = len(config.cohorts) > 1
    foreign = frozenset[NodeId](range(config.swarm.nodes)) - {*members.nodes}
    guard = Guard(
        parts.defenses,
        model=trained.reader(),
        sampling=config.sampling,
        on_reject=config.grpo.on_reject,
        seed=run_seed,
        scale_rewards=config.grpo.scale_rewards,
        foreign=foreign if several else frozenset(),
        foreign_teach=config.grpo.foreign,
        programs=parts.task.writes_programs,
        malicious=frozenset(_malicious(config)),
    )
    return Cohort(members.name, members.nodes, trained, parts.task, guard, run_seed)
