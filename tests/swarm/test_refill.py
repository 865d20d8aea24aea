"""Refill: the weights are those of a run without an attack. Void: a node counts for nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from swarmproof import registry
from swarmproof.attacks import Attack
from swarmproof.attacks.base import AttackView
from swarmproof.attacks.search import near_draws
from swarmproof.config import TrialConfig, validate
from swarmproof.swarm.assembly import assemble, check
from swarmproof.swarm.round import RoundOutcome, Swarm, play_round
from swarmproof.types import Completion, NodeId, Problem, Slot
from swarms import trial_config

REPLAY = {"name": "replay", "on_reject": "refill"}
ROUNDS = 3
TOLERANCE = 0.5


class Tricks(Attack):
    """Sends what a receiver must not take as it is."""

    does: Literal[
        "edits",
        "withholds",
        "late",
        "foreign ids",
        "picks",
        "copies",
        "half late",
        "withholds unevenly",
        "near ties",
    ] = "edits"

    def craft(self, view: AttackView) -> list[Completion]:
        if self.does == "late":
            return []
        slots = [(node, slot) for node in view.nodes for slot in view.slots[node]]
        problems = view.problems
        assert view.policy is not None
        rows = view.policy.generator.generate(
            [view.task.prompt(problems[slot.problem_id]) for _, slot in slots],
            [[i] for i in range(len(slots))],
        )
        sent = [
            Completion(slot, node, view.policy.codec.decode([row])[0], row)
            for (node, slot), (row,) in zip(slots, rows, strict=True)
        ]
        match self.does:
            case "half late":
                return [c for c in sent if c.node == view.nodes[0]]
            case "withholds":
                return sent[::2]
            case "withholds unevenly":  # another number of draws for each problem
                return sent[:5]
            case "near ties":
                prompts = [view.task.prompt(problems[slot.problem_id]) for _, slot in slots]
                found = near_draws(
                    view.policy,
                    [view.policy.codec.encode_prompt(prompt) for prompt in prompts],
                    [[view.slot_seed(slot)] for _, slot in slots],
                    tolerance=TOLERANCE,
                    ties=2,
                    rng=view.rng,
                )
                return [
                    Completion(slot, node, view.policy.codec.decode([row])[0], row)
                    for (node, slot), (row,) in zip(slots, found, strict=True)
                ]
            case "foreign ids":
                return [Completion(c.slot, c.node, c.text, (10**9,)) for c in sent]
            case "copies":
                return [Completion(c.slot, c.node, sent[0].text, sent[0].token_ids) for c in sent]
        return sent

    def picks(self, problem: Problem) -> bool:
        return self.does != "picks" or problem.answer < "M"

    def success(self, problem: Problem, completion: str) -> bool | None:  # noqa: ARG002
        return False


@pytest.fixture(scope="module", autouse=True)
def _registered() -> Iterator[None]:
    registry.register("attack", "tricks")(Tricks)
    yield
    registry._registered["attack"].pop("tricks")


def config_of(
    model: Path,
    topology: str,
    does: str | None,
    defenses: Sequence[Mapping[str, Any]] = (REPLAY,),
    **more: Any,
) -> TrialConfig:
    return trial_config(
        model,
        **more,
        swarm={
            "topology": topology,
            "problems": "dealt",
            "malicious": 0 if does is None else 1,
        },
        batch={"problems": 8, "group_size": 8},
        attack={"name": "tricks", "does": does or "edits"},
        defenses=defenses,
    )


def played(
    config: TrialConfig, rounds: int = ROUNDS
) -> tuple[Swarm, list[RoundOutcome], list[str]]:
    swarm = assemble(config, 0)
    outcomes, weights = [], []
    for round in range(rounds):
        outcomes += play_round(swarm, round)
        digest = hashlib.sha256()
        for tensor in swarm.cohorts[0].policy.learner.state().values():
            digest.update(tensor.detach().numpy().tobytes())
        weights.append(digest.hexdigest())
    return swarm, outcomes, weights


@pytest.mark.parametrize("topology", ["horizontal", "vertical"])
def test_the_weights_are_those_of_a_swarm_in_which_nobody_is_malicious(
    random_model: Path, topology: str
) -> None:
    _, quiet, expected = played(config_of(random_model, topology, None))
    assert any(o.record.groups_learned for o in quiet)
    assert [sum(o.record.by_node["3"].values()) > 0 for o in quiet] == [True] * ROUNDS
    for does in ("edits", "withholds unevenly", "late", "foreign ids", "picks", "copies"):
        _, outcomes, weights = played(config_of(random_model, topology, does))
        assert weights == expected, does
        for outcome in outcomes:
            counts = outcome.record.by_node["3"]
            assert counts["refilled"] == 16, does
            assert outcome.record.honest_refused == 0
            assert outcome.record.poisoned == outcome.record.poisoned_refused
    # Without the defence the same attack leaves other weights.
    _, _, weights = played(config_of(random_model, topology, "edits", ()))
    assert weights[-1] != expected[-1]


@pytest.mark.parametrize("near_ties", ["redraw", "chance"])
def test_near_ties_that_are_redrawn_change_nothing_and_accuse_nobody(
    random_model: Path, near_ties: str
) -> None:
    """Honest nodes have none here: all compute in float32 on one machine."""
    rule = {**REPLAY, "tolerance": TOLERANCE, "flips": 0.9, "near_ties": near_ties}
    _, _, expected = played(config_of(random_model, "horizontal", None, (rule,)))
    _, outcomes, weights = played(config_of(random_model, "horizontal", "near ties", (rule,)))
    assert (weights == expected) is (near_ties == "redraw")
    for outcome in outcomes:
        record = outcome.record
        assert record.honest_refused == record.poisoned_refused == 0
        counts = record.by_defense["replay"]
        redrawn = record.by_node["3"]["refilled"]
        assert counts["poisoned_abstained"] == redrawn
        assert (redrawn > 0) is (near_ties == "redraw")
        assert counts["honest_abstained"] == 0
        marked = {
            s.completion.slot for s in outcome.found.replaced if any(v.redraw for v in s.verdicts)
        }
        assert len(marked) == redrawn
        for sample in (s for row in outcome.found.samples for s in row):
            assert sample.completion.refilled is (sample.completion.slot in marked)


def test_what_was_sent_stays_in_the_records_and_the_draw_is_marked(random_model: Path) -> None:
    _, outcomes, _ = played(config_of(random_model, "horizontal", "edits"), rounds=1)
    (outcome,) = outcomes
    found = outcome.found
    assert {s.completion.node for s in found.replaced} == {3}
    assert {s.kept for s in found.replaced} == {False}
    assert {s.loss_weight for s in found.replaced} == {0.0}
    drawn = [s for row in found.samples for s in row if s.completion.refilled]
    assert {s.completion.slot for s in drawn} == {s.completion.slot for s in found.replaced}
    assert outcome.record.by_defense["replay"]["poisoned_refused"] == 16
    assert outcome.record.by_defense["replay"]["honest"] == 48
    # The metrics are those of what the honest nodes sent.
    own = [s for row in found.samples for s in row if not s.completion.refilled]
    assert outcome.record.length == sum(len(s.tokens) for s in own) / len(own)


def taught(outcome: RoundOutcome) -> dict[Slot, tuple[float, float]]:
    """What has a gradient, and with which weight."""
    samples = [s for row in outcome.found.samples for s in row]
    return {
        s.completion.slot: (s.advantage, round(s.loss_weight, 12)) for s in samples if s.loss_weight
    }


@pytest.mark.parametrize("topology", ["horizontal", "vertical"])
@pytest.mark.parametrize("does", ["edits", "withholds", "late"])
def test_a_void_node_counts_for_nothing(random_model: Path, topology: str, does: str) -> None:
    void = {"name": "replay", "on_reject": "void_node"}
    _, outcomes, _ = played(config_of(random_model, topology, does, (void,)))
    _, absent, _ = played(config_of(random_model, topology, "late", (void,)))
    assert taught(outcomes[0]) == taught(absent[0])
    for outcome in outcomes:
        samples = [s for row in outcome.found.samples for s in row]
        assert {s.kept for s in samples if s.completion.node == 3} <= {False}
        assert {s.kept for s in samples if s.completion.node != 3} == {True}
        assert outcome.found.void == {3}


def test_a_late_node_and_a_refused_one_are_both_void(random_model: Path) -> None:
    """The first is known before the round is inspected, the second is found by it."""
    config = trial_config(
        random_model,
        swarm={"malicious": 2, "problems": "dealt"},
        batch={"problems": 8, "group_size": 8},
        attack={"name": "tricks", "does": "half late"},
        defenses=[{"name": "replay", "on_reject": "void_node"}],
    )
    _, (outcome,), _ = played(config, rounds=1)
    assert outcome.found.void == {2, 3}
    kept = {s.completion.node: s.kept for row in outcome.found.samples for s in row}
    assert kept == {0: True, 1: True, 2: False}


def test_where_every_node_is_void_nothing_is_learnt(random_model: Path) -> None:
    void = {"name": "max_tokens", "limit": 1, "on_reject": "void_node"}
    _, (outcome,), _ = played(config_of(random_model, "vertical", None, (void,)), rounds=1)
    assert outcome.found.void == {0, 1, 2, 3}
    assert not any(s.kept for row in outcome.found.samples for s in row)
    assert outcome.record.learned_tokens == 0


@pytest.mark.parametrize("rule", ["refill", "void_node"])
def test_a_default_that_no_defence_uses_does_nothing(random_model: Path, rule: str) -> None:
    """Else slots would be drawn without `replay`, or a preset would do what it does not say."""
    config = config_of(random_model, "horizontal", "withholds", (), grpo={"on_reject": rule})
    _, (outcome,), ours = played(config, rounds=1)
    _, _, theirs = played(config_of(random_model, "horizontal", "withholds", ()), rounds=1)
    assert ours == theirs
    assert outcome.record.by_node["3"].get("refilled", 0) == 0
    assert not outcome.found.void


def test_a_node_that_sends_all_is_not_void(random_model: Path) -> None:
    void = {"name": "replay", "on_reject": "void_node"}
    _, (outcome,), _ = played(config_of(random_model, "vertical", None, (void,)), rounds=1)
    assert outcome.found.void == frozenset()
    assert all(s.kept for row in outcome.found.samples for s in row)


def test_refill_without_replay_is_refused(random_model: Path) -> None:
    with pytest.raises(ValueError, match=r"'logit' is 'refill', which needs the defence 'replay'"):
        config_of(random_model, "horizontal", None, ({"name": "logit", "on_reject": "refill"},))
    with pytest.raises(ValueError, match=r'set swarm\.problems = "dealt"'):
        trial_config(random_model, defenses=[REPLAY], swarm={"topology": "vertical"})
    with pytest.raises(ValueError, match="'logit' is 'refill'"):
        trial_config(random_model, defenses=[{"name": "logit"}], grpo={"on_reject": "refill"})


def test_picks_where_problems_are_dealt_are_refused_with_the_message(random_model: Path) -> None:
    config = config_of(random_model, "vertical", "picks", ())
    swarm = assemble(config, 0)
    assert swarm.adversary is not None
    assert swarm.adversary.pickable is None  # it would be refused
    from swarmproof.swarm.assignment import with_picks

    dealt = swarm.deal(0)
    stolen: dict[NodeId, tuple[str, ...]] = {3: tuple(list(swarm.train)[:2])}
    chosen, (refusal,) = with_picks(dealt, stolen, swarm.train)
    assert chosen == dealt
    assert (refusal.node, refusal.code) == (3, "picks")
    assert refusal.reason == "picked problems, and they are dealt"


def test_presets_are_settings(random_model: Path) -> None:
    config = trial_config(random_model, guard={"preset": "one-model"}, swarm={"problems": "dealt"})
    assert config.defenses == ({**REPLAY, "near_ties": "redraw"},)
    check(config)
    # A recorded config, which has both, is read again.
    assert validate(TrialConfig, config.model_dump(mode="json")) == config
    with pytest.raises(ValueError, match=r"guard\.preset is 'one-model', and defenses are given"):
        trial_config(random_model, guard={"preset": "one-model"}, defenses=[{"name": "logit"}])
    with pytest.raises(ValueError, match="did you mean 'one-model'"):
        trial_config(random_model, guard={"preset": "one-modl"})
    with pytest.raises(ValueError, match=r'swarm\.problems = "dealt"'):
        trial_config(random_model, guard={"preset": "one-model"}, swarm={"topology": "vertical"})


def test_replay_in_a_swarm_of_several_models_is_refused(
    random_model: Path, other_model: Path
) -> None:
    config = trial_config(
        random_model,
        defenses=[REPLAY],
        swarm={"models": [str(random_model), str(other_model)]},
    )
    with pytest.raises(ValueError, match=r'guard\.preset = "several-models"'):
        check(config)
