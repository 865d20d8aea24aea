"""Who fills which slots: every slot exactly once, in equal shares, for all sizes that divide."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmproof.swarm import topology
from swarmproof.types import Slot

NODES = st.integers(1, 12)
SHARES = st.integers(1, 5)
COUNTS = st.integers(0, 9)


def ids(count: int) -> list[str]:
    return [f"p{i}" for i in range(count)]


def every_slot(round: int, num_problems: int, group_size: int) -> Counter[Slot]:
    return Counter(Slot(round, p, g) for p in ids(num_problems) for g in range(group_size))


@given(st.integers(0, 1000), NODES, SHARES, COUNTS)
def test_horizontal_gives_every_slot_to_exactly_one_node(
    round: int, nodes: int, share: int, num_problems: int
) -> None:
    slots = topology.horizontal(round, ids(num_problems), nodes * share, nodes)
    assert list(slots) == list(range(nodes))
    assert {len(row) for row in slots.values()} == {share * num_problems}
    assert Counter(s for row in slots.values() for s in row) == every_slot(
        round, num_problems, nodes * share
    )
    for row in slots.values():
        assert Counter(s.problem_id for s in row) == dict.fromkeys(ids(num_problems), share)


@given(st.integers(0, 1000), NODES, SHARES, st.integers(1, 6))
def test_vertical_gives_every_slot_of_what_is_dealt_to_exactly_one_node(
    round: int, nodes: int, share: int, group_size: int
) -> None:
    dealt = topology.deal(ids(nodes * share), nodes)
    assert [p for picks in dealt.values() for p in picks] == ids(nodes * share)
    slots = topology.vertical(round, dealt, group_size)
    assert list(slots) == list(range(nodes))
    assert Counter(s for row in slots.values() for s in row) == every_slot(
        round, nodes * share, group_size
    )
    for node, row in slots.items():
        assert Counter(s.problem_id for s in row) == dict.fromkeys(dealt[node], group_size)


def test_vertical_nodes_may_pick_the_same_problem() -> None:
    slots = topology.vertical(0, {0: ["a"], 1: ["a", "b"]}, 2)
    assert slots[0] == (Slot(0, "a", 0), Slot(0, "a", 1))
    assert slots[1][:2] == slots[0]


@given(st.integers(2, 12), st.integers(1, 60))
def test_what_does_not_divide_is_an_error_that_names_it(nodes: int, size: int) -> None:
    if size % nodes == 0:
        size += 1
    with pytest.raises(ValueError, match=rf"group_size = {size} .*{nodes} nodes"):
        topology.horizontal(0, ["p"], size, nodes)
    with pytest.raises(ValueError, match=rf"problems = {size} .*{nodes} nodes"):
        topology.deal(ids(size), nodes)


def test_no_nodes_is_an_error() -> None:
    with pytest.raises(ValueError, match="among 0 nodes"):
        topology.horizontal(0, ["p"], 4, 0)
