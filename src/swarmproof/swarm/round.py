"""One round of decentralised GRPO, top to bottom.

The same code in the simulation of a swarm and in a node that talks to others: only the exchange,
and which nodes are played here, differ.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice

from swarmproof.attacks import Attack
from swarmproof.config import TrialConfig
from swarmproof.exchange import Channel, wire
from swarmproof.exchange.admission import admit
from swarmproof.randomness import generator
from swarmproof.swarm import evaluation, topology
from swarmproof.swarm.node import Adversary, Assignment, Cohort
from swarmproof.tasks import Task
from swarmproof.types import Completion, Group, Problem, Refusal, RoundRecord, Sample, UpdateStats


@dataclass(frozen=True, slots=True)
class Swarm:
    """Everybody who takes part, and what they share: data, task, topology, exchange."""

    config: TrialConfig
    run_seed: int
    task: Task
    attack: Attack  # names the success measure even where nobody is malicious
    train: Sequence[Problem]
    heldout: Sequence[Problem]
    # Of `train`, what malicious nodes of a vertical swarm choose from; None: they do not choose.
    pickable: Sequence[Problem] | None
    cohorts: tuple[Cohort, ...]
    adversary: Adversary | None
    channel: Channel

    def assign(self, round: int) -> tuple[Assignment, dict[str, Problem]]:
        """The slots of every node in a round, and the problems that they are about."""
        batch, swarm = self.config.batch, self.config.swarm
        picked = draw_problems(self.train, self.run_seed, round, batch.problems)
        if swarm.topology == "horizontal":
            ids = [problem.id for problem in picked]
            slots = topology.horizontal(round, ids, batch.group_size, swarm.nodes)
        else:
            if self.adversary is not None and self.pickable is not None:
                # Malicious nodes are the last ones, and so are their shares of the problems.
                own = len(self.adversary.nodes) * batch.problems // swarm.nodes
                picked[-own:] = pick_problems(self.pickable, picked, self.run_seed, round, own)
            dealt = topology.deal([problem.id for problem in picked], swarm.nodes)
            slots = topology.vertical(round, dealt, batch.group_size)
        return slots, {problem.id: problem for problem in picked}


@dataclass(slots=True)
class Stopwatch:
    """Wall seconds by step; kept apart from the records, which hold no clock."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a round was for one cohort."""

    record: RoundRecord
    samples: list[Sample]
    seconds: Mapping[str, float]


def play_round(swarm: Swarm, round: int) -> list[Outcome]:
    """Play one round; every cohort learns from everybody's completions.

    Returns:
        one outcome for each cohort.
    """
    watches = {cohort.name: Stopwatch() for cohort in swarm.cohorts}
    assignment, problems = swarm.assign(round)
    heldout = {}
    for cohort in swarm.cohorts:
        watch = watches[cohort.name]
        if _is_evaluated(round, swarm.config):
            with watch.step("evaluate"):
                heldout[cohort.name] = evaluation.evaluate(
                    cohort, swarm.task, swarm.attack, swarm.heldout, round
                )
        with watch.step("produce"):
            publish(swarm.channel, round, cohort.produce(assignment, problems))
    if swarm.adversary is not None:
        with watches[swarm.cohorts[0].name].step("attack"):  # whose model it holds
            publish(swarm.channel, round, swarm.adversary.produce(round, assignment, problems))

    payloads = swarm.channel.gather(round)
    outcomes = []
    for cohort in swarm.cohorts:
        watch = watches[cohort.name]
        with watch.step("gather"):
            groups, refusals = gather(cohort, payloads, assignment, problems, round)
        with watch.step("learn"):
            samples, stats, useful = cohort.learn(groups, swarm.config.grpo, round)
        record = _record(
            swarm,
            cohort,
            problems,
            round,
            samples,
            refusals,
            stats,
            useful,
            heldout.get(cohort.name),
        )
        outcomes.append(Outcome(record, samples, watch.seconds))
    return outcomes


def draw_problems(train: Sequence[Problem], run_seed: int, round: int, count: int) -> list[Problem]:
    """The problems of a round, all distinct: a share of a fresh shuffle in every epoch.

    What is left over at the end of an epoch, less than a round needs, is left out of it.

    Raises:
        ValueError: there are fewer problems than a round needs.
    """
    if len(train) < count:
        raise ValueError(
            f"batch.problems is {count}, and the task has only {len(train)} to train on"
        )
    epoch, share = divmod(round, len(train) // count)
    order = generator(run_seed, "problems", epoch).permutation(len(train))
    return [train[i] for i in order[share * count : (share + 1) * count]]


def pick_problems(
    pickable: Sequence[Problem], dealt: Sequence[Problem], run_seed: int, round: int, count: int
) -> list[Problem]:
    """The problems that the adversary picks for itself, none of which another node has.

    Args:
        pickable: at least as many as the whole swarm has problems in a round.
        dealt: the problems of this round before the choice; the adversary's are the last `count`.
    """
    taken = {problem.id for problem in dealt[:-count]}
    order = generator(run_seed, "picks", round).permutation(len(pickable))
    free = (pickable[i] for i in order if pickable[i].id not in taken)
    return list(islice(free, count))


def publish(channel: Channel, round: int, produced: Mapping[int, Sequence[Completion]]) -> None:
    """Send every node's completions."""
    for node, completions in produced.items():
        channel.publish(round, node, wire.encode(round, completions))


def gather(
    cohort: Cohort,
    payloads: Mapping[int, bytes],
    assignment: Assignment,
    problems: Mapping[str, Problem],
    round: int,
) -> tuple[list[Group], list[Refusal]]:
    """From everybody's bytes to groups of well-formed completions, and refusals of the rest."""
    limit = cohort.policy.sampling.max_new_tokens
    claims: list[Completion] = []
    refusals: list[Refusal] = []
    for node, payload in payloads.items():
        found, refused = wire.decode(
            payload, node=node, round=round, slots=assignment.get(node, ()), max_new_tokens=limit
        )
        claims += found
        refusals += refused
    admitted, refused = admit([as_read_by(cohort, claim) for claim in claims], cohort.policy)
    by_problem: dict[str, list[Completion]] = {problem_id: [] for problem_id in problems}
    for completion in sorted(admitted, key=lambda c: c.slot):
        by_problem[completion.slot.problem_id].append(completion)
    groups = [Group(problems[id], tuple(found)) for id, found in by_problem.items() if found]
    return groups, refusals + refused


def as_read_by(cohort: Cohort, claim: Completion) -> Completion:
    """A completion without its token ids where they are those of another model's vocabulary."""
    return replace(claim, token_ids=None) if claim.node in cohort.foreign else claim


def _is_evaluated(round: int, config: TrialConfig) -> bool:
    return round % config.evaluation.every == 0 or round + 1 == config.rounds


def _record(
    swarm: Swarm,
    cohort: Cohort,
    problems: Mapping[str, Problem],
    round: int,
    samples: Sequence[Sample],
    refusals: Sequence[Refusal],
    stats: UpdateStats,
    useful: int,
    heldout: evaluation.Heldout | None,
) -> RoundRecord:
    malicious = swarm.adversary.nodes if swarm.adversary is not None else ()
    poisoned = [s for s in samples if s.completion.node in malicious]
    honest = [s for s in samples if s.completion.node not in malicious]
    own = [s for s in honest if s.completion.node in cohort.nodes]
    pairs = [(problems[s.completion.slot.problem_id], s.completion.text) for s in own]
    num_own = max(1, len(own))
    unseen = heldout.success if heldout else evaluation.Success(None, None)
    success = (
        evaluation.attack_success(swarm.attack, pairs)
        if swarm.attack.measure == "completions"
        else unseen
    )
    num_honest, honest_refused = evaluation.refusal_counts(honest)
    num_poisoned, poisoned_refused = evaluation.refusal_counts(poisoned)
    return RoundRecord(
        round=round,
        cohort=cohort.name,
        asr=success.asr,
        reward=sum(s.reward for s in own) / num_own,
        length=sum(len(s.tokens) for s in own) / num_own,
        heldout_asr=unseen.asr,
        heldout_accuracy=heldout.accuracy if heldout else None,
        poisoned=num_poisoned,
        poisoned_refused=poisoned_refused,
        honest=num_honest,
        honest_refused=honest_refused,
        by_defense=evaluation.by_defense(honest, poisoned),
        malformed=len(refusals),
        groups_learned=useful,
        loss=stats.loss,
        grad_norm=stats.grad_norm,
        kl=stats.kl,
        generated_tokens=sum(len(s.tokens) for s in own),
        learned_tokens=stats.tokens,
        asr_wide=success.wide,
        heldout_asr_wide=unseen.wide,
    )
