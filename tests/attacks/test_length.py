"""LENGTH: the longest right samples of the model, sent as they were sampled."""

from __future__ import annotations

import dataclasses

import pytest

from swarmproof import zoo
from swarmproof.attacks import Length
from swarmproof.attacks.base import AttackView
from swarmproof.attacks.candidates import draw
from swarmproof.policies.policy import Policy
from swarmproof.swarm import topology
from swarmproof.tasks import MathWords
from swarms import attack_view, policy, problem

TASK = MathWords(train=16, test=8)
PROBLEMS = TASK.problems("train")[:4]
LIMIT = 96


@pytest.fixture(scope="module")
def tiny_math() -> Policy:
    return policy(zoo.path("tiny-math"), max_new_tokens=LIMIT)


def view_of(kind: str, drawer: Policy) -> AttackView:
    ids = [p.id for p in PROBLEMS]
    everybody = (
        topology.horizontal(0, ids, 12, 4)
        if kind == "horizontal"
        else topology.vertical(0, topology.deal(ids, 4), 12)
    )
    slots = {3: everybody[3]}
    return attack_view(TASK, PROBLEMS, slots, topology=kind, num_nodes=4, policy=drawer, seed=3)


@pytest.mark.parametrize("kind", ["horizontal", "vertical"])
def test_the_longest_of_the_best_rewarded_are_sent(kind: str, tiny_math: Policy) -> None:
    crafted = Length().craft(view_of(kind, tiny_math))
    # The same samples again, from the same source of randomness.
    view = view_of(kind, tiny_math)
    drawn = draw(view, list({c.slot.problem_id: None for c in crafted}), 80)
    for id, drafts in drawn.items():
        sent = [c for c in crafted if c.slot.problem_id == id]
        reward = dict(
            zip(drafts, TASK.rewards(view.problems[id], [d.text for d in drafts]), strict=True)
        )
        right = {d.text: len(d.token_ids or ()) for d, r in reward.items() if r == 1.0}
        wanted = 3 if kind == "horizontal" else 6
        good = [c for c in sent if c.text in right]
        longest = sorted(right.values(), reverse=True)[:wanted]
        assert [len(c.token_ids or ()) for c in good] == longest
        assert all(tiny_math.codec.decode([c.token_ids or ()]) == [c.text] for c in sent)
        assert max(len(c.token_ids or ()) for c in sent) <= LIMIT
        if kind == "vertical":
            wrong = sorted(len(d.token_ids or ()) for d, r in reward.items() if r == 0.0)
            foils = [len(c.token_ids or ()) for c in sent if c.text not in right]
            assert len(foils) == 6
            assert foils[0] == wrong[0]


def test_where_nothing_is_right_nothing_is_sent(tiny_math: Policy) -> None:
    view = view_of("horizontal", tiny_math)
    unknowable = {id: dataclasses.replace(p, answer="-1") for id, p in view.problems.items()}
    crafted = Length(candidates=8).craft(dataclasses.replace(view, problems=unknowable))
    assert crafted == []


def test_one_completion_does_not_tell() -> None:
    for text in ("", "x" * 1000):
        assert Length().success(problem(), text) is None
