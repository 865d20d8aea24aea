"""Surprise: planted unlikely tokens are refused, and honest draws at the rate that is asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmproof import zoo
from swarmproof.defenses import DefenseView, Surprise
from swarmproof.defenses.surprise import limits
from swarmproof.policies.policy import Policy
from swarmproof.tasks import MathWords
from swarmproof.types import Completion, Group, NodeId, Problem, Slot, Verdict
from swarms import draw_group, policy

TASK = MathWords(train=64, test=16)
PROBLEMS = TASK.problems("train")[:8]
NODES = 4
VALUES = st.floats(-50, 0)


@pytest.fixture(scope="module")
def receiver() -> Policy:
    # Cold, so that a careless base model calculates as carefully as a trained one.
    return policy(zoo.path("tiny-math"), max_new_tokens=96, temperature=0.4)


@pytest.fixture(scope="module")
def drawn(receiver: Policy) -> list[Group]:
    """Of every problem, what each of four nodes drew."""
    return [
        Group(
            of,
            tuple(
                Completion(c.slot, c.slot.index % NODES, c.text, c.token_ids)
                for c in draw_group(receiver, TASK, of, range(24)).completions
            ),
            TASK.prompt(of),
        )
        for of in PROBLEMS
    ]


def inspect(
    defense: Surprise,
    receiver: Policy,
    groups: Sequence[Group],
    foreign: frozenset[NodeId] = frozenset(),
) -> list[tuple[Completion, Verdict]]:
    view = DefenseView(
        rewards=[],
        seed=0,
        sampling=receiver.sampling,
        source=receiver.scorer.score([g.prompt for g in groups], [g.token_ids for g in groups]),
        codec=receiver.codec,
        foreign=foreign,
    )
    return [
        pair
        for group, row in zip(groups, defense.inspect(groups, view), strict=True)
        for pair in zip(group.completions, row, strict=True)
    ]


def with_poison(receiver: Policy, groups: Sequence[Group], plant: str) -> list[Group]:
    """Node 3 sends solutions, the first result in each of which is something else."""

    def poisoned(of: Problem, slot: Slot) -> Completion:
        text = TASK.oracle(of, slot.index)
        before, equals, after = text.partition(" = ")
        assert equals
        result = after.split(" ")[0].split(".")[0]
        wrong = plant or str(int(result) + 1 if result[-1] != "9" else int(result) - 1)
        text = f"{before} = {wrong}{after[len(result) :]}"
        return Completion(slot, 3, text, receiver.codec.encode(text))

    return [
        Group(
            group.problem,
            tuple(poisoned(group.problem, c.slot) if c.node == 3 else c for c in group.completions),
            group.prompt,
        )
        for group in groups
    ]


def test_honest_draws_are_refused_at_the_rate_that_is_asked_for(
    receiver: Policy, drawn: list[Group]
) -> None:
    shares = []
    for rate in (0.02, 0.1, 0.3):
        found = inspect(Surprise(false_rejections=rate), receiver, drawn)
        refused = [v for _, v in found if v.accepted is False]
        assert {c.node for c, v in found if not v.accepted} == set(range(NODES)) or rate < 0.1
        shares.append(len(refused) / len(found))
        # A node has 48 completions, and no share of them below 1/48 but none.
        assert shares[-1] <= rate + 1 / 48
        # The three measures often name the same completion.
        assert shares[-1] >= rate / 4
        for _, verdict in found:
            assert (verdict.score > 0) is (verdict.accepted is False) is bool(verdict.reason)
    assert shares == sorted(shares)


@pytest.mark.parametrize("foreign", [frozenset[NodeId](), frozenset({1, 2, 3})])
@pytest.mark.parametrize("plant", ["hail", "", "\x07\x07"], ids=["word", "digit", "bytes"])
def test_what_was_planted_is_refused_and_moves_no_limit(
    receiver: Policy, drawn: list[Group], plant: str, foreign: frozenset[NodeId]
) -> None:
    found = inspect(Surprise(), receiver, with_poison(receiver, drawn, plant), foreign)
    poisoned = [v for c, v in found if c.node == 3]
    assert sum(v.accepted is False for v in poisoned) > 0.9 * len(poisoned)
    honest = [v for c, v in found if c.node != 3]
    assert sum(v.accepted is False for v in honest) <= 0.03 * len(honest)


def test_the_reason_names_the_place(receiver: Policy, drawn: list[Group]) -> None:
    (group, *others) = drawn
    bad = group.completions[3]
    ids = bad.token_ids or ()
    rare = receiver.codec.encode("\x07")[0]
    planted = Completion(bad.slot, 3, "", (*ids[:5], rare, *ids[5:]))
    changed = Group(
        group.problem, (*group.completions[:3], planted, *group.completions[4:]), group.prompt
    )
    (verdict,) = [v for c, v in inspect(Surprise(), receiver, [changed, *others]) if c is planted]
    assert verdict.accepted is False
    assert "least likely token, at position 5, has log-probability" in verdict.reason


@given(
    st.lists(
        st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=40).map(np.array),
        min_size=1,
        max_size=7,
    ),
    st.floats(0.001, 0.5),
)
def test_a_node_alone_refuses_no_more_of_its_own_than_the_rate(
    values_N: list[np.ndarray], rate: float
) -> None:
    for values in values_N:
        below = (values < limits([values], rate)).sum(0)
        assert (below <= 1 + rate * (len(values) - 1)).all()
    together = limits(values_N, rate)
    alone = np.array([limits([values], rate) for values in values_N])
    assert (alone.min(0) <= together).all()
    assert (together <= alone.max(0)).all()


@given(
    st.lists(st.lists(VALUES, min_size=1, max_size=9), min_size=3, max_size=7),
    st.lists(st.lists(VALUES, min_size=1, max_size=9), min_size=1, max_size=2),
)
def test_a_minority_cannot_move_a_limit_beyond_those_of_the_others(
    honest: list[list[float]], lies: list[list[float]]
) -> None:
    as_nodes = [np.array(values)[:, None] for values in (*honest, *lies)]
    alone = [float(limits([values], 0.1)[0]) for values in as_nodes[: len(honest)]]
    assert min(alone) <= float(limits(as_nodes, 0.1)[0]) <= max(alone)


def test_a_completion_without_a_digit_has_no_digit_to_refuse() -> None:
    values = np.array([[-1.0, np.nan], [-2.0, -3.0], [-4.0, np.nan]])
    assert limits([values], 0.5).tolist() == [-2.0, -3.0]
    assert np.isnan(limits([values[:1]], 0.3)[1])
    assert limits([values[:1], values[1:2]], 0.3).tolist() == [-1.5, -3.0]


def test_the_tokens_with_a_digit_are_known(receiver: Policy) -> None:
    texts = receiver.codec.decode([(i,) for i in sorted(receiver.codec.digit_ids)])
    assert sorted(set(texts)) == list("0123456789")
