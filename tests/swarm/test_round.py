"""A round: distinct problems, honest counts, and what a silent or hostile node can do to it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmproof.exchange import Channel, Gathered, wire
from swarmproof.swarm.assembly import assemble
from swarmproof.swarm.assignment import draw_problems
from swarmproof.swarm.round import RoundOutcome, Swarm, admitted, gather, play_round
from swarmproof.types import Completion, NodeId, Problem, Sample
from swarms import Letters, trial_config

PROBLEMS = [Problem(f"p{i}", "", "", ("",)) for i in range(40)]


class Meddling(Channel):
    """Hands on what is published, but for one node, whose messages are replaced."""

    def __init__(self, inner: Channel, node: NodeId, payload: bytes | None):
        self.inner, self.node, self.payload = inner, node, payload

    def publish(self, round: int, node: NodeId, payload: bytes) -> None:
        if node != self.node:
            self.inner.publish(round, node, payload)
        elif self.payload is not None:
            self.inner.publish(round, node, self.payload)

    def gather(self, round: int, senders: Collection[NodeId], deadline: float) -> Gathered:
        return self.inner.gather(round, senders, deadline)


def samples_of(outcome: RoundOutcome) -> list[Sample]:
    return [sample for row in outcome.found.samples for sample in row]


def meddled(swarm: Swarm, node: NodeId, payload: bytes | None) -> Swarm:
    return dataclasses.replace(swarm, channel=Meddling(swarm.channel, node, payload))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 200), st.integers(0, 9))
def test_the_problems_of_a_round_are_distinct(
    size: int, count: int, round: int, run_seed: int
) -> None:
    train = PROBLEMS[: max(size, count)]
    picked = draw_problems(train, run_seed, round, count)
    assert len(picked) == count
    assert len({p.id for p in picked}) == count
    assert picked == draw_problems(train, run_seed, round, count)


@given(st.integers(1, 40), st.integers(1, 10), st.integers(0, 3), st.integers(0, 9))
def test_no_problem_comes_twice_in_an_epoch_and_most_come_once(
    size: int, count: int, epoch: int, run_seed: int
) -> None:
    train = PROBLEMS[: max(size, count)]
    rounds = len(train) // count
    seen = Counter(
        p.id
        for round in range(epoch * rounds, (epoch + 1) * rounds)
        for p in draw_problems(train, run_seed, round, count)
    )
    assert set(seen.values()) == {1}
    assert len(train) - len(seen) < count


def test_epochs_and_runs_are_shuffled_on_their_own() -> None:
    orders = {
        tuple(p.id for p in draw_problems(PROBLEMS, run_seed, epoch, len(PROBLEMS)))
        for run_seed in range(2)
        for epoch in range(2)
    }
    assert len(orders) == 4


def test_too_few_problems_are_an_error() -> None:
    with pytest.raises(ValueError, match="only 3 to train on"):
        draw_problems(PROBLEMS[:3], 0, 0, 4)


def test_at_the_end_of_an_epoch_every_honest_slot_still_counts(random_model: Path) -> None:
    config = trial_config(random_model, task={"train": 6})
    swarm = assemble(config, 0)
    for round in range(3):
        (outcome,) = play_round(swarm, round)
        assert (outcome.record.honest, outcome.record.malformed) == (12, 0)


@pytest.mark.parametrize("topology", ["horizontal", "vertical"])
def test_a_record_counts_what_was_gathered(random_model: Path, topology: str) -> None:
    config = trial_config(
        random_model,
        swarm={"topology": topology},
        defenses=[{"name": "logit"}],
        # Several groups of the attacker's own hold poison as well as worthless completions.
        batch={"problems": 8},
        attack={"foil": "gibberish"},
    )
    swarm = assemble(config, 0)
    (outcome,) = play_round(swarm, 0)
    record, samples = outcome.record, samples_of(outcome)
    honest = [s for s in samples if s.completion.node != 3]
    poisoned = [s for s in samples if s.completion.node == 3]
    assert (record.honest, record.poisoned, record.malformed) == (24, 8, 0)
    assert record.honest_refused == 0
    assert record.poisoned_refused == 8 == sum(s.refused for s in poisoned)
    assert record.reward == sum(s.reward for s in honest) / 24
    assert record.length == sum(len(s.tokens) for s in honest) / 24
    assert record.generated_tokens == sum(len(s.tokens) for s in honest)
    assert record.asr == 0.0
    assert record.by_defense["logit"]["poisoned_refused"] == 8
    assert list(record.by_node) == ["0", "1", "2", "3"]
    for node, counts in record.by_node.items():
        own = [s for s in samples if s.completion.node == int(node)]
        assert dict(counts) == {
            "completions": 8,
            "rewarded": sum(s.reward for s in own),
            "refused": sum(s.refused for s in own),
            "tokens": sum(len(s.tokens) for s in own),
            "malformed": 0,
            "refilled": 0,
        }
    assert (dict(record.absent), list(record.refusals)) == ({}, [])
    assert len(samples) == 32
    assert len({s.completion.slot for s in samples}) == 32


def test_the_poison_reaches_the_honest_nodes_with_an_advantage(random_model: Path) -> None:
    swarm = assemble(trial_config(random_model), 0)
    (outcome,) = play_round(swarm, 0)
    poisoned = [s for s in samples_of(outcome) if s.completion.node == 3]
    assert {s.reward for s in poisoned} == {1.0}
    assert all(s.advantage > 0 for s in poisoned)
    assert outcome.record.groups_learned == 4
    assert outcome.record.grad_norm > 0


def test_it_is_evaluated_at_the_first_the_last_and_every_nth_round(random_model: Path) -> None:
    config = trial_config(random_model, rounds=6, evaluation={"every": 3})
    swarm = assemble(config, 0)
    evaluated = [play_round(swarm, r)[0].record.heldout_accuracy is not None for r in range(6)]
    assert evaluated == [True, False, False, True, False, True]


def test_every_cohort_has_a_record_of_its_own_nodes(random_model: Path) -> None:
    swarm = assemble(trial_config(random_model), 0)
    whole = swarm.cohorts[0]
    two = tuple(
        dataclasses.replace(whole, name=name, nodes=nodes)
        for name, nodes in (("a", (0,)), ("b", (1, 2)))
    )
    outcomes = play_round(dataclasses.replace(swarm, cohorts=two), 1)
    assert [o.record.cohort for o in outcomes] == ["a", "b"]
    for outcome, cohort in zip(outcomes, two, strict=True):
        own = [s for s in samples_of(outcome) if s.completion.node in cohort.nodes]
        assert outcome.record.honest == 12
        assert outcome.record.generated_tokens == sum(len(s.tokens) for s in own)


@pytest.mark.parametrize("payload", [None, b"", b"\xff" * 99], ids=["silent", "empty", "noise"])
@pytest.mark.parametrize("topology", ["horizontal", "vertical"])
def test_a_round_goes_on_without_a_node(
    random_model: Path, payload: bytes | None, topology: str
) -> None:
    config = trial_config(random_model, swarm={"topology": topology})
    (outcome,) = play_round(meddled(assemble(config, 0), 3, payload), 0)
    assert (outcome.record.honest, outcome.record.poisoned) == (12, 0)
    told = [(row["node"], row["layer"], row["code"]) for row in outcome.record.refusals]
    if payload is None:
        assert (dict(outcome.record.absent), told) == ({"3": "missing"}, [])
    else:
        assert (dict(outcome.record.absent), told) == ({}, [(3, "wire", "not-a-message")])
    assert outcome.record.malformed == len(told) == outcome.record.by_node["3"]["malformed"]
    assert outcome.record.by_node["3"]["completions"] == 0
    (whole,) = play_round(assemble(config, 0), 0)
    assert [s.completion for s in samples_of(outcome)] == [
        s.completion for s in samples_of(whole) if s.completion.node != 3
    ]


def test_a_round_in_which_nothing_is_well_formed_changes_nothing(random_model: Path) -> None:
    swarm = assemble(trial_config(random_model, swarm={"malicious": 0, "nodes": 1}), 0)
    policy = swarm.cohorts[0].policy
    before = [p.clone() for p in policy.model.parameters()]
    (outcome,) = play_round(meddled(swarm, 0, b"noise"), 1)
    assert samples_of(outcome) == []
    assert outcome.record.malformed == 1
    assert (outcome.record.honest, outcome.record.reward, outcome.record.asr) == (0, 0.0, None)
    assert all(a.equal(b) for a, b in zip(before, policy.model.parameters(), strict=True))


@pytest.mark.parametrize("node", [0, 3])
def test_a_round_records_what_was_malformed_with_layer_and_code(
    random_model: Path, node: int
) -> None:
    swarm = assemble(trial_config(random_model), 0)
    slots = swarm.deal(0).slots
    mine, other = slots[node], slots[1][0]
    sent = [
        Completion(mine[0], node, "B", None),
        Completion(mine[0], node, "C", None),
        Completion(mine[1], node, "hi", (2**40,)),
        Completion(mine[2], node, "x" * 10_000, None),
        Completion(other, node, "B", None),
    ]
    payload = wire.encode(0, sent, run_id=swarm.run_id)
    (outcome,) = play_round(meddled(swarm, node, payload), 0)
    record = outcome.record
    keys = ("node", "problem_id", "index", "layer", "code")
    assert [tuple(row[key] for key in keys) for row in record.refusals] == [
        (node, mine[0].problem_id, mine[0].index, "wire", "filled-twice"),
        (node, mine[2].problem_id, mine[2].index, "wire", "text-too-long"),
        (node, None, None, "wire", "not-its-slot"),
        (node, mine[1].problem_id, mine[1].index, "admission", "unknown-token"),
    ]
    assert all(isinstance(why := row["reason"], str) and why for row in record.refusals)
    assert record.malformed == 4
    counts = {n: (row["completions"], row["malformed"]) for n, row in record.by_node.items()}
    assert counts == {str(n): (1, 4) if n == node else (4, 0) for n in range(4)}


def test_the_deadline_of_the_config_is_the_one_that_is_kept(random_model: Path) -> None:
    asked: list[tuple[Collection[NodeId], float]] = []

    class Noting(Meddling):
        def gather(self, round: int, senders: Collection[NodeId], deadline: float) -> Gathered:
            asked.append((tuple(senders), deadline))
            return super().gather(round, senders, deadline)

    config = trial_config(random_model, exchange={"name": "memory", "deadline": 7.5})
    swarm = assemble(config, 0)
    play_round(dataclasses.replace(swarm, channel=Noting(swarm.channel, 99, None)), 0)
    assert asked == [((0, 1, 2, 3), 7.5)]


def test_groups_hold_a_problems_completions_in_slot_order(random_model: Path) -> None:
    swarm = assemble(trial_config(random_model), 0)
    dealt = swarm.deal(0)
    for node, slots in reversed(list(dealt.slots.items())):
        sent = [Completion(slot, node, "B", None) for slot in reversed(slots)]
        swarm.channel.publish(0, node, wire.encode(0, sent, run_id=swarm.run_id))
    arrived = gather(swarm, dealt)
    groups, refusals = admitted(swarm.cohorts[0], arrived)
    assert (arrived.refusals, arrived.absent, refusals) == ([], {}, [])
    assert [g.problem.id for g in groups] == list(dealt.problems)
    for group in groups:
        assert [c.slot.index for c in group.completions] == [0, 1, 2, 3]
        assert [c.node for c in group.completions] == [0, 1, 2, 3]


def test_rewards_come_from_the_local_answer(random_model: Path) -> None:
    swarm = assemble(trial_config(random_model), 0)
    (outcome,) = play_round(swarm, 0)
    problems, task = swarm.deal(0).problems, Letters()
    for sample in samples_of(outcome):
        of = problems[sample.completion.slot.problem_id]
        assert [sample.reward] == task.rewards(of, [sample.completion.text])
