"""Cohorts are exact, seeds know no node, and the adversary sees what the threat model grants."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import pytest
import torch
from pydantic import PrivateAttr

from swarmproof import registry
from swarmproof.attacks import Attack
from swarmproof.attacks.base import AttackView
from swarmproof.config import GrpoConfig, ModelConfig, OnReject, SamplingConfig, TrialConfig
from swarmproof.defenses import Defense, DefenseView
from swarmproof.defenses.base import Reads
from swarmproof.guard.advantages import Rules, complete
from swarmproof.guard.guard import Guard
from swarmproof.policies.policy import train
from swarmproof.policies.scorer import ForwardPass, Scorer
from swarmproof.swarm.assembly import assemble
from swarmproof.swarm.assignment import Assignment
from swarmproof.swarm.node import Cohort
from swarmproof.swarm.round import Swarm, play_round
from swarmproof.swarm.stopwatch import Stopwatch
from swarmproof.types import Completion, Group, NodeId, Problem, Tokens, Verdict
from swarms import Letters, completion, problem, trial_config

TOPOLOGIES = ("horizontal", "vertical")
ACCEPTED, REFUSED = Verdict("d", True, 0.0, ""), Verdict("d", False, 1.0, "bad")


def of_single_nodes(config: TrialConfig, run_seed: int = 0) -> Swarm:
    """The same swarm with every honest node a cohort of its own, with its own model and guard."""
    swarm = assemble(config, run_seed)
    whole = swarm.cohorts[0]
    cohorts = tuple(
        dataclasses.replace(
            whole,
            name=f"node-{node}",
            nodes=(node,),
            policy=assemble(config, run_seed).cohorts[0].policy,
            guard=assemble(config, run_seed).cohorts[0].guard,
        )
        for node in whole.nodes
    )
    assert swarm.adversary is not None
    # It keeps its model in step with the honest ones; any of theirs is the same.
    adversary = dataclasses.replace(swarm.adversary, policy=cohorts[0].policy.reader())
    return dataclasses.replace(swarm, cohorts=cohorts, adversary=adversary)


def drawn(swarm: Swarm, round: int) -> dict[NodeId, list[Completion]]:
    dealt = swarm.deal(round)
    return {
        node: sorted(completions, key=lambda c: c.slot)
        for cohort in swarm.cohorts
        for node, completions in cohort.produce(dealt, swarm.local).items()
    }


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("defenses", [[], [{"name": "logit"}]])
def test_a_cohort_does_what_its_nodes_would_do_one_by_one(
    random_model: Path, topology: str, defenses: list[dict[str, str]]
) -> None:
    config = trial_config(
        random_model,
        swarm={"topology": topology},
        # Enough for honest completions to earn a reward now and then.
        batch={"problems": 8, "group_size": 8},
        defenses=defenses,
    )
    together, apart = assemble(config, 0), of_single_nodes(config)
    learned = set()
    for round in range(2):
        assert drawn(together, round) == drawn(apart, round)
        play_round(together, round)
        outcomes = play_round(apart, round)
        learned |= {o.record.groups_learned for o in outcomes}
    assert max(learned) > 0
    (whole,) = (cohort.policy for cohort in together.cohorts)
    start = assemble(config, 0).cohorts[0].policy
    for cohort in apart.cohorts:
        for mine, theirs, first in zip(
            whole.model.parameters(),
            cohort.policy.model.parameters(),
            start.model.parameters(),
            strict=True,
        ):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)
            assert not torch.equal(mine, first)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_every_slot_of_a_node_is_filled_once_with_what_it_drew(
    random_model: Path, topology: str
) -> None:
    swarm = assemble(trial_config(random_model, swarm={"topology": topology}), 0)
    cohort = swarm.cohorts[0]
    dealt = swarm.deal(0)
    produced = cohort.produce(dealt, swarm.local)
    assert list(produced) == [0, 1, 2]
    for node, completions in produced.items():
        assert sorted(c.slot for c in completions) == sorted(dealt.slots[node])
        assert {c.node for c in completions} == {node}
        assert cohort.policy.codec.decode([c.token_ids or () for c in completions]) == [
            c.text for c in completions
        ]


@pytest.mark.parametrize("local", [(1,), (0, 2), (3,)], ids=str)
def test_a_process_draws_for_its_own_nodes_and_what_others_would_see_of_them(
    random_model: Path, local: tuple[NodeId, ...]
) -> None:
    cohort = (swarm := assemble(trial_config(random_model), 0)).cohorts[0]
    everybody = cohort.produce(swarm.deal(0), swarm.local)
    own = cohort.produce(swarm.deal(0), local)
    assert own == {node: row for node, row in everybody.items() if node in local}


def test_more_identities_give_no_more_draws(random_model: Path) -> None:
    # Four slots of a problem hold the same four completions, whoever fills them.
    by_nodes = {
        nodes: {
            c.slot: c.token_ids
            for row in drawn(
                assemble(trial_config(random_model, swarm={"nodes": nodes, "malicious": 0}), 0), 0
            ).values()
            for c in row
        }
        for nodes in (1, 2, 4)
    }
    assert len(by_nodes[1]) == 16
    assert by_nodes[1] == by_nodes[2] == by_nodes[4]


def test_a_slot_has_its_own_seed_in_every_run(random_model: Path) -> None:
    model = train(ModelConfig(path=str(random_model)), GrpoConfig(), SamplingConfig())

    def cohort(nodes: tuple[int, ...], run_seed: int) -> Cohort:
        return Cohort("c", nodes, model, Letters(), Guard(), run_seed)

    slots = [completion("", index=i, problem_id=p).slot for i in range(3) for p in "pq"]
    slots += [dataclasses.replace(slot, round=1) for slot in slots]
    seeds = [cohort((0,), 0).slot_seed(slot) for slot in slots]
    assert len(set(seeds)) == len(slots)
    assert seeds == [cohort((7, 8), 0).slot_seed(slot) for slot in slots]
    assert set(seeds).isdisjoint(cohort((0,), 1).slot_seed(slot) for slot in slots)


class Spy(Attack):
    """Keeps what it was shown, and sends nothing."""

    _seen: list[AttackView] = PrivateAttr(default_factory=list)

    def craft(self, view: AttackView) -> Sequence[Completion]:
        self._seen.append(view)
        return []

    def success(self, problem: Problem, text: str) -> bool | None:  # noqa: ARG002
        return False


@pytest.fixture
def spy() -> Iterator[None]:
    registry.register("attack", "spy")(Spy)
    yield
    registry._registered["attack"].pop("spy")


@pytest.mark.usefixtures("spy")
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_the_adversary_is_shown_its_own_work_and_no_honest_completion(
    random_model: Path, topology: str
) -> None:
    config = trial_config(
        random_model,
        swarm={"topology": topology, "malicious": 2},
        attack={"name": "spy"},
    )
    swarm = assemble(config, 0)
    (outcome,) = play_round(swarm, 0)
    assert isinstance(swarm.attack, Spy)
    (view,) = swarm.attack._seen
    assert view.nodes == (2, 3)
    dealt = swarm.deal(0)
    assert dict(view.slots) == {node: dealt.slots[node] for node in (2, 3)}
    own = {slot.problem_id for node in (2, 3) for slot in dealt.slots[node]}
    assert dict(view.problems) == {id: dealt.problems[id] for id in own}
    # Another field would be another threat model.
    assert {field.name for field in dataclasses.fields(view)} == {
        *("nodes", "slots", "problems", "task", "policy", "topology", "num_nodes", "rng"),
        *("slot_seed", "seen"),
    }
    # Only an attack that declares it sees what honest nodes send.
    assert view.seen == ()
    assert [view.slot_seed(slot) for slot in view.slots[2]] == [
        swarm.cohorts[0].slot_seed(slot) for slot in view.slots[2]
    ]
    assert (view.topology, view.num_nodes) == (topology, 4)
    # It sent nothing, and nothing of it was counted.
    assert (outcome.record.poisoned, outcome.record.honest) == (0, 8)


@pytest.mark.usefixtures("spy")
def test_an_attack_that_declares_it_sees_what_honest_nodes_send_in_the_round(
    random_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Spy, "sees_others", True)
    swarm = assemble(trial_config(random_model, attack={"name": "spy"}), 0)
    (outcome,) = play_round(swarm, 0)
    assert isinstance(swarm.attack, Spy)
    (view,) = swarm.attack._seen
    sent = [sample.completion for row in outcome.found.samples for sample in row]
    assert sorted(view.seen, key=lambda c: c.slot) == sorted(sent, key=lambda c: c.slot)
    assert {completion.node for completion in view.seen} == {0, 1, 2}


@pytest.mark.usefixtures("spy")
def test_the_adversarys_randomness_is_its_own_and_repeatable(random_model: Path) -> None:
    def draws(run_seed: int, round: int) -> list[int]:
        swarm = assemble(trial_config(random_model, attack={"name": "spy"}), run_seed)
        assert swarm.adversary is not None
        assert isinstance(swarm.attack, Spy)
        swarm.adversary.produce(swarm.deal(round))
        drawn: list[int] = swarm.attack._seen[0].rng.integers(0, 2**60, 3).tolist()
        return drawn

    assert draws(0, 0) == draws(0, 0)
    assert len({*draws(0, 0), *draws(0, 1), *draws(1, 0)}) == 9


# What verdicts do to a group ---------------------------------------------------------------------


def samples_of(
    rewards: list[float], refused: list[bool], on_reject: OnReject
) -> list[tuple[float, bool, float]]:
    written = tuple(completion("x", (1,), index=i) for i in range(len(rewards)))
    group = Group(problem(), written, "a b:")
    verdicts = [(REFUSED,) if bad else (ACCEPTED,) for bad in refused]
    samples = complete(group, rewards, verdicts, Rules({"d": on_reject}), num_groups=5)
    assert [s.reward for s in samples] == rewards
    assert [s.refused for s in samples] == refused
    return [(s.advantage, s.kept, s.loss_weight) for s in samples]


def test_a_dropped_completion_leaves_its_group_and_the_rest_share_the_loss() -> None:
    kept = samples_of([1, 0, 1], [False, False, True], "drop")
    assert [k for _, k, _ in kept] == [True, True, False]
    assert kept[2][0] == 0
    assert kept[0][0] == -kept[1][0] > 0
    assert [weight for *_, weight in kept] == [1 / (5 * 2), 1 / (5 * 2), 0]


def test_a_completion_of_zero_reward_stays_in_its_group() -> None:
    rows = samples_of([1, 0, 1], [False, False, True], "zero_reward")
    assert [kept for _, kept, _ in rows] == [True] * 3
    assert rows[2][0] == rows[1][0] < 0 < rows[0][0]
    assert {weight for *_, weight in rows} == {1 / (5 * 3)}


def test_what_another_model_wrote_may_teach_by_its_good_completions_only() -> None:
    """Those that are worse than the mean still count in it."""
    written = [completion("x", (1,), index=i, node=i % 2) for i in range(4)]
    group = Group(problem(), tuple(written), "a b:")

    def taught(foreign: frozenset[NodeId], rule: Literal["all", "positive"]) -> list[float]:
        none: list[tuple[Verdict, ...]] = [()] * 4
        rows = complete(
            group, [1, 1, 0, 0], none, Rules({}, foreign=foreign, foreign_teach=rule), num_groups=1
        )
        assert all(s.kept and s.loss_weight == 1 / 4 for s in rows)
        return [s.advantage for s in rows]

    plain = taught(frozenset(), "all")
    assert plain == taught(frozenset({1}), "all") == taught(frozenset(), "positive")
    assert plain[1] > 0 > plain[3]
    assert taught(frozenset({1}), "positive") == [*plain[:3], 0]


def test_a_group_that_is_refused_altogether_teaches_nothing() -> None:
    rows = samples_of([1, 0], [True, True], "drop")
    assert [advantage for advantage, *_ in rows] == [0, 0]


def test_one_defence_that_drops_is_enough_and_the_others_zero_the_reward() -> None:
    zero, drop = Verdict("judge", False, 1.0, "no"), Verdict("logit", False, 1.0, "no")
    written = tuple(completion("x", (1,), index=i) for i in range(4))
    group = Group(problem(), written, "a b:")
    rules: dict[str, OnReject] = {"judge": "zero_reward", "logit": "drop", "d": "drop"}
    verdicts = [(ACCEPTED,), (zero,), (drop,), (zero, drop)]
    rows = complete(group, [1, 1, 1, 1], verdicts, Rules(rules), num_groups=1)
    assert [s.kept for s in rows] == [True, True, False, False]
    assert rows[0].advantage == -rows[1].advantage > 0 == rows[2].advantage == rows[3].advantage
    assert [s.reward for s in rows] == [1] * 4, "what is recorded is the task's"


class Reader(Defense):
    """Refuses every second text of a group, and keeps how it was asked."""

    reads: ClassVar[Reads] = "text"
    _asked: list[tuple[int, DefenseView]] = PrivateAttr(default_factory=list)

    def inspect(self, groups: Sequence[Group], view: DefenseView) -> list[list[Verdict]]:
        self._asked.append((len(groups), view))
        return [
            [self.verdict(g % 2 == 0, 0.0, "" if g % 2 == 0 else "odd") for g in range(len(c))]
            for c in (group.completions for group in groups)
        ]


@pytest.fixture
def reader() -> Iterator[None]:
    registry.register("defense", "reader")(Reader)
    yield
    registry._registered["defense"].pop("reader")


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("names", [["reader", "logit"], ["logit", "reader"], ["reader"]])
def test_a_defence_that_reads_no_scores_is_asked_once_and_before_the_passes(
    random_model: Path, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = trial_config(
        random_model,
        defenses=[{"name": name} for name in names],
        grpo={"micro_batch_tokens": 1, "on_reject": "drop"},
    )
    swarm = assemble(config, 0)
    chosen: list[Sequence[bool]] = []
    passes = Scorer.passes

    def spy(
        self: Scorer,
        prompts: list[str],
        rows: list[list[Tokens]],
        learnable: list[bool],
        seeds: list[tuple[int, ...] | None],
    ) -> Iterator[tuple[list[int], ForwardPass]]:
        chosen.append(learnable)
        return passes(self, prompts, rows, learnable, seeds)

    monkeypatch.setattr(Scorer, "passes", spy)
    (outcome,) = play_round(swarm, 0)
    (asked,) = (d._asked for d in swarm.cohorts[0].guard.defenses if isinstance(d, Reader))
    ((count, view),) = asked
    assert (count, view.source) == (4, None)
    rows = outcome.found.samples
    assert {tuple(v.defense for v in s.verdicts) for row in rows for s in row} == {tuple(names)}
    assert [[s.reward for s in row] for row in rows] == list(view.rewards)
    # What it refuses no longer makes a group learnable.
    assert chosen == [
        [len({s.reward for s in row if s.verdicts[names.index("reader")].accepted}) > 1
         for row in rows]
    ]  # fmt: skip
    play_round(swarm, 1)
    assert len({view.seed for _, view in asked}) == 2


def test_token_credit_of_several_defences_multiplies() -> None:
    verdicts = (
        Verdict("a", True, 0.0, "", token_credit=(1.0, 0.5)),
        ACCEPTED,
        Verdict("b", True, 0.0, "", token_credit=(0.0, 0.5)),
    )
    rules = Rules(dict.fromkeys("abd", "drop"))
    written = (completion("x", (1, 2)), completion("y", (3, 4), index=1))
    group = Group(problem(), written, "a b:")
    first, second = complete(group, [1, 0], [verdicts, (ACCEPTED,)], rules, num_groups=1)
    assert first.token_credit == (0.0, 0.25)
    assert second.token_credit is None


def test_the_rule_for_refusals_of_the_config_is_that_of_the_guard(random_model: Path) -> None:
    """`logit` says none of its own, and refuses all poison."""

    def played(on_reject: OnReject) -> list[tuple[bool, bool, float]]:
        config = trial_config(
            random_model, defenses=[{"name": "logit"}], grpo={"on_reject": on_reject}
        )
        (outcome,) = play_round(assemble(config, 0), 0)
        samples = [sample for row in outcome.found.samples for sample in row]
        assert {s.refused for s in samples} == {True, False}
        return [(s.refused, s.kept, s.advantage) for s in samples]

    dropped, zeroed, told = played("drop"), played("zero_reward"), played("monitor")
    assert {(kept, a) for refused, kept, a in dropped if refused} == {(False, 0.0)}
    assert {kept for refused, kept, _ in zeroed if refused} == {True}
    assert all(a <= 0 for refused, _, a in zeroed if refused)
    assert all(a > 0 for refused, _, a in told if refused)
    assert [a for *_, a in dropped] != [a for *_, a in zeroed] != [a for *_, a in told]


@pytest.mark.parametrize("on_reject", ["drop", "zero_reward"])
def test_a_group_in_which_all_are_right_teaches_only_if_a_reward_may_become_zero(
    random_model: Path, on_reject: OnReject
) -> None:
    """The verdicts come after it was decided whether the pass keeps a graph."""
    config = trial_config(random_model, defenses=[{"name": "logit"}], grpo={"on_reject": on_reject})
    (cohort,) = assemble(config, 0).cohorts
    of = (task := Letters()).problems("train")[0]
    ((*rows,),) = cohort.policy.generator.generate([task.prompt(of)], [list(range(200))])
    texts = cohort.policy.codec.decode(rows)
    pairs = zip(texts, rows, task.rewards(of, texts), strict=True)
    right = [(text, ids) for text, ids, reward in pairs if reward][:2]
    right += [(text, cohort.policy.codec.encode(text)) for text in [task.oracle(of)] * 2]
    assert len(right) == 4
    group = cohort.group(of, [completion(*pair, index=i) for i, pair in enumerate(right)])
    found, stats = cohort.learn([group], Assignment(0, {}, {of.id: of}), Stopwatch())
    (samples,) = found.samples
    assert [s.reward for s in samples] == [1] * 4
    assert [s.refused for s in samples] == [False, False, True, True]
    if on_reject == "drop":
        assert [s.advantage for s in samples] == [0] * 4
        assert (found.num_useful, stats.tokens, stats.grad_norm) == (0, 0, 0)
    else:
        assert samples[0].advantage == -samples[2].advantage > 0
        assert (found.num_useful, stats.tokens) == (1, sum(len(s.tokens) for s in samples))
        assert stats.grad_norm > 0


@pytest.mark.parametrize("on_reject", ["drop", "zero_reward"])
def test_learning_does_not_depend_on_which_groups_share_a_pass(
    random_model: Path, on_reject: str
) -> None:
    trained = []
    for size in (1, 100_000):
        config = trial_config(
            random_model,
            defenses=[{"name": "logit"}],
            grpo={"micro_batch_tokens": size, "on_reject": on_reject},
        )
        swarm = assemble(config, 0)
        (outcome,) = play_round(swarm, 0)
        assert outcome.record.groups_learned > 0
        assert [g.problem.id for g in outcome.found.groups] == list(swarm.deal(0).problems)
        for group, row in zip(outcome.found.groups, outcome.found.samples, strict=True):
            assert [s.completion for s in row] == list(group.completions)
            assert [s.completion.slot.index for s in row] == [0, 1, 2, 3]
        trained.append((outcome, list(swarm.cohorts[0].policy.model.parameters())))
    (one, first), (other, second) = trained
    assert one.record.grad_norm == pytest.approx(other.record.grad_norm, rel=1e-4)
    for a, b in zip(one.found.advantages, other.found.advantages, strict=True):
        assert a.tolist() == b.tolist()
    # Adam's first step has the sign of the gradient; where that is noise, so is the step.
    far = [float(((a - b).abs() > 1e-5).float().mean()) for a, b in zip(first, second, strict=True)]
    assert sum(far) / len(far) < 0.02
