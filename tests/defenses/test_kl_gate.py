"""The KL gate against its rule, on own and foreign completions."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from defenses.plain import GivenScores, look, plain_scores, shuffled, written
from swarmproof import zoo
from swarmproof.defenses import DefenseView, KlGate
from swarmproof.defenses.base import Setting
from swarmproof.guard.gate import checked
from swarmproof.policies.policy import Policy
from swarmproof.tasks import MathWords
from swarmproof.types import Group
from swarms import Letters, completion, draw_group, policy, problem

LETTERS = Letters()
TASK = MathWords(train=64, test=16)
EVERYBODY = frozenset({0, 1, 2, 3})


@pytest.fixture(scope="module", params=[1.0, 0.7])
def receiver(request: pytest.FixtureRequest) -> Policy:
    return policy(zoo.path("tiny-math"), max_new_tokens=96, top_k=0, temperature=request.param)


def test_the_score_is_the_mean_excess_and_the_threshold_the_last_that_passes(
    receiver: Policy,
) -> None:
    texts = ["All hail to the thief.", TASK.oracle(TASK.problems("train")[0]), "Tom has 3 = 4."]
    group = written(receiver, TASK, 0, texts)
    (found,) = look(KlGate(), receiver, [group], [[1.0, 1.0, 0.0]], EVERYBODY)
    for verdict, ids in zip(found, group.token_ids, strict=True):
        logprob, entropy = plain_scores(receiver, group.prompt, ids)
        expected = sum(-lp - h for lp, h in zip(logprob, entropy, strict=True)) / len(ids)
        assert verdict.score == pytest.approx(expected, abs=1e-3)
        assert verdict.accepted is (verdict.score <= 0.5)
        for threshold, accepted in ((verdict.score, True), (verdict.score - 1e-6, False)):
            gate = KlGate(threshold=threshold)
            (row,) = look(gate, receiver, [group], [[1.0] * 3], EVERYBODY)
            assert row[found.index(verdict)].accepted is accepted
    assert [v.accepted for v in found] == [False, True, False]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_own_draws_have_a_mean_excess_of_zero(random_model: Path, temperature: float) -> None:
    """As the expectation says: the estimate is not biased, in six samples of 64 completions."""
    drawer = policy(random_model, max_new_tokens=24, top_k=0, temperature=temperature)
    means = []
    for seed in range(0, 48, 8):
        of = LETTERS.problems("train")[:8]
        groups = [draw_group(drawer, LETTERS, p, range(seed, seed + 8)) for p in of]
        found = look(KlGate(), drawer, groups, [[0.0] * 8] * 8, EVERYBODY)
        # Sums over completions, because where one ends is a draw as well.
        total = sum(
            v.score * len(c.token_ids or ())
            for row, group in zip(found, groups, strict=True)
            for v, c in zip(row, group.completions, strict=True)
        )
        means.append(total / 64)
    error = np.std(means, ddof=1) / math.sqrt(6)
    assert abs(np.mean(means)) < 4.1 * error  # 99 % of t with five degrees of freedom
    assert error < 0.5  # nats over a completion of about 24 tokens


def test_it_abstains_on_completions_of_its_own_model(receiver: Policy) -> None:
    group = written(receiver, TASK, 0, ["All hail to the thief.", "All hail to the chief."])
    ((own, foreign),) = look(KlGate(), receiver, [group], [[1.0, 1.0]], frozenset({1}))
    assert (own.accepted, foreign.accepted) == (None, False)
    assert "nats a token less likely" in foreign.reason


def test_verdicts_do_not_depend_on_any_order(receiver: Policy) -> None:
    groups = [draw_group(receiver, TASK, TASK.problems("train")[p], range(5)) for p in range(3)]
    rewards = [[1.0] * 5] * 3
    found = look(KlGate(), receiver, groups, rewards, EVERYBODY)
    moved, told, places = shuffled(groups, rewards, 1)
    for row, (p, order) in zip(
        look(KlGate(), receiver, moved, told, EVERYBODY), places, strict=True
    ):
        assert [v.score for v in row] == pytest.approx([found[p][g].score for g in order], abs=1e-5)


@pytest.mark.parametrize("bad", [-np.inf, np.nan])
def test_scores_that_are_not_finite_refuse(bad: float) -> None:
    group = Group(problem(), (completion("x", (1, 2)),), "?")
    scores = GivenScores([[np.array([bad, -1])]], [[np.ones(2)]])
    for foreign in (EVERYBODY, frozenset[int]()):
        view = DefenseView(rewards=[[1.0]], seed=0, source=scores, foreign=foreign)
        ((verdict,),) = checked(KlGate(), [group], KlGate().inspect([group], view))
        assert verdict.accepted is False


def test_a_swarm_of_one_model_is_refused_before_the_run() -> None:
    with pytest.raises(ValueError, match=r'use "logit", or guard\.preset'):
        KlGate().require_in(Setting(nodes=4, models=1))
    KlGate().require_in(Setting(nodes=4, models=3))
