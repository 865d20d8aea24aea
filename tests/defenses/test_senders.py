"""Comparing senders: the tail, the median, and what is a right completion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from swarmproof.defenses import DefenseView, LengthMatch, Novelty, Signature
from swarmproof.defenses.base import Setting
from swarmproof.defenses.senders import (
    high,
    key,
    middle,
    nothing,
    once,
    raw_advantages,
    right,
    suspicion,
)
from swarmproof.guard.advantages import advantages
from swarmproof.types import Group


@given(st.integers(1, 400), st.floats(0, 1), st.floats(1e-4, 0.99))
@example(313, 1.0, 0.09375)  # 1e-322
def test_the_suspicion_is_the_exact_tail(of: int, share: float, rate: float) -> None:
    count = math.ceil(share * of)
    found = suspicion(count, of, rate)
    if count <= rate * of:
        assert found == 0.0  # not more than expected, so not suspicious
    else:
        wanted = -stats.binom.logsf(count - 1, of, rate) / math.log(10)
        assert math.isfinite(found)
        # Below 1e-300 the oracle has few digits left.
        if wanted < 300:
            assert found == pytest.approx(wanted, rel=1e-6, abs=1e-9)


def test_fractions_are_rounded_towards_the_harmless_side() -> None:
    assert suspicion(9.9, 20.1, 0.1) == suspicion(9, 21, 0.1) < suspicion(10, 20, 0.1)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=9), st.data())
def test_a_minority_cannot_move_the_middle_out_of_the_honest_range(
    honest: list[float], data: st.DataObject
) -> None:
    """The others of one honest node: fewer than half of all nodes are malicious."""
    most = len(honest)  # of len(honest) + 1 honest nodes and `most` malicious ones
    bad = data.draw(st.lists(st.floats(0, 1), max_size=most))
    assert min(honest) <= middle([*honest, *bad]) <= 1
    # The others of a malicious node are one honest node more, and one malicious one fewer.
    assert middle([*honest, min(honest), *bad[1:]]) <= max(honest)


@pytest.mark.parametrize(("nodes", "minority"), [(3, 1), (4, 1), (5, 2), (6, 2), (7, 3), (8, 3)])
def test_high_is_the_largest_that_a_minority_cannot_set_alone(nodes: int, minority: int) -> None:
    others = list(range(nodes - 1))
    assert high(others) == sorted(others)[-minority]
    if nodes > 3:  # of three nodes, a copier and its victim leave nobody to compare with
        assert high([0.0, 0.0, *[1.0] * (nodes - 3)]) == 1.0


@given(st.lists(st.sampled_from([-1.0, 0.1, 0.2, 0.3, 0.7, 1.0]), max_size=9), st.randoms())
def test_the_order_of_rewards_does_not_decide_what_is_right(rewards: list[float], rng: Any) -> None:
    pairs = sorted(zip(rewards, right(rewards), strict=True))
    rng.shuffle(rewards)
    assert pairs == sorted(zip(rewards, right(rewards), strict=True))
    assert nothing(rewards) == min([0.0, *rewards])


def test_a_reward_that_is_the_mean_but_for_rounding_is_not_above_it() -> None:
    assert right([0.1, 0.2, 0.3]) == [False, False, True]
    assert right([0.3, 0.2, 0.1]) == [True, False, False]


def test_right_is_above_the_mean_or_in_a_group_of_equals_positive() -> None:
    assert right([1, 0, 1]) == [True, False, True]
    assert right([0.1, 1.1]) == [False, True]
    assert right([-1, 1]) == [False, True]
    assert right([1, 1]) == [True, True]
    assert right([0, 0]) == [False, False]
    assert right([]) == []


@given(st.lists(st.floats(-5, 5), max_size=8))
def test_the_raw_advantages_are_those_of_a_group_without_refusals(rewards: list[float]) -> None:
    wanted = advantages(rewards, [1.0] * len(rewards))
    assert raw_advantages(rewards) == pytest.approx(wanted)


def test_a_round_is_compared_once_for_all_who_read_and_remember_the_same() -> None:
    compared = []

    def compare(groups: Sequence[Group], view: DefenseView) -> int:
        compared.append((groups, view))
        return len(compared)

    def ask(texts: Sequence[str] = ("a", "b"), tokens: int = 1, **view: Any) -> int:
        ids = [[0] * tokens for _ in texts]
        groups = [Group.of("?", texts, ids, senders=[0, 1])]
        seen = DefenseView(**{"rewards": [[1.0, 0.0]], "seed": 0, "round": 3, **view})
        # A second time for the same groups, as for `remember` after `inspect`.
        told = once(Once(), groups, seen, compare, lengths=lengths)
        assert told == once(Once(), list(groups), seen, compare, lengths=lengths)
        return told

    class Once(Signature):
        """A defence of its own, so that nothing has been compared for it."""

    for lengths in (False, True):
        compared.clear()
        assert ask() == ask() == 1
        assert ask(tokens=2) == 1 + lengths  # another tokenizer
        compared.clear()
        for n, other in enumerate(
            ({"texts": ("a", "c")}, {"rewards": [[0.0, 1.0]]}, {"round": 4}, {"state": {"x": 1}}), 1
        ):
            assert ask(**other) == n  # type: ignore[arg-type]


def test_a_number_and_its_text_are_two_senders() -> None:
    assert key(1) != key("1")


@pytest.mark.parametrize("defense", [Signature(), Novelty(), LengthMatch()])
def test_a_swarm_without_a_majority_is_refused_with_the_preset_that_fits(
    defense: Signature | Novelty | LengthMatch,
) -> None:
    defense.require_in(Setting(nodes=3))
    for setting, fits in (
        (Setting(nodes=1), "trainer"),
        (Setting(nodes=2), "one-model"),
        (Setting(nodes=2, models=2), "several-models-judge"),
        (Setting(nodes=2, models=2, programs=True), "paper-any-model"),
    ):
        with pytest.raises(ValueError, match=f'guard.preset = "{fits}"') as error:
            defense.require_in(setting)
        assert "\n" not in str(error.value)
