"""Advantages of a group: relative to what is kept, in exact arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmproof.config import OnReject
from swarmproof.guard.advantages import STD_EPSILON, advantages

REWARDS = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(-10, 10, allow_subnormal=False))
GROUPS = st.lists(st.tuples(REWARDS, st.booleans()), min_size=2, max_size=16)
ON_REJECT: list[OnReject] = ["drop", "zero_reward"]


@pytest.mark.parametrize("on_reject", ON_REJECT)
@given(group=GROUPS, scale=st.booleans())
def test_zero_mean_over_what_is_kept(
    group: list[tuple[float, bool]], scale: bool, on_reject: OnReject
) -> None:
    rewards, refused = zip(*group, strict=True)
    found, kept = advantages(rewards, refused, on_reject=on_reject, scale_rewards=scale)
    assert np.isfinite(found).all()
    # The scale is at most 1 / epsilon, and with it grows the rounding.
    assert abs(found[kept].sum()) < 1e-8
    assert (found[~kept] == 0).all()


@given(reward=REWARDS, size=st.integers(2, 16), scale=st.booleans())
def test_equal_rewards_teach_nothing(reward: float, size: int, scale: bool) -> None:
    found, kept = advantages([reward] * size, [False] * size, on_reject="drop", scale_rewards=scale)
    assert (found == 0).all()
    assert kept.all()


@given(group=GROUPS)
def test_drop_is_the_group_without_the_refused(group: list[tuple[float, bool]]) -> None:
    rewards, refused = zip(*group, strict=True)
    found, kept = advantages(rewards, refused, on_reject="drop")
    assert kept.tolist() == [not r for r in refused]
    rest = [reward for reward, gone in group if not gone]
    alone, _ = advantages(rest, [False] * len(rest), on_reject="drop")
    assert np.array_equal(found[kept], alone)


@given(group=GROUPS)
def test_zero_reward_is_the_same_group_with_refused_at_zero(
    group: list[tuple[float, bool]],
) -> None:
    rewards, refused = zip(*group, strict=True)
    found, kept = advantages(rewards, refused, on_reject="zero_reward")
    zeroed = [0.0 if gone else reward for reward, gone in group]
    expected, _ = advantages(zeroed, [False] * len(zeroed), on_reject="drop")
    assert kept.all()
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("refused", [[True, True, True], [True, False, True]])
def test_fewer_than_two_kept_teach_nothing(refused: list[bool]) -> None:
    found, kept = advantages([1.0, 0.0, 1.0], refused, on_reject="drop")
    assert (found == 0).all()
    assert kept.sum() == 3 - sum(refused)


def exact(rewards: list[int]) -> list[float]:
    """(r - mean) / (std + epsilon), every step but the root in fractions."""
    mean = Fraction(sum(rewards), len(rewards))
    variance = sum((r - mean) ** 2 for r in rewards) / (len(rewards) - 1)
    return [float(r - mean) / (float(variance) ** 0.5 + STD_EPSILON) for r in rewards]


@pytest.mark.parametrize("rewards", [[1, 0, 0, 0], [1, 1, 0], [0, 1] * 6, [3, 1, -2, 5, 5]])
def test_exact_values(rewards: list[int]) -> None:
    found, _ = advantages(rewards, [False] * len(rewards), on_reject="drop")
    assert found == pytest.approx(exact(rewards), rel=1e-13)


def test_one_right_of_four_by_hand() -> None:
    """Mean 1/4, variance 1/4, deviation 1/2: advantages near 3/2 and -1/2."""
    found, _ = advantages([1, 0, 0, 0], [False] * 4, on_reject="drop")
    assert found == pytest.approx([0.75 / 0.5001] + [-0.25 / 0.5001] * 3, rel=1e-13)
    unscaled, _ = advantages([1, 0, 0, 0], [False] * 4, on_reject="drop", scale_rewards=False)
    assert unscaled.tolist() == [0.75, -0.25, -0.25, -0.25]


def test_a_rejection_moves_the_others_differently() -> None:
    """Why `on_reject` is a field of the experiment: a refused right answer, both ways."""
    rewards, refused = [1.0, 1.0, 0.0, 0.0], [True, False, False, False]
    dropped, _ = advantages(rewards, refused, on_reject="drop")
    zeroed, _ = advantages(rewards, refused, on_reject="zero_reward")
    assert dropped == pytest.approx([0.0, *exact([1, 0, 0])], rel=1e-13)
    assert zeroed == pytest.approx(exact([0, 1, 0, 0]), rel=1e-13)
    assert zeroed[0] < 0
