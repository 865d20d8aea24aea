"""The mask of spurious tokens against its rule, token by token, and what it leaves alone."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from defenses.plain import GivenScores, look, plain_scores, shuffled, written
from swarmproof import zoo
from swarmproof.defenses import DefenseView, SpuriousTokens
from swarmproof.guard.advantages import Rules, complete
from swarmproof.policies.learner import _token_weights
from swarmproof.policies.policy import Policy
from swarmproof.tasks import MathWords
from swarmproof.types import Group
from swarms import Letters, completion, draw_group, policy, problem

LETTERS = Letters()
MATH = MathWords(train=64, test=16)


@pytest.fixture(scope="module")
def mathematician() -> Policy:
    return policy(zoo.path("tiny-math"), max_new_tokens=96)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_masks_are_those_of_the_rule(random_model: Path, temperature: float) -> None:
    receiver = policy(random_model, max_new_tokens=24, temperature=temperature)
    groups = [draw_group(receiver, LETTERS, LETTERS.problems("train")[p], range(4)) for p in (0, 1)]
    rewards = [[1.0, 0.0, 0.5, 1.0], [0.0, 0.0, 1.0, 0.0]]
    defense = SpuriousTokens(probability=0.05, entropy_share=0.4)
    found = look(defense, receiver, groups, rewards)

    plain = [[plain_scores(receiver, g.prompt, ids) for ids in g.token_ids] for g in groups]
    every = sorted(float(h) for row in plain for _, entropy in row for h in entropy)
    limit = every[math.ceil(0.4 * len(every)) - 1]
    masked = 0
    for row, values, own in zip(found, plain, rewards, strict=True):
        for verdict, (logprob, entropy), reward in zip(row, values, own, strict=True):
            expected = [
                float(not (reward > sum(own) / 4 and math.exp(lp) < 0.05 and h <= limit + 1e-6))
                for lp, h in zip(logprob, entropy, strict=True)
            ]
            assert list(verdict.token_credit or [1.0] * len(logprob)) == expected
            assert verdict.score == pytest.approx(1 - sum(expected) / len(expected))
            assert (verdict.accepted, verdict.reason) == (True, "")
            masked += expected.count(0.0)
    assert 5 < masked < sum(map(len, groups[0].token_ids)), "the rule was put to the test"


def test_the_others_get_the_part_of_the_masked_tokens() -> None:
    """Two of five tokens masked: the others have a third of the weight each, in the learner too."""
    group = Group(
        problem(),
        (completion("x", (1, 2, 3, 4, 5)), completion("y", (1, 2), index=1)),
        "?",
    )
    logprob = [[np.log([0.5, 0.001, 0.001, 0.001, 0.5]), np.zeros(2)]]
    entropy = [[np.array([0.1, 0.1, 9, 0.1, 9]), np.array([9, 9])]]
    view = DefenseView(rewards=[[1.0, 0.0]], seed=0, source=GivenScores(logprob, entropy))
    ((first, second),) = SpuriousTokens(entropy_share=0.4).inspect([group], view)
    assert (first.token_credit, first.renormalised) == ((1.0, 0.0, 1.0, 0.0, 1.0), True)
    assert second.token_credit is None
    rules = Rules({"spurious_tokens": "drop"})
    sample, _ = complete(group, [1.0, 0.0], [(first,), (second,)], rules, num_groups=1)
    assert _token_weights(sample, 6.0) == pytest.approx([2.0, 0.0, 2.0, 0.0, 2.0])
    # Masked entirely, nothing is learnt of it.
    every = SpuriousTokens(probability=1, entropy_share=1).inspect([group], view)
    sample, _ = complete(group, [1.0, 0.0], [(v,) for v in every[0]], rules, num_groups=1)
    assert _token_weights(sample, 6.0) == [0.0] * 5


def test_the_gradient_is_that_of_the_mean_over_what_is_left() -> None:
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    logp = logits.log_softmax(-1)[torch.arange(4), torch.tensor([0, 2, 1, 1])]
    (wanted,) = torch.autograd.grad(-2.0 * logp[[0, 2, 3]].mean(), logits, retain_graph=True)
    verdict = SpuriousTokens().verdict(
        True, 0.0, token_credit=[1.0, 0.0, 1.0, 1.0], renormalised=True
    )
    group = Group(problem(), (completion("x", (0, 2, 1, 1)), completion("y", (0,), index=1)), "?")
    other = SpuriousTokens().verdict(True, 0.0)
    rules = Rules({"spurious_tokens": "drop"})
    sample, _ = complete(group, [1.0, 0.0], [(verdict,), (other,)], rules, num_groups=1)
    weights = torch.tensor(_token_weights(sample, 2.0))
    (found,) = torch.autograd.grad(-(weights * logp).sum(), logits)
    torch.testing.assert_close(found, wanted)


def test_verdicts_do_not_depend_on_any_order(random_model: Path) -> None:
    receiver = policy(random_model, max_new_tokens=24)
    groups = [draw_group(receiver, LETTERS, LETTERS.problems("train")[p], range(6)) for p in (0, 1)]
    rewards = [[float(g % 3 != p) for g in range(6)] for p in (0, 1)]
    defense = SpuriousTokens(probability=0.05, entropy_share=0.4)
    found = look(defense, receiver, groups, rewards)
    assert sum(v.token_credit is not None for row in found for v in row) > 3
    for seed in range(3):
        moved, told, places = shuffled(groups, rewards, seed)
        again = look(defense, receiver, moved, told)
        for row, (p, order) in zip(again, places, strict=True):
            assert [v.token_credit for v in row] == [found[p][g].token_credit for g in order]


def test_a_completion_without_finite_scores_hides_no_other(random_model: Path) -> None:
    receiver = policy(random_model, max_new_tokens=24)
    group = draw_group(receiver, LETTERS, LETTERS.problems("train")[0], range(4))
    defense = SpuriousTokens(probability=0.05, entropy_share=0.4)
    scored = receiver.scorer.score([group.prompt], [group.token_ids], columns=["entropy"])
    logprob = [[s.logprob for s in scored.scores[0]]]
    entropy = [list(scored.column("entropy")[0])]
    view = DefenseView(rewards=[[1.0, 1.0, 0.0, 0.0]], seed=0, source=GivenScores(logprob, entropy))
    (before,) = defense.inspect([group], view)
    entropy[0][3] = np.full_like(entropy[0][3], np.nan)
    (after,) = defense.inspect([group], replace(view, source=GivenScores(logprob, entropy)))
    for found in (before, after):
        assert any(v.token_credit for v in found[:2])
        assert not any(v.token_credit for v in found[2:])


def test_hardly_an_honest_token_is_touched(mathematician: Policy) -> None:
    """The negative control: right draws of the receiver's own model, all of them rewarded."""
    touched = tokens = 0
    for p in range(8):
        group = draw_group(mathematician, MATH, MATH.problems("train")[p], range(8))
        # All but the first earn something, whatever they say.
        (row,) = look(SpuriousTokens(), mathematician, [group], [[0.0] + [1.0] * 7])
        touched += sum((v.token_credit or ()).count(0.0) for v in row)
        tokens += sum(map(len, group.token_ids[1:]))
    assert tokens > 1000
    assert touched < 0.005 * tokens


def test_a_planted_token_is_masked_where_the_model_is_sure_and_only_there(
    mathematician: Policy,
) -> None:
    """The positive control, and the limit of the rule."""
    group = written(mathematician, MATH, 0, ["x", MATH.oracle(MATH.problems("train")[0])])
    wrong, right = group.token_ids
    _, entropy = plain_scores(mathematician, group.prompt, right)
    (rare,) = mathematician.codec.encode("\x07")[:-1]
    for at, hidden in ((int(entropy.argmin()), 1), (int(entropy.argmax()), 0)):
        planted = (*right[:at], rare, *right[at:])
        made = tuple(
            replace(group.completions[0], token_ids=ids) for ids in (wrong, planted, right)
        )
        (row,) = look(
            SpuriousTokens(), mathematician, [replace(group, completions=made)], [[0.0, 1.0, 1.0]]
        )
        assert (row[1].token_credit or (1.0,)).count(0.0) == hidden
        if hidden:
            assert row[1].token_credit is not None
            assert row[1].token_credit[at] == 0.0
        assert row[2].token_credit is None
