"""The filter on rewards against hand-made groups, and the very failure that it is kept for."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from swarmproof.defenses import DefenseView, RewardOutlier
from swarmproof.defenses.reward_outlier import robust_z
from swarmproof.types import Group
from swarms import completion, problem


def refused(*rewards_PG: Sequence[float], threshold: float = 3.5) -> list[list[bool]]:
    groups = [
        Group(problem(), tuple(completion("x", (1,), index=i) for i in range(len(rewards))), "a")
        for rewards in rewards_PG
    ]
    view = DefenseView(rewards=rewards_PG, seed=0)
    found = RewardOutlier(threshold=threshold).inspect(groups, view)
    return [[verdict.accepted is False for verdict in row] for row in found]


def binary(right: int, wrong: int) -> list[float]:
    return [1.0] * right + [0.0] * wrong


def test_the_score_is_the_modified_z() -> None:
    # Median 3, distances 2 1 0 1 97, their median 1.
    assert robust_z([1, 2, 3, 4, 100]) == pytest.approx([d / 1.4826 for d in (2, 1, 0, 1, 97)])
    # Half the distances are 0: their mean, 1 / 4, takes over.
    assert robust_z(binary(1, 3)) == pytest.approx([4 / 1.2533, 0, 0, 0])


def test_a_reward_far_from_the_others_is_refused_and_one_in_reach_is_not() -> None:
    spread = [0.4, 0.45, 0.5, 0.5, 0.6]  # with one more at the end, 3.5 deviations are 0.389
    assert refused([*spread, 0.88], [*spread, 0.9]) == [[False] * 6, [False] * 5 + [True]]
    assert refused([*spread, 0.88], threshold=3) == [[False] * 5 + [True]]


def test_groups_are_judged_by_themselves() -> None:
    assert refused(binary(1, 11), binary(11, 1)) == [
        [True] + [False] * 11,
        [False] * 11 + [True],
    ]


@pytest.mark.parametrize("rewards", [[0.0], [1.0, 0.0], [1.0] * 6, binary(6, 6)], ids=str)
def test_where_nobody_stands_out_nobody_is_refused(rewards: list[float]) -> None:
    assert refused(rewards) == [[False] * len(rewards)]


def test_why_it_fails_the_rare_right_completion_is_refused_and_common_poison_is_not() -> None:
    """Early on an honest model is right once in a while; poison comes three in a group of 12."""
    assert refused(binary(2, 10)) == [[True] * 2 + [False] * 10]
    assert refused(binary(3, 9)) == [[False] * 12]
