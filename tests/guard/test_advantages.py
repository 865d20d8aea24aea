"""Advantages of a group, and what each rule does to it, in exact arithmetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmproof.config import OnReject
from swarmproof.guard.advantages import (
    EFFECTS,
    STD_EPSILON,
    Rules,
    advantages,
    can_teach,
    complete,
)
from swarmproof.types import Group, NodeId, Sample, Verdict
from swarms import completion, problem

REWARDS = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(-10, 10, allow_subnormal=False))
GROUPS = st.lists(st.tuples(REWARDS, st.booleans()), min_size=2, max_size=16)
RULES: list[OnReject] = ["monitor", "mask", "drop", "zero_reward"]
ACCEPTED, REFUSED = Verdict("d", True, 0.0, ""), Verdict("d", False, 1.0, "bad")


def group_of(size: int) -> Group:
    made = tuple(completion("x", (1, 2), index=i, node=i % 4) for i in range(size))
    return Group(problem(), made, "?")


def samples_of(
    rewards: Sequence[float],
    verdicts: Sequence[Verdict | tuple[Verdict, ...]],
    by_defense: Mapping[str, OnReject],
    num_groups: int = 1,
) -> list[Sample]:
    rows = [row if isinstance(row, tuple) else (row,) for row in verdicts]
    rules = Rules(by_defense)
    return complete(group_of(len(rewards)), rewards, rows, rules, num_groups=num_groups)


def exact(rewards: list[int]) -> list[float]:
    """(r - mean) / (std + epsilon), every step but the root in fractions."""
    mean = Fraction(sum(rewards), len(rewards))
    variance = sum((r - mean) ** 2 for r in rewards) / (len(rewards) - 1)
    return [float(r - mean) / (float(variance) ** 0.5 + STD_EPSILON) for r in rewards]


@given(group=GROUPS, scale=st.booleans())
def test_zero_mean_over_what_votes(group: list[tuple[float, bool]], scale: bool) -> None:
    rewards, votes = zip(*group, strict=True)
    found = advantages(rewards, [float(vote) for vote in votes], scale_rewards=scale)
    assert np.isfinite(found).all()
    # The scale is at most 1 / epsilon, and with it grows the rounding.
    assert abs(found[np.array(votes)].sum()) < 1e-8
    assert (found[~np.array(votes)] == 0).all()


@given(group=GROUPS, weights=st.lists(st.floats(0, 1), min_size=16, max_size=16))
def test_the_weighted_mean_is_the_one_of_the_fractions(
    group: list[tuple[float, bool]], weights: list[float]
) -> None:
    rewards = [reward for reward, _ in group]
    chosen = weights[: len(rewards)]
    found = advantages(rewards, chosen, scale_rewards=False)
    votes = [(Fraction(r), Fraction(w)) for r, w in zip(rewards, chosen, strict=True) if w > 0]
    if len(votes) < 2 or len({r for r, _ in votes}) == 1:
        assert (found == 0).all()
        return
    mean = sum(r * w for r, w in votes) / sum(w for _, w in votes)
    expected = [
        float(Fraction(r) - mean) if w > 0 else 0.0 for r, w in zip(rewards, chosen, strict=True)
    ]
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(reward=REWARDS, size=st.integers(2, 16), scale=st.booleans())
def test_equal_rewards_teach_nothing(reward: float, size: int, scale: bool) -> None:
    assert (advantages([reward] * size, [1.0] * size, scale_rewards=scale) == 0).all()


@pytest.mark.parametrize("rewards", [[1, 0, 0, 0], [1, 1, 0], [0, 1] * 6, [3, 1, -2, 5, 5]])
def test_exact_values(rewards: list[int]) -> None:
    assert advantages(rewards, [1.0] * len(rewards)) == pytest.approx(exact(rewards), rel=1e-13)


def test_one_right_of_four_by_hand() -> None:
    """Mean 1/4, variance 1/4, deviation 1/2: advantages near 3/2 and -1/2."""
    found = advantages([1, 0, 0, 0], [1.0] * 4)
    assert found == pytest.approx([0.75 / 0.5001] + [-0.25 / 0.5001] * 3, rel=1e-13)
    unscaled = advantages([1, 0, 0, 0], [1.0] * 4, scale_rewards=False)
    assert unscaled.tolist() == [0.75, -0.25, -0.25, -0.25]


def test_every_rule_on_one_group_by_hand() -> None:
    """Rewards 1, 1, 0, 0, the first refused: the table of docs/metrics.md."""
    verdicts = [REFUSED, ACCEPTED, ACCEPTED, ACCEPTED]
    rows = {rule: samples_of([1, 1, 0, 0], verdicts, {"d": rule}) for rule in RULES}
    found = {rule: [s.advantage for s in row] for rule, row in rows.items()}
    whole = pytest.approx(exact([1, 1, 0, 0]), rel=1e-13)
    assert found["monitor"] == whole == found["mask"]
    assert found["drop"] == pytest.approx([0.0, *exact([1, 0, 0])], rel=1e-13)
    assert found["zero_reward"] == pytest.approx(exact([0, 1, 0, 0]), rel=1e-13)
    trains = {rule: [s.loss_weight for s in row] for rule, row in rows.items()}
    assert trains["monitor"] == trains["zero_reward"] == [1 / 4] * 4
    assert trains["mask"] == trains["drop"] == [0, 1 / 3, 1 / 3, 1 / 3]
    kept = {rule: [s.kept for s in row] for rule, row in rows.items()}
    assert kept["drop"] == [False, True, True, True]
    assert all(kept[rule] == [True] * 4 for rule in ("monitor", "mask", "zero_reward"))
    assert all(row[0].reward == 1 for row in rows.values()), "what is recorded is the task's"
    assert all(row[0].refused for row in rows.values()), "the verdict stays, whatever it did"


def test_zeroed_is_the_lowest_of_a_group_with_negative_rewards() -> None:
    """0 would be the best reward of these groups."""
    for rewards in ([-4, -4, -3, -7], [-1, -1, 1, -1], [-1, 0, 0, 0]):
        verdicts = [ACCEPTED, ACCEPTED, REFUSED, ACCEPTED]
        found = samples_of(rewards, verdicts, {"d": "zero_reward"})
        counted = [*rewards[:2], min(rewards), rewards[3]]
        assert [s.advantage for s in found] == pytest.approx(exact(counted), rel=1e-9)
        assert found[2].advantage == min(s.advantage for s in found)
        assert found[2].reward == rewards[2], "what is recorded is the task's"
    known: list[tuple[Verdict, ...]] = [()] * 3
    assert not can_teach(group_of(3), [-1, -1, -1], known, Rules({"d": "zero_reward"}), ["d"])


@pytest.mark.parametrize("rule", RULES)
@given(group=GROUPS)
def test_a_dropped_completion_leaves_no_trace(
    rule: OnReject, group: list[tuple[float, bool]]
) -> None:
    """Neither votes nor trains: the others' samples are those of a group without it."""
    rewards, refused = zip(*group, strict=True)
    verdicts = [REFUSED if gone else ACCEPTED for gone in refused]
    rows = samples_of(rewards, verdicts, {"d": rule})
    if rule != "drop":
        assert [row.kept for row in rows] == [True] * len(rows)
        return
    left = [reward for reward, gone in group if not gone]
    alone = samples_of(left, [ACCEPTED] * len(left), {"d": rule})
    assert [(r.advantage, r.loss_weight) for r in rows if r.kept] == [
        (r.advantage, r.loss_weight) for r in alone
    ]
    assert all(r.advantage == r.loss_weight == r.weight == 0 for r in rows if not r.kept)


def test_of_several_refusals_the_strictest_of_each_kind_counts() -> None:
    zero, drop = Verdict("judge", False, 1.0, "no"), Verdict("logit", False, 1.0, "no")
    watch = Verdict("watch", False, 1.0, "no")
    rules: dict[str, OnReject] = {
        "judge": "zero_reward", "logit": "drop", "watch": "monitor", "d": "drop"
    }  # fmt: skip
    rows = samples_of([1, 1, 1, 1, 1], [ACCEPTED, zero, drop, (zero, drop), watch], rules)
    assert [s.kept for s in rows] == [True, True, False, False, True]
    assert rows[0].advantage == rows[4].advantage > 0 > rows[1].advantage
    assert rows[2].advantage == rows[3].advantage == 0


def test_a_mask_that_names_tokens_hides_those_only() -> None:
    named = Verdict("d", False, 1.0, "bad", token_credit=(0.0, 1.0))
    row = samples_of([1, 0], [named, ACCEPTED], {"d": "mask"})
    assert (row[0].kept, row[0].loss_weight, row[0].token_credit) == (True, 1 / 2, (0.0, 1.0))
    dropped = samples_of([1, 0, 0], [named, ACCEPTED, ACCEPTED], {"d": "drop"})
    assert (dropped[0].kept, dropped[0].loss_weight) == (False, 0)


def test_what_only_monitors_changes_no_weight() -> None:
    light = Verdict("d", True, 0.0, "", weight=0.25, token_credit=(0.0, 1.0))
    (watched, *_), (weighed, *_) = (
        samples_of([1, 0, 0], [light, ACCEPTED, ACCEPTED], {"d": rule})
        for rule in ("monitor", "drop")
    )
    assert (watched.weight, watched.token_credit) == (1.0, None)
    assert (weighed.weight, weighed.token_credit) == (0.25, (0.0, 1.0))


def test_a_weight_votes_and_trains_as_much_as_it_says() -> None:
    """Rewards 1, 0, 0 with weights 1/2, 1, 1: mean 1/5; the loss is shared out by weight."""
    light = Verdict("d", True, 0.0, "", weight=0.5)
    rows = samples_of([1, 0, 0], [light, ACCEPTED, ACCEPTED], {"d": "drop"}, num_groups=5)
    deviation = np.std([1, 0, 0], ddof=1) + STD_EPSILON
    assert [s.advantage for s in rows] == pytest.approx([0.8 / deviation] + [-0.2 / deviation] * 2)
    assert [s.loss_weight for s in rows] == pytest.approx([0.5 / 12.5, 1 / 12.5, 1 / 12.5])
    none = Verdict("d", True, 0.0, "", weight=0.0)
    out = samples_of([1, 1, 0], [none, ACCEPTED, ACCEPTED], {"d": "drop"})
    gone = samples_of([1, 1, 0], [REFUSED, ACCEPTED, ACCEPTED], {"d": "drop"})
    assert [(s.kept, s.advantage, s.loss_weight) for s in out] == [
        (s.kept, s.advantage, s.loss_weight) for s in gone
    ]


def test_weights_and_credits_of_several_defences_multiply() -> None:
    both = (
        Verdict("a", True, 0.0, "", 0.5, (1.0, 0.5)),
        ACCEPTED,
        Verdict("b", True, 0.0, "", 0.5, (0.0, -0.5)),
    )
    rules: dict[str, OnReject] = {"a": "drop", "d": "drop", "b": "drop"}
    first, second = samples_of([1, 0], [both, ACCEPTED], rules)
    assert (first.weight, first.token_credit) == (0.25, (0.0, -0.25))
    assert (second.weight, second.token_credit) == (1.0, None)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=9))
def test_a_credit_alone_is_what_its_product_with_ones_is(credit: list[float]) -> None:
    alone = Verdict("a", True, 0.0, "", token_credit=tuple(credit))
    ones = Verdict("b", True, 0.0, "", token_credit=(1.0,) * len(credit))
    rules = Rules({"a": "drop", "b": "drop"})
    rows = [
        complete(group_of(1), [1.0], [of], rules, num_groups=1) for of in ((alone,), (alone, ones))
    ]
    assert rows[0][0].token_credit == rows[1][0].token_credit == tuple(credit)


def test_what_another_model_wrote_may_teach_by_its_good_completions_only() -> None:
    """Those that are worse than the mean still count in it."""

    def taught(foreign: frozenset[NodeId], rule: Literal["all", "positive"]) -> list[float]:
        rules = Rules({}, foreign=foreign, foreign_teach=rule)
        none: list[tuple[Verdict, ...]] = [()] * 4
        rows = complete(group_of(4), [1, 1, 0, 0], none, rules, num_groups=1)
        assert all(s.kept and s.loss_weight == 1 / 4 for s in rows)
        return [s.advantage for s in rows]

    plain = taught(frozenset(), "all")
    assert plain == taught(frozenset({1, 3}), "all") == taught(frozenset(), "positive")
    assert plain[1] > 0 > plain[3]
    assert taught(frozenset({1, 3}), "positive") == [*plain[:3], 0]


@given(
    rewards=st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=6),
    early=st.lists(st.booleans(), min_size=6, max_size=6),
    late=st.lists(st.booleans(), min_size=6, max_size=6),
    rules=st.tuples(st.sampled_from(RULES), st.sampled_from(RULES)),
)
def test_a_group_that_cannot_teach_never_has_an_advantage(
    rewards: list[float],
    early: list[bool],
    late: list[bool],
    rules: tuple[OnReject, OnReject],
) -> None:
    """Whatever the defences that are still to come say: its passes keep no graph."""
    by_defense: dict[str, OnReject] = {"early": rules[0], "late": rules[1]}
    known = [(Verdict("early", not gone, 0.0, ""),) for gone in early[: len(rewards)]]
    if can_teach(group_of(len(rewards)), rewards, known, Rules(by_defense), ["late"]):
        return
    verdicts = [
        (*row, Verdict("late", not gone, 0.0, "")) for row, gone in zip(known, late, strict=False)
    ]
    rows = samples_of(rewards, verdicts, by_defense)
    assert all(sample.advantage == 0 for sample in rows)


def test_a_group_that_is_all_right_may_teach_where_a_reward_may_still_become_0() -> None:
    known: list[tuple[Verdict, ...]] = [()] * 3
    assert can_teach(group_of(3), [1, 1, 1], known, Rules({"d": "zero_reward"}), ["d"])
    assert not can_teach(group_of(3), [1, 1, 1], known, Rules({"d": "drop"}), ["d"])
    assert not can_teach(group_of(3), [0, 0, 0], known, Rules({"d": "zero_reward"}), ["d"])


def test_the_rules_are_those_of_the_settings() -> None:
    from typing import get_args

    assert set(EFFECTS) == set(get_args(OnReject))
