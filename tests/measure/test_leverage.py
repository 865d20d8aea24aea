"""Leverage in closed form and by Monte Carlo, against `guard.advantages` group by group."""

from __future__ import annotations

from itertools import pairwise, product
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarmproof.guard.advantages import advantages
from swarmproof.measure.leverage import (
    Estimate,
    best_count,
    expected_leverage,
    leverage,
    simulated_leverage,
)


def by_hand(rewards: list[float], poisoned: int) -> float:
    """The leverage of the first `poisoned` completions of a group, as training would see them."""
    found = advantages(rewards, [1.0] * len(rewards))
    return float(found[:poisoned].sum()) / len(rewards)


def zeros_and_ones(group_size: int, right: int) -> list[float]:
    return [1.0] * right + [0.0] * (group_size - right)


@pytest.mark.parametrize("group_size", [2, 3, 12, 16, 24, 32, 257])
def test_leverage_is_that_of_the_advantages_we_train_with(group_size: int) -> None:
    for poisoned in range(group_size + 1):
        for right in {0, (group_size - poisoned) // 2, group_size - poisoned}:
            rewards = zeros_and_ones(group_size, poisoned + right)
            expected = by_hand(rewards, poisoned)
            assert leverage(group_size, poisoned, right) == pytest.approx(expected, abs=1e-13)


def test_a_group_by_hand() -> None:
    # Mean 1/4, squares 9/16 + 3/16 = 3/4, sample's deviation 1/2: A = 0.75 / 0.5001, c/G = 1/4.
    assert leverage(4, 1) == pytest.approx(0.25 * 0.75 / 0.5001)


def test_with_the_population_deviation_it_would_be_that_of_the_share_alone() -> None:
    for group_size in (12, 16, 24, 32):
        share = 0.25
        population = sqrt(group_size / (group_size - 1)) * leverage(group_size, group_size // 4)
        assert population == pytest.approx(sqrt(share * (1 - share)), abs=3e-4)


SIZES = st.integers(2, 64)


@given(SIZES)
def test_nothing_and_everything_poisoned_have_no_leverage(group_size: int) -> None:
    assert leverage(group_size, 0) == leverage(group_size, group_size) == 0
    assert expected_leverage(group_size, 0, 0.5) == 0
    for poisoned in (0, group_size):
        assert simulated_leverage(group_size, poisoned, 0.5, draws=2) == Estimate(0, (0, 0))


@given(SIZES, st.data())
def test_groups_of_zeros_and_ones_are_symmetric(group_size: int, data: st.DataObject) -> None:
    poisoned = data.draw(st.integers(0, group_size))
    mirrored = leverage(group_size, group_size - poisoned)
    assert leverage(group_size, poisoned) == pytest.approx(mirrored, abs=1e-13)


@given(SIZES)
def test_half_is_best_and_it_rises_until_there(group_size: int) -> None:
    values = [leverage(group_size, c) for c in range(group_size // 2 + 1)]
    assert values == sorted(values)
    assert best_count(group_size) == group_size // 2
    assert values[-1] <= 0.5


@given(SIZES, st.data())
def test_right_honest_answers_only_take_leverage_away(group_size: int, data: st.DataObject) -> None:
    poisoned = data.draw(st.integers(1, group_size))
    values = [leverage(group_size, poisoned, h) for h in range(group_size - poisoned + 1)]
    assert all(a > b for a, b in pairwise(values))


@pytest.mark.parametrize("accuracy", [0.0, 0.1, 0.5, 0.93, 1.0])
@pytest.mark.parametrize(("group_size", "poisoned"), [(2, 1), (6, 1), (6, 3), (9, 2), (9, 8)])
def test_the_expectation_is_the_mean_over_all_outcomes(
    group_size: int, poisoned: int, accuracy: float
) -> None:
    mean = 0.0
    for outcome in product([0.0, 1.0], repeat=group_size - poisoned):
        right = int(sum(outcome))
        chance = accuracy**right * (1 - accuracy) ** (len(outcome) - right)
        mean += chance * by_hand([1.0] * poisoned + list(outcome), poisoned)
    assert expected_leverage(group_size, poisoned, accuracy) == pytest.approx(mean, abs=1e-12)


@given(SIZES, st.floats(0, 1), st.floats(0, 1), st.data())
def test_it_falls_as_honest_nodes_become_right(
    group_size: int, one: float, other: float, data: st.DataObject
) -> None:
    poisoned = data.draw(st.integers(1, group_size - 1))
    low, high = sorted((one, other))
    at_low, at_high = (expected_leverage(group_size, poisoned, p) for p in (low, high))
    assert 0 <= at_high <= at_low + 1e-12
    assert expected_leverage(group_size, poisoned, 0) == pytest.approx(
        leverage(group_size, poisoned), abs=1e-12
    )
    assert expected_leverage(group_size, poisoned, 1) == pytest.approx(0, abs=1e-12)


def test_a_large_group_does_not_overflow() -> None:
    # The distribution is concentrated at the mean, so the value is close to the leverage there.
    assert expected_leverage(4000, 1000, 0.4) == pytest.approx(leverage(4000, 1000, 1200), rel=1e-3)


@settings(max_examples=60)
@given(st.integers(3, 32), st.floats(-1, 2), st.floats(-1, 2), st.data())
def test_it_falls_as_the_mean_of_honest_rewards_rises(
    group_size: int, one: float, other: float, data: st.DataObject
) -> None:
    # Only with two or more honest rewards: a single one has no spread.
    poisoned = data.draw(st.integers(1, group_size - 2))
    low, high = sorted((one, other))
    at_low, at_high = (
        simulated_leverage(group_size, poisoned, mean, draws=200).mean for mean in (low, high)
    )
    assert at_high <= at_low + 1e-9


def test_a_simulated_draw_is_a_group_that_we_train_with() -> None:
    group_size, poisoned, mean, draws = 12, 3, 0.25, 50
    noise = np.random.default_rng([7, group_size, poisoned]).standard_normal((draws, 9))
    rewards = [[1.0] * poisoned + row.tolist() for row in mean + 0.5 * noise]
    values = [by_hand(row, poisoned) for row in rewards]
    found = simulated_leverage(group_size, poisoned, mean, draws=draws, seed=7)
    assert found.mean == pytest.approx(float(np.mean(values)), abs=1e-12)
    half = (found.ci95[1] - found.ci95[0]) / 2
    assert half == pytest.approx(2.0096 * np.std(values, ddof=1) / sqrt(draws), rel=1e-4)


def test_the_simulation_repeats_itself_and_its_interval_holds_the_truth() -> None:
    assert simulated_leverage(12, 3, 0.5) == simulated_leverage(12, 3, 0.5)
    truth = simulated_leverage(12, 3, 0.5, draws=200_000, seed=10**6).mean
    inside = 0
    for seed in range(100):
        low, high = simulated_leverage(12, 3, 0.5, draws=500, seed=seed).ci95
        inside += low <= truth <= high
    assert 88 <= inside <= 100


def test_with_hardly_any_noise_it_is_the_leverage_of_equal_honest_rewards() -> None:
    found = simulated_leverage(12, 3, 0.0, variance=1e-12, draws=10)
    assert found.mean == pytest.approx(leverage(12, 3), rel=1e-5)


def test_numbers_out_of_bounds_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 completions"):
        leverage(1, 0)
    with pytest.raises(ValueError, match="13 poisoned in a group of 12"):
        leverage(12, 13)
    with pytest.raises(ValueError, match="give 0 to 9"):
        leverage(12, 3, 10)
    for accuracy in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="from 0 to 1"):
            expected_leverage(12, 3, accuracy)
    for mean, variance in ((float("inf"), 1.0), (0.5, 0.0), (0.5, float("nan"))):
        with pytest.raises(ValueError, match="greater than 0"):
            simulated_leverage(12, 3, mean, variance=variance)
    with pytest.raises(ValueError, match="at least 2"):
        simulated_leverage(12, 3, 0.5, draws=1)
