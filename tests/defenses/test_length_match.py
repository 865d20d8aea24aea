"""Length match: needless length loses its weight, honest lengths keep theirs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from senders import Receiver, Sent, groups_of, refused
from swarmproof import Guard
from swarmproof.defenses import DefenseView, LengthMatch, length_match
from swarmproof.defenses.senders import raw_advantages
from swarmproof.types import NodeId, Verdict

NODES = 4
Draw = Callable[[Random, bool], int]
Rows = dict[int, list[tuple[int, int, float, float]]]  # node -> length, group, mass, weight


def usual(rng: Random, good: bool) -> int:
    return round(rng.gauss(32, 6)) if good else round(rng.gauss(40, 12))


def longest(rng: Random, good: bool) -> int:
    """The longest right and the shortest wrong of many."""
    return (max if good else min)(usual(rng, good) for _ in range(20))


def mixed(rng: Random, good: bool) -> int:
    return longest(rng, good) if rng.random() < 0.25 else usual(rng, good)


def short(rng: Random, good: bool) -> int:  # noqa: ARG001
    return 1


def endless(rng: Random, good: bool) -> int:  # noqa: ARG001
    return 500


def vertical(seed: int, of_last: Draw, problems: int = 8) -> list[list[Sent]]:
    """Every node has its own groups of 12, about half of them right."""
    rng = Random(seed)
    return [
        [
            (node, "x", good, max(1, (of_last if node == NODES - 1 else usual)(rng, good)))
            for good in [True, False, *(rng.random() < 0.5 for _ in range(10))]
        ]
        for node in range(NODES)
        for _ in range(problems)
    ]


def mean_length(verdicts: list[list[Verdict]], sent: list[list[Sent]], node: NodeId) -> float:
    """The mean length of right completions of a node, weighted as they are learnt from."""
    pairs = [
        (verdict.weight * (verdict.accepted is not False), length)
        for row, of in zip(verdicts, sent, strict=True)
        for verdict, (sender, _, good, length) in zip(row, of, strict=True)
        if sender == node and good
    ]
    return float(np.average([n for _, n in pairs], weights=[w for w, _ in pairs]))


def test_honest_nodes_keep_their_weight() -> None:
    for seed in range(3):
        receiver = Receiver(LengthMatch())
        for round in range(6):
            sent = vertical(100 * seed + round, usual)
            found = receiver(sent)
            assert sum(refused(found, sent).values()) == 0
            weights = [v.weight for row in found for v in row]
            assert np.mean(weights) > 0.9


def test_whoever_sends_the_longest_is_refused_in_whole_and_nobody_else() -> None:
    receiver = Receiver(LengthMatch())
    for round in range(6):
        sent = vertical(round, longest)
        found = receiver(sent)
        # About 50 right completions a round: one round is too little to refuse a node in whole.
        assert refused(found, sent) == {0: 0, 1: 0, 2: 0, 3: 96 if round >= 2 else 0}
    assert "others' lengths" in found[-1][0].reason
    assert found[-1][0].score > 0.7


def granted(verdicts: list[list[Verdict]], sent: list[list[Sent]], node: NodeId) -> float:
    """The share of the right completions of a node that is learnt from."""
    weights = [
        verdict.weight
        for row, of in zip(verdicts, sent, strict=True)
        for verdict, (sender, _, good, _) in zip(row, of, strict=True)
        if sender == node and good
    ]
    return sum(weights) / len(weights)


def test_without_the_floor_little_is_granted_to_the_longest_and_a_mixture_is_trimmed() -> None:
    sent = vertical(0, longest)
    assert granted(Receiver(LengthMatch(floor=0))(sent), sent, 3) < 0.3
    plain, trimmed, strict, loose = [], [], [], []
    for seed in range(6):
        mix = vertical(seed, mixed)
        found = Receiver(LengthMatch(floor=0))(mix)
        whole = [[LengthMatch().verdict(True, 0.0) for _ in row] for row in mix]
        plain.append(mean_length(whole, mix, 3))
        trimmed.append(mean_length(found, mix, 3))
        strict.append(granted(Receiver(LengthMatch(floor=0, z=0.5))(mix), mix, 3))
        loose.append(granted(found, mix, 3))
        assert granted(found, mix, 0) > 0.97
    assert np.mean(trimmed) < np.mean(plain) - 0.5
    # A larger z leaves more to chance.
    assert np.mean(strict) < np.mean(loose) - 0.05


def test_wrong_completions_are_weighed_from_the_shortest_up() -> None:
    sent = vertical(0, longest)
    found = Receiver(LengthMatch(floor=0))(sent)
    wrong = [
        (length, verdict.weight)
        for row, of in zip(found, sent, strict=True)
        for verdict, (node, _, good, length) in zip(row, of, strict=True)
        if node == 3 and not good
    ]
    assert min(wrong)[1] < 0.2
    assert sum(weight for _, weight in wrong) < 0.6 * len(wrong)


def test_the_rule_holds_at_every_length_and_the_weights_are_the_largest() -> None:
    """Recomputed here from the rule's own words, over several rounds."""
    z = 1.5
    for seed in range(3):
        receiver = Receiver(LengthMatch(floor=0, z=z))
        rows: Rows = {n: [] for n in range(NODES)}
        for round in range(3):
            sent = vertical(10 * seed + round, mixed)
            before = {node: len(of) for node, of in rows.items()}
            for p, (told, of) in enumerate(zip(receiver(sent), sent, strict=True)):
                mass = np.abs(raw_advantages([float(good) for _, _, good, _ in of]))
                for verdict, (node, _, good, length), m in zip(told, of, mass, strict=True):
                    if good:
                        group = 100 * round + p
                        rows[node].append((length, group, float(m), verdict.weight))
            for node in range(NODES):
                _check_rule(rows, node, before[node], z)


def _check_rule(rows: Rows, node: int, start: int, z: float) -> None:
    """`start`: where the rows of this round begin."""

    def share(node: int, length: int) -> float:
        whole = sum(m for _, _, m, _ in rows[node])
        return sum(m for n, _, m, _ in rows[node] if n >= length) / whole

    def at(length: int, of: list[tuple[int, int, float, float]]) -> float:
        return sum(m * w for n, _, m, w in of if n >= length)

    total = at(0, rows[node])
    groups = {p for _, p, _, _ in rows[node]}
    q = sum(sum(m for _, of, m, _ in rows[node] if of == p) ** 2 for p in groups)
    met = False  # the bound of this length or of a shorter one
    for length in sorted({n for n, *_ in rows[node]}):
        s = sorted(share(other, length) for other in range(NODES))[1]
        bound = s * total + z * math.sqrt(max(0.0, s * (1 - s) * q))
        granted = at(length, rows[node])
        assert granted <= max(bound, at(length, rows[node][:start])) + 1e-6
        met |= s < 1 and granted >= bound - 1e-6
        now = [w for n, _, _, w in rows[node][start:] if n == length]
        # What lost weight met a bound.
        assert met or all(w > 1 - 1e-9 for w in now)


def test_chance_is_granted_once_and_not_in_every_round() -> None:
    """Else a mixture would be granted as many standard deviations as there are rounds."""
    shares = []
    for memory in (0, 8):
        receiver = Receiver(LengthMatch(floor=0, memory=memory))
        for round in range(9):
            sent = vertical(round, mixed)
            found = receiver(sent)
        shares.append(granted(found, sent, 3))
        assert granted(found, sent, 0) > 0.95
    assert shares[1] < shares[0] - 0.15


def test_the_floor_counts_the_rounds_before() -> None:
    receiver = Receiver(LengthMatch(memory=5))
    for round in range(6):
        receiver(vertical(round, usual))
    caught = []
    for round in range(6, 12):
        sent = vertical(round, longest)
        caught.append(refused(receiver(sent), sent)[3] > 0)
    assert not caught[0]
    assert caught[-1]
    # And it is forgiven in as many rounds.
    for round in range(12, 18):
        sent = vertical(round, usual)
        found = receiver(sent)
    assert refused(found, sent)[3] == 0


def test_a_group_without_an_advantage_has_no_mass() -> None:
    sent = [
        *vertical(0, usual),
        [(3, "x", 1, 900) for _ in range(12)],  # all right: nobody learns from it
    ]
    receiver = Receiver(LengthMatch())
    found = receiver(sent)
    assert all(verdict.weight == 1 and verdict.accepted for verdict in found[-1])
    lengths = [x for x, *_ in receiver.state["rounds"][0]["3"]["right"]["histogram"]]
    assert lengths
    assert max(lengths) < 900


def test_what_nobody_can_be_compared_with_is_refused_and_later_forgiven() -> None:
    """Else an attacker would be safe while the others earn nothing, or everything."""
    alone = [
        [(3, "x", 1, 90), (3, "x", 0, 9)],
        *([(node, "x", 1, 30), (node, "x", 1, 30)] for node in range(3)),
    ]
    receiver = Receiver(LengthMatch())
    found = receiver(alone)
    assert [v.accepted for v in found[0]] == [False, False]
    assert "too few nodes" in found[0][0].reason
    assert all(v.accepted for row in found[1:] for v in row)
    sent = vertical(0, usual)
    assert refused(receiver(sent), sent)[3] == 0


def _some_right(
    nodes: int, lengths: dict[int, int], rounds: int = 3
) -> tuple[dict[int, float], dict[int, int]]:
    """The mean weight of the right completions of some nodes in the last round, and how many of
    them were refused. The other nodes are never right."""
    receiver = Receiver(LengthMatch())
    for round in range(rounds):
        rng = Random(round)
        sent = [
            [
                (node, "x", good, rng.randint(lengths[node] - 3, lengths[node] + 3))
                if node in lengths
                else (node, "no", False, 1)
                for good in (True, True, False, False)
            ]
            for _ in range(8)
            for node in range(nodes)
        ]
        found = receiver(sent)
    of: dict[int, list[Verdict]] = {node: [] for node in lengths}
    for row, verdicts in zip(sent, found, strict=True):
        for (node, _, good, _), verdict in zip(row, verdicts, strict=True):
            if good and node in lengths:
                of[node].append(verdict)
    return (
        {n: sum(v.weight if v.accepted else 0.0 for v in row) / len(row) for n, row in of.items()},
        {n: sum(v.accepted is False for v in row) for n, row in of.items()},
    )


def test_a_node_that_is_never_right_does_not_stop_the_two_others() -> None:
    weights, refused = _some_right(3, {0: 30, 1: 30})
    assert min(weights.values()) > 0.8
    # One of the two may be the attacker: it gets no weight for lengths that the other has not.
    weights, _ = _some_right(3, {0: 30, 1: 60})
    assert weights[0] > 0.8
    assert weights[1] < 0.2
    # With short ones it trims the other, which is never refused in whole for it.
    _, refused = _some_right(4, {0: 30, 1: 5}, rounds=12)
    assert refused == {0: 0, 1: 0}
    assert _some_right(4, {0: 30})[1][0] > 0, "alone it may be the attacker"


def test_of_five_nodes_or_more_three_are_compared() -> None:
    assert min(_some_right(7, {0: 30, 1: 30, 2: 30})[0].values()) > 0.8
    assert _some_right(5, {0: 30, 1: 30})[0] == {0: 0.0, 1: 0.0}, "both may be malicious"


def test_the_lengths_of_earlier_rounds_are_compared_with() -> None:
    receiver = Receiver(LengthMatch())
    receiver(vertical(0, usual))
    alone = [[(3, "x", 1, 30), (3, "x", 0, 40)], *([(node, "x", 1, 30)] for node in range(3))]
    assert [verdict.accepted for verdict in receiver(alone)[0]] == [True, True]


def test_it_abstains_and_says_why() -> None:
    two = [[(0, "x", 1, 9), (1, "x", 0, 9)]]
    assert "fewer than 3 nodes" in Receiver(LengthMatch())(two)[0][0].reason
    groups, rewards = groups_of([[(n, "x", n % 2, 9) for n in range(4)]])
    bare = [
        type(g)(g.problem, tuple(type(c)(c.slot, c.node, c.text, None) for c in g.completions), "")
        for g in groups
    ]
    view = DefenseView(rewards=rewards, seed=0)
    ((first, *_),) = LengthMatch().inspect(bare, view)
    assert first.accepted is None
    assert "token" in first.reason
    assert LengthMatch().remember(bare, view) == {}


def test_a_minority_cannot_move_the_lengths_that_count() -> None:
    """Whatever node 3 sends, an honest node is measured by lengths that honest nodes have."""
    for extreme in (short, endless):
        sent = vertical(0, extreme)
        found = refused(Receiver(LengthMatch())(sent), sent)
        assert found[0] == found[1] == found[2] == 0


@settings(max_examples=30)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 400)), min_size=2, max_size=30))
def test_whatever_a_sender_writes_honest_nodes_with_equal_lengths_lose_nothing(
    own: list[tuple[bool, int]],
) -> None:
    """Of four nodes the lower median lies between the shares of the honest ones."""
    receiver = Receiver(LengthMatch(z=0))
    for round in range(2):
        rng = Random(round)
        row = [(good, usual(rng, good)) for good in (True, False) for _ in range(6)]
        sent: list[list[Sent]] = [[(node, "x", *each) for each in row] for node in range(3)]
        sent.append([(3, "x", *each) for each in own])
        for verdict in (v for told in receiver(sent)[:3] for v in told):
            assert verdict.accepted
            assert verdict.weight == pytest.approx(1)
            assert verdict.score == pytest.approx(0, abs=1e-9)


@settings(max_examples=15)
@given(st.randoms(use_true_random=False), st.integers(0, 99))
def test_no_order_matters_and_the_state_is_json(rng: Random, seed: int) -> None:
    sent = vertical(seed, mixed, problems=3)
    straight, shuffled = Receiver(LengthMatch()), Receiver(LengthMatch())
    first = straight(sent)
    order = rng.sample(range(len(sent)), len(sent))
    within = [rng.sample(range(len(row)), len(row)) for row in sent]
    second = shuffled([[sent[p][g] for g in within[p]] for p in order])
    for p, row in zip(order, second, strict=True):
        assert [first[p][g] for g in within[p]] == row
    assert straight.state == shuffled.state == json.loads(json.dumps(straight.state))


XS = st.integers(-60, 60)
SHARES = st.lists(st.tuples(XS, st.floats(0, 2)), min_size=1, max_size=12)


@given(st.lists(SHARES, min_size=1, max_size=5), st.lists(XS, max_size=9))
def test_the_share_of_others_is_the_lower_median_at_every_length(
    nodes: list[list[tuple[int, float]]], xs: list[int]
) -> None:
    every = [tuple(map(np.array, zip(*sorted(of), strict=True))) for of in nodes]
    wanted = []
    for x in xs:
        shares = [next((s for at, s in sorted(of) if at >= x), 0.0) for of in nodes]
        wanted.append(min(1.0, sorted(shares)[(len(shares) - 1) // 2]))
    assert length_match._shared(every, np.array(xs)).tolist() == wanted  # type: ignore[arg-type]


def test_rewards_whose_masses_would_be_no_numbers_are_an_error() -> None:
    groups, _ = groups_of([[(node, "x", 0) for node in range(3)]])
    with pytest.raises(ValueError, match="the reward of completion 0 of group 0 is"):
        Guard([LengthMatch()])(groups, [[1.5e308, 1.5e308, 0.0]])


def test_the_state_is_bounded() -> None:
    receiver = Receiver(LengthMatch(memory=2))
    for round in range(4):
        receiver(vertical(round, usual))
    assert len(receiver.state["rounds"]) == 2
    assert Receiver(LengthMatch(memory=0)).defense.remember(*_view_of(vertical(0, usual))) == {
        "rounds": []
    }


def _view_of(sent: list[list[Sent]]) -> tuple[list, DefenseView]:  # type: ignore[type-arg]
    groups, rewards = groups_of(sent)
    return groups, DefenseView(rewards=rewards, seed=0)


@pytest.mark.parametrize("rewards", [(0.0, 0.0), (1e100, -1e100), (1e-300, 0.0)])
def test_any_reward_gives_weights(rewards: tuple[float, float]) -> None:
    sent = [[(node, "x", r, 9 + node) for node in range(4) for r in rewards] for _ in range(4)]
    for row in Receiver(LengthMatch())(sent):
        assert all(0 <= verdict.weight <= 1 for verdict in row)


_HISTOGRAM = st.dictionaries(st.integers(1, 12), st.floats(0.1, 3), min_size=1, max_size=8)


@settings(max_examples=200)
@given(
    st.lists(_HISTOGRAM, min_size=3, max_size=5),
    st.lists(st.tuples(_HISTOGRAM, st.floats(0, 1)), max_size=3),
    st.sampled_from((0.0, 0.5, 1.0, 2.0)),
    st.integers(0, 20),
)
def test_what_is_granted_is_the_largest_that_fits(
    nodes: list[dict[int, float]], past: list[tuple[dict[int, float], float]], z: float, shift: int
) -> None:
    """Approached from above, from the whole mass. A search from within once lost it to rounding."""
    nodes[-1] = {x + shift: mass for x, mass in nodes[-1].items()}
    every = [
        (np.array(xs), np.cumsum(mass[::-1])[::-1] / mass.sum())
        for xs, mass in ((sorted(of), np.array([of[x] for x in sorted(of)])) for of in nodes)
    ]
    before = [
        {
            "histogram": [[x, mass, part * mass] for x, mass in of.items()],
            "squares": sum(mass**2 for mass in of.values()),
        }
        for of, part in past
    ]
    squares = sum(mass**2 for mass in nodes[-1].values())
    found = LengthMatch(z=z)._granted(nodes[-1], squares, before, every)
    total = _largest(nodes[-1], squares, before, every, z)
    assert sum(found.values()) == pytest.approx(total, abs=1e-3)


def _largest(
    masses: dict[int, float],
    squares: float,
    before: list[dict[str, Any]],
    every: list[tuple[Any, Any]],
    z: float,
) -> float:
    had = [(x, got) for of in before for x, _, got in of["histogram"]]
    xs = sorted(masses.keys() | {x for x, _ in had}, reverse=True)
    shares = length_match._shared(every, np.array(xs)).tolist()
    q = squares + sum(of["squares"] for of in before)
    total = sum(masses.values())
    for _ in range(20_000):
        bounds = [
            max(0.0, s * (total + sum(got for _, got in had)) + z * math.sqrt(s * (1 - s) * q)
                - sum(got for at, got in had if at >= x))
            for x, s in zip(xs, shares, strict=True)
        ]  # fmt: skip
        reached = 0.0
        for i, x in enumerate(xs):
            reached += max(0.0, min(masses.get(x, 0.0), min(bounds[i:]) - reached))
        if reached >= total - 1e-7:
            break
        total = reached
    return total
