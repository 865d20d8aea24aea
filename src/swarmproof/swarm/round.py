"""One round of decentralised GRPO, top to bottom.

The same code is used in the simulation of a swarm and in a process that runs one node. Only the
exchange and the set of local nodes differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swarmproof.attacks import Attack
from swarmproof.config import TrialConfig
from swarmproof.exchange import Channel, wire
from swarmproof.exchange.admission import admit
from swarmproof.guard.inspection import Inspection
from swarmproof.swarm import assignment, evaluation
from swarmproof.swarm.assignment import Assignment
from swarmproof.swarm.node import Adversary, Cohort, as_read_by
from swarmproof.swarm.stopwatch import Stopwatch
from swarmproof.tasks import Task
from swarmproof.types import Completion, Group, NodeId, Problem, Refusal, RoundRecord, UpdateStats


@dataclass(frozen=True, slots=True)
class Swarm:
    """All participants, and what they share: data, task, topology, exchange."""

    config: TrialConfig
    run_seed: int
    run_id: str
    fingerprints: Mapping[str, str]  # of data and models, by a name for the reader
    task: Task
    attack: Attack  # defines the success measure, even if no node is malicious
    train: Mapping[str, Problem]
    heldout: Sequence[Problem]
    malicious: frozenset[NodeId]
    # Cohorts with nodes in this process, or with the model that a local adversary follows.
    cohorts: tuple[Cohort, ...]
    adversary: Adversary | None  # where a malicious node is played here
    local: frozenset[NodeId]  # the nodes that this process runs
    channel: Channel
    deadline: float  # seconds to wait for the messages of a round
    warmups: Mapping[str, Mapping[str, Any]]  # model path -> the record of its warm-up

    def deal(self, round: int) -> Assignment:
        """The assignment of a round before any node picks."""
        train = list(self.train.values())
        return assignment.deal(train, self.run_seed, round, self.config.swarm, self.config.batch)


@dataclass(frozen=True, slots=True)
class RoundOutcome:
    """The results of a round for one cohort."""

    record: RoundRecord
    found: Inspection
    watch: Stopwatch


@dataclass(frozen=True, slots=True)
class Arrived:
    """The messages of a round, after the checks that are the same for every receiver."""

    assignment: Assignment
    claims: Sequence[Completion]
    refusals: Sequence[Refusal]
    absent: Mapping[NodeId, str]


def play_round(swarm: Swarm, round: int) -> list[RoundOutcome]:
    """Run one round; every cohort learns from the completions of all nodes.

    Returns:
        one outcome for each cohort.
    """
    watches = {cohort.name: Stopwatch() for cohort in swarm.cohorts}
    dealt = swarm.deal(round)
    heldout = {}
    seen: list[Completion] = []
    for cohort in swarm.cohorts:
        watch = watches[cohort.name]
        if _is_evaluated(round, swarm.config):
            with watch.step("evaluate"):
                heldout[cohort.name] = evaluation.evaluate(
                    cohort, swarm.task, swarm.attack, swarm.heldout, round
                )
        with watch.step("produce"):
            produced = cohort.produce(dealt, swarm.local)
            publish(swarm, cohort, round, produced)
        seen += (completion for row in produced.values() for completion in row)
    if swarm.adversary is not None:
        with watches[swarm.cohorts[0].name].step("attack"):  # whose model it holds
            picks = swarm.adversary.picks(dealt)
            chosen, _ = assignment.with_picks(dealt, picks, swarm.train)
            publish(swarm, swarm.cohorts[0], round, swarm.adversary.produce(chosen, seen), picks)

    arrived = gather(swarm, dealt)
    outcomes = []
    for cohort in swarm.cohorts:
        watch = watches[cohort.name]
        with watch.step("admit"):
            groups, refusals = admitted(cohort, arrived)
        found, stats = cohort.learn(groups, arrived.assignment, watch)
        record = _record(
            swarm, cohort, arrived, found, [*arrived.refusals, *refusals], stats,
            heldout.get(cohort.name),
        )  # fmt: skip
        outcomes.append(RoundOutcome(record, found, watch))
    return outcomes


def publish(
    swarm: Swarm,
    cohort: Cohort,
    round: int,
    produced: Mapping[NodeId, Sequence[Completion]],
    picks: Mapping[NodeId, Sequence[str]] | None = None,
) -> None:
    """Send every local node's completions, and the problems that it picked, if any.

    `cohort` is the one whose model drew them, or would have drawn them for an adversary.
    """
    for node, completions in produced.items():
        if node in swarm.local:
            picked = (picks or {}).get(node)
            payload = wire.encode(round, completions, run_id=swarm.run_id, picks=picked)
            swarm.channel.describe(
                round, node, slots=len(completions), weights=cohort.policy.learner.fingerprint
            )
            swarm.channel.publish(round, node, payload)


def gather(swarm: Swarm, dealt: Assignment) -> Arrived:
    """Convert all nodes' bytes to claims on slots, and refusals of malformed ones."""
    max_new_tokens = swarm.config.sampling.max_new_tokens
    gathered = swarm.channel.gather(dealt.round, tuple(dealt.slots), swarm.deadline)
    opened: dict[NodeId, wire.Opened] = {}
    refusals: list[Refusal] = []
    for node, payload in gathered.payloads.items():
        message = wire.open_message(
            payload,
            node=node,
            round=dealt.round,
            run_id=swarm.run_id,
            limit=wire.max_bytes(len(dealt.slots.get(node, ())), max_new_tokens),
        )
        if isinstance(message, Refusal):
            refusals.append(message)
        else:
            opened[node] = message
    picks = {node: message.picks for node, message in opened.items() if message.picks is not None}
    chosen, refused = assignment.with_picks(dealt, picks, swarm.train)
    refusals += refused
    out = {refusal.node for refusal in refused}
    claims: list[Completion] = []
    for node, message in opened.items():
        if node not in out:
            found, refused = wire.match(message, chosen.slots.get(node, ()), max_new_tokens)
            claims += found
            refusals += refused
    return Arrived(chosen, claims, refusals, gathered.absent)


def admitted(cohort: Cohort, arrived: Arrived) -> tuple[list[Group], list[Refusal]]:
    """Convert claims to groups of completions that this cohort can read; refuse the rest."""
    policy, problems = cohort.policy, arrived.assignment.problems
    claims = [as_read_by(cohort, claim) for claim in arrived.claims]
    completions, refusals = admit(claims, policy.codec, policy.sampling.max_new_tokens)
    by_problem: dict[str, list[Completion]] = {problem_id: [] for problem_id in problems}
    for completion in sorted(completions, key=lambda c: c.slot):
        by_problem[completion.slot.problem_id].append(completion)
    groups = [cohort.group(problems[id], found) for id, found in by_problem.items() if found]
    return groups, refusals


def _is_evaluated(round: int, config: TrialConfig) -> bool:
    return round % config.evaluation.every == 0 or round + 1 == config.rounds


def _record(
    swarm: Swarm,
    cohort: Cohort,
    arrived: Arrived,
    found: Inspection,
    refusals: Sequence[Refusal],
    stats: UpdateStats,
    heldout: evaluation.Heldout | None,
) -> RoundRecord:
    sent = evaluation.by_sender(found, swarm.malicious, cohort.nodes)
    num_own, own_tokens = max(1, len(sent.own)), sum(len(s.tokens) for s in sent.own)
    num_honest, honest_refused = evaluation.refusal_counts(sent.honest)
    num_poisoned, poisoned_refused = evaluation.refusal_counts(sent.poisoned)
    unseen = heldout.success if heldout else evaluation.Success(None, None)
    success = unseen
    if swarm.attack.measure == "completions":
        success = evaluation.attack_success(swarm.attack, sent.own_pairs)
    return RoundRecord(
        round=arrived.assignment.round,
        cohort=cohort.name,
        asr=success.asr,
        asr_wide=success.wide,
        reward=sum(s.reward for s in sent.own) / num_own,
        length=own_tokens / num_own,
        heldout_asr=unseen.asr,
        heldout_asr_wide=unseen.wide,
        heldout_accuracy=heldout.accuracy if heldout else None,
        poisoned=num_poisoned,
        poisoned_refused=poisoned_refused,
        honest=num_honest,
        honest_refused=honest_refused,
        by_defense=evaluation.by_defense(sent.honest, sent.poisoned),
        by_node=evaluation.by_node(tuple(arrived.assignment.slots), found, refusals),
        absent={str(node): why for node, why in arrived.absent.items()},
        refusals=[evaluation.refusal_row(refusal) for refusal in refusals],
        malformed=len(refusals),
        groups_learned=found.num_useful,
        loss=stats.loss,
        grad_norm=stats.grad_norm,
        kl=stats.kl,
        generated_tokens=own_tokens,
        learned_tokens=stats.tokens,
    )
