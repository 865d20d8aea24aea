"""Who picks which problems: no claim of a peer takes a slot from somebody else."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmproof.config import BatchConfig, SwarmConfig
from swarmproof.exchange import Channel, Gathered, wire
from swarmproof.swarm.assembly import assemble
from swarmproof.swarm.assignment import Assignment, deal, pick_problems, with_picks
from swarmproof.swarm.round import Swarm, play_round
from swarmproof.types import Completion, NodeId, Problem
from swarms import trial_config

GROUP_SIZE = 2
TRAIN = [Problem(f"p{i}", "", "", ("",)) for i in range(12)]
KNOWN = {problem.id: problem for problem in TRAIN}
Picks = dict[NodeId, list[str]]


def dealt_of(nodes: int, share: int, round: int = 0, topology: Any = "vertical") -> Assignment:
    swarm = SwarmConfig(nodes=nodes, malicious=0, topology=topology)
    batch = BatchConfig(problems=nodes * share, group_size=GROUP_SIZE * nodes)
    return deal(TRAIN, 0, round, swarm, batch)


def claims_on(dealt: Assignment) -> st.SearchStrategy[Picks]:
    """What some nodes say that they picked: often right, often one another's, sometimes made up."""
    assert dealt.shares is not None
    names = st.sampled_from([*KNOWN, "made up"])
    share = len(dealt.shares[0])
    claim = st.lists(names, min_size=share, max_size=share) | st.lists(names, max_size=4)
    return st.dictionaries(st.sampled_from(sorted(dealt.shares)), claim)


DEALT = st.builds(
    dealt_of, nodes=st.integers(1, 4), share=st.integers(1, 2), round=st.integers(0, 9)
)


def by_the_rule(shares: Mapping[NodeId, Sequence[str]], picks: Picks) -> dict[NodeId, list[str]]:
    """Nodes with valid picks, written down once more from the words of the rule."""
    valid: dict[NodeId, list[str]] = {}
    for node in sorted(picks):
        others = [name for n, share in shares.items() if n not in picks for name in share]
        others += [name for row in valid.values() for name in row]
        mine = picks[node]
        right = len(mine) == len(shares[node]) == len(set(mine)) and KNOWN.keys() >= set(mine)
        if right and not set(mine) & set(others):
            valid[node] = mine
    return valid


@given(st.data())
def test_whatever_is_claimed_every_slot_belongs_to_at_most_one_node(data: st.DataObject) -> None:
    dealt = data.draw(DEALT)
    picks = data.draw(claims_on(dealt))
    found, refusals = with_picks(dealt, picks, KNOWN)
    assert dealt.shares is not None
    assert found.shares is not None
    valid = by_the_rule(dealt.shares, picks)
    for node, share in dealt.shares.items():
        mine = valid.get(node, [] if node in picks else share)
        assert list(found.shares[node]) == list(mine)
        assert [(s.problem_id, s.index) for s in found.slots[node]] == [
            (name, index) for name in mine for index in range(dealt.group_size)
        ]
        if node not in picks:
            assert found.slots[node] == dealt.slots[node]
    slots = [slot for row in found.slots.values() for slot in row]
    assert len(set(slots)) == len(slots)
    assert {slot.problem_id for slot in slots} == set(found.problems)
    assert all(found.problems[name] is KNOWN[name] for name in found.problems)
    # Once a node, and never anybody who did as the rule says.
    assert sorted(str(r.node) for r in refusals) == sorted(str(n) for n in picks.keys() - valid)
    for refusal in refusals:
        assert (refusal.slot, refusal.layer, refusal.code) == (None, "wire", "picks")
        assert refusal.reason
        assert "\n" not in refusal.reason


@pytest.mark.parametrize(
    ("picks", "words"),
    [
        ({1: ["p0"]}, "picked 1 problems, and its share is 2"),
        ({1: ["p0", "p1", "p2"]}, "picked 3 problems, and its share is 2"),
        ({1: ["p0", "p0"]}, "picked a problem twice"),
        ({1: ["p0", "made up"]}, "not one of the training problems"),
    ],
)
def test_picks_that_break_the_rule_are_refused_with_the_reason(picks: Picks, words: str) -> None:
    _, (refusal,) = with_picks(dealt_of(3, 2), picks, KNOWN)
    assert words in refusal.reason


def test_of_two_that_pick_the_same_the_lower_number_has_it_and_what_others_keep_is_theirs() -> None:
    dealt = dealt_of(3, 1)
    assert dealt.shares is not None
    (free, *_) = [name for name in KNOWN if name not in dealt.problems]
    # Whoever comes first in the mapping: a message's place in it is a matter of luck.
    found, (refusal,) = with_picks(dealt, {2: [free], 1: [free]}, KNOWN)
    assert (refusal.node, refusal.reason) == (2, "picked a problem that is another node's")
    assert found.shares == {0: dealt.shares[0], 1: (free,), 2: ()}
    found, (refusal,) = with_picks(dealt, {1: dealt.shares[0]}, KNOWN)
    assert refusal.node == 1
    # What a picker was dealt is free for another one, and for itself.
    swapped: dict[NodeId, tuple[str, ...]] = {1: dealt.shares[2], 2: dealt.shares[1]}
    found, refusals = with_picks(dealt, swapped, KNOWN)
    assert (found.shares, refusals) == ({0: dealt.shares[0], **swapped}, [])
    assert with_picks(dealt, {1: dealt.shares[1]}, KNOWN) == (dealt, [])


def test_where_all_share_the_problems_nobody_picks() -> None:
    dealt = dealt_of(2, 2, topology="horizontal")
    found, (refusal,) = with_picks(dealt, {1: list(dealt.problems)}, KNOWN)
    assert (refusal.node, refusal.code) == (1, "picks")
    assert "in a horizontal swarm all nodes share them" in refusal.reason
    # The message is refused; what it owes stays the same.
    assert found == dealt
    assert with_picks(dealt, {}, KNOWN) == (dealt, [])


@given(
    st.integers(2, 4), st.integers(1, 2), st.integers(0, 9), st.integers(0, 9), st.integers(1, 3)
)
def test_colluding_nodes_pick_no_problem_of_an_honest_node_and_none_twice(
    nodes: int, share: int, round: int, run_seed: int, colluding: int
) -> None:
    dealt = dealt_of(nodes, share, round)
    assert dealt.shares is not None
    malicious = list(dealt.shares)[-min(colluding, nodes - 1) :]
    # No more than the swarm has problems, so that most are somebody's.
    pickable = [*dealt.problems.values()]
    picks = pick_problems(pickable, dealt, run_seed, malicious)
    honest = {name for node, row in dealt.shares.items() if node not in picks for name in row}
    picked = [name for row in picks.values() for name in row]
    assert list(picks) == malicious
    assert honest.isdisjoint(picked)
    assert len(set(picked)) == len(picked) == share * len(malicious)
    assert picks == pick_problems(pickable, dealt, run_seed, malicious)
    found, refusals = with_picks(dealt, picks, KNOWN)
    assert (found.shares, refusals) == ({**dealt.shares, **picks}, [])


# In a played round --------------------------------------------------------------------------------

EQUATION: dict[str, Any] = {
    "swarm": {"topology": "vertical", "malicious": 2},
    # Seven of these 32 compute 2 + 2.
    "task": {"name": "math_words", "train": 32, "test": 20},
    "batch": {"problems": 4, "group_size": 4},
    "attack": {"name": "equation", "foil": "gibberish"},
    "sampling": {"max_new_tokens": 100},
    "evaluation": {"problems": 1, "every": 99},
}


def test_in_a_played_round_every_problem_is_distinct_and_nothing_is_refused(
    random_model: Path,
) -> None:
    swarm = assemble(trial_config(random_model, **EQUATION), 9)
    assert swarm.adversary is not None
    poisoned = wanted = 0
    for round in range(5):
        (outcome,) = play_round(swarm, round)
        dealt = swarm.deal(round)
        assert dealt.shares is not None
        names = [group.problem.id for group in outcome.found.groups]
        assert len(set(names)) == len(names)
        of_honest = {name for node in (0, 1) for name in dealt.shares[node]}
        if_nobody_had_any = replace(dealt, shares={**dealt.shares, 0: (), 1: ()})
        liked = swarm.adversary.picks(if_nobody_had_any).values()
        wanted += sum(name in of_honest for row in liked for name in row)
        for group in outcome.found.groups:
            sent_by = {completion.node for completion in group.completions}
            assert len(sent_by) == 1
            assert (group.problem.id in of_honest) is (sent_by <= {0, 1})
            assert sent_by <= {0, 1} or swarm.attack.picks(group.problem)
        assert (outcome.record.malformed, list(outcome.record.refusals)) == (0, [])
        assert outcome.record.honest == 8
        poisoned += outcome.record.poisoned
    assert poisoned > 6
    assert wanted > 0, "there was nothing to clash over"


class Greedy(Channel):
    """Node 3 says that it picked what it likes, and fills all slots of it."""

    def __init__(self, swarm: Swarm, picks: Sequence[str]):
        self.swarm, self.picks = swarm, picks

    def publish(self, round: int, node: NodeId, payload: bytes) -> None:
        if node == 3:
            dealt, run_id = self.swarm.deal(round), self.swarm.run_id
            chosen, _ = with_picks(dealt, {3: self.picks}, self.swarm.train)
            slots = chosen.slots[3] or dealt.slots[0]
            sent = [Completion(slot, 3, "B", None) for slot in slots]
            payload = wire.encode(round, sent, run_id=run_id, picks=self.picks)
        self.swarm.channel.publish(round, node, payload)

    def gather(self, round: int, senders: Collection[NodeId], deadline: float) -> Gathered:
        return self.swarm.channel.gather(round, senders, deadline)


@pytest.mark.parametrize("free", [True, False])
def test_a_node_that_picks_what_is_free_has_it_and_one_that_picks_anothers_has_nothing(
    random_model: Path, free: bool
) -> None:
    swarm = assemble(trial_config(random_model, swarm={"topology": "vertical"}), 0)
    dealt = swarm.deal(0)
    assert dealt.shares is not None
    (name, *_) = (n for n in swarm.train if n not in dealt.problems) if free else dealt.shares[0]
    greedy = replace(swarm, channel=Greedy(swarm, [name]))
    (outcome,) = play_round(greedy, 0)
    record = outcome.record
    told = [(row["node"], row["layer"], row["code"]) for row in record.refusals]
    assert told == ([] if free else [(3, "wire", "picks")])
    assert (record.honest, record.poisoned, record.malformed) == (12, 4 * free, not free)
    by_problem = {
        group.problem.id: {completion.node for completion in group.completions}
        for group in outcome.found.groups
    }
    honest = {dealt.shares[node][0]: {node} for node in range(3)}
    assert by_problem == honest | ({name: {3}} if free else {})
