"""The bound on length: what is above it, just at it, and who moves it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from swarmproof import Guard
from swarmproof.defenses import DefenseView, MaxTokens
from swarmproof.types import Group, Verdict
from swarms import completion, problem


def verdicts(defense: MaxTokens, *lengths_PG: Sequence[int]) -> list[list[Verdict]]:
    groups = [
        Group(
            problem(), tuple(completion("x", (1,) * n, index=i) for i, n in enumerate(lengths)), "a"
        )
        for lengths in lengths_PG
    ]
    rewards = [[0.0] * len(lengths) for lengths in lengths_PG]
    return defense.inspect(groups, DefenseView(rewards=rewards, seed=0))


def accepted(defense: MaxTokens, *lengths_PG: Sequence[int]) -> list[list[bool | None]]:
    return [[verdict.accepted for verdict in row] for row in verdicts(defense, *lengths_PG)]


def test_the_limit_itself_passes_and_a_token_more_does_not() -> None:
    assert accepted(MaxTokens(limit=20), [1, 20, 21], [90]) == [[True, True, False], [False]]
    (row,) = verdicts(MaxTokens(limit=20), [10, 30])
    assert [(v.score, v.reason) for v in row] == [
        (0.5, ""),
        (1.5, "30 tokens, and at most 20 pass"),
    ]


def test_without_a_limit_it_is_the_median_of_the_whole_round() -> None:
    # The median of 8, 10, 10, 12, 22, 23 is 11; a group of its own would pass the long ones.
    assert accepted(MaxTokens(), [8, 10, 10, 12], [23, 22]) == [[True] * 4, [False, True]]
    assert accepted(MaxTokens(factor=1), [8, 10, 12]) == [[True, True, False]]


def test_what_has_no_tokens_is_an_error_and_empty_completions_move_no_bound_to_nothing() -> None:
    bare = [Group.of("Q?", ["word " * 500, "b", "c"])]
    for defense in ({"name": "max_tokens"}, {"name": "max_tokens", "limit": 3}):
        with pytest.raises(ValueError, match="give token_ids or a tokenizer"):
            Guard([defense])(bare, [[1.0, 0.0, 0.0]])
    assert accepted(MaxTokens(), [0, 0, 1], [0, 0, 2]) == [[True] * 3, [True, True, False]]


def test_a_quarter_of_the_swarm_cannot_move_the_bound_far() -> None:
    lengths = list(range(20, 38))
    (row,) = accepted(MaxTokens(), [*lengths, *[10_000] * 6])
    assert row == [True] * 18 + [False] * 6


def test_why_it_fails_what_is_below_the_bound_passes_and_lifts_the_next_one() -> None:
    median, poison = 20, 0
    for _ in range(5):
        poison = 2 * median
        assert accepted(MaxTokens(), [median] * 9 + [poison] * 3) == [[True] * 12]
        median += median // 5  # what the model learns from it
    assert poison > 70
