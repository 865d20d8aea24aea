"""COPYING: what others sent, and nothing else."""

from __future__ import annotations

import pytest

from swarmproof import zoo
from swarmproof.attacks import Copying
from swarmproof.defenses import Replay
from swarmproof.swarm.assembly import check
from swarmproof.tasks import MathWords
from swarms import policy, refused_by, trial_config, view_of_one

TASK = MathWords(train=64, test=8)
PROBLEMS = TASK.problems("train")[:8]


@pytest.mark.parametrize("victim", ["any", "one"])
def test_it_sends_the_longest_right_ones_of_others(victim: str) -> None:
    view = view_of_one(TASK, PROBLEMS, kind="horizontal", with_seen=True)
    sent = Copying.model_validate({"victim": victim}).craft(view)
    assert len(sent) == 8 * 3
    for of in PROBLEMS:
        others = {
            c.text
            for c in view.seen
            if c.slot.problem_id == of.id and (victim == "any" or c.node == 0)
        }
        own = [c.text for c in sent if c.slot.problem_id == of.id]
        assert others.issuperset(own)
        assert [*map(len, own)] == sorted(map(len, others), reverse=True)[:3]


def test_replay_refuses_a_copy_and_nothing_is_seen_nothing_is_sent() -> None:
    tiny_math = policy(zoo.path("tiny-math"), max_new_tokens=256)
    view = view_of_one(TASK, PROBLEMS, kind="horizontal", policy=tiny_math, with_seen=True)
    assert all(refused_by(Replay(), view, Copying().craft(view)))
    assert Copying().craft(view_of_one(TASK, PROBLEMS, kind="horizontal")) == []


def test_in_a_vertical_swarm_there_is_nothing_to_copy() -> None:
    config = trial_config(
        zoo.path("tiny-math"), attack={"name": "copying"}, swarm={"topology": "vertical"}
    )
    with pytest.raises(ValueError, match="no other node answers its problems"):
        check(config)
