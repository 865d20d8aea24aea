"""LENGTH REPLAY: what a proof of each draw leaves to an attacker, and what it does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from swarmproof import zoo
from swarmproof.attacks import LengthReplay, search
from swarmproof.attacks.base import AttackView
from swarmproof.attacks.candidates import forced
from swarmproof.attacks.search import column_of, near_draws
from swarmproof.defenses import Logit, Replay
from swarmproof.policies.policy import Policy
from swarmproof.tasks import MathWords
from swarmproof.types import Slot
from swarms import policy, problem, refused_by, view_of_one

TASK = MathWords(train=512, test=8)
PROBLEMS = TASK.problems("train")[:16]


@pytest.fixture(scope="module")
def tiny_math() -> Policy:
    return policy(zoo.path("tiny-math"), max_new_tokens=96)


def attack(how: str, **fields: object) -> LengthReplay:
    return LengthReplay.model_validate({"how": how, **fields})


@pytest.mark.parametrize("kind", ["horizontal", "vertical"])
def test_what_it_withholds_would_not_serve_and_the_rest_is_proved(
    kind: str, tiny_math: Policy
) -> None:
    view = view_of_one(TASK, PROBLEMS, kind=kind, policy=tiny_math)
    drawn = forced(view)
    sent = {c.slot: c for c in attack("withhold").craft(view)}
    assert 0 < len(sent) < len(drawn)
    assert not any(refused_by(Replay(), view, [*sent.values()]))

    def mean(slots: list[Slot], reward: float) -> float:
        of = [
            len(drawn[s].token_ids or ())
            for s in slots
            if TASK.rewards(view.problems[s.problem_id], [drawn[s].text]) == [reward]
        ]
        return sum(of) / len(of)

    withheld = [slot for slot in drawn if slot not in sent]
    assert mean([*sent], 1.0) > mean(withheld, 1.0)
    assert mean([*sent], 0.0) < mean(withheld, 0.0)


def test_near_ties_are_longer_inside_the_tolerance_and_seen_by_a_tighter_one(
    tiny_math: Policy,
) -> None:
    view = view_of_one(TASK, PROBLEMS[:8], kind="vertical", policy=tiny_math)
    usual = {slot: len(draft.token_ids or ()) for slot, draft in forced(view).items()}
    sent = attack("near_ties", tolerance=1.0, alternatives=4).craft(view)
    assert {c.slot for c in sent} == {*usual}
    length = {c.slot: len(c.token_ids or ()) for c in sent}
    assert sum(length.values()) > sum(usual.values())
    assert not any(refused_by(Replay(tolerance=1.0, ties=2), view, sent))
    assert any(refused_by(Replay(tolerance=1e-3), view, sent))
    # Where nothing is near, the forced draws are sent.
    exact = attack("near_ties", tolerance=0.0, alternatives=2).craft(view)
    assert {c.slot: len(c.token_ids or ()) for c in exact} == usual


def test_near_draws_in_parts_are_near_draws(
    tiny_math: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a tolerance of 0 nothing is left to chance, so that the parts give the same."""
    prompts = [tiny_math.codec.encode_prompt(TASK.prompt(problem)) for problem in PROBLEMS[:5]]
    seeds = [[5, 6]] * 5

    def drawn() -> list[Any]:
        rng = np.random.default_rng(0)
        return near_draws(tiny_math, prompts, seeds, tolerance=0.0, ties=2, rng=rng)

    whole = drawn()
    monkeypatch.setattr(search, "_DRAWN_ROWS", 4)
    assert drawn() == whole


def test_near_draws_lose_no_more_than_they_may_and_no_more_often(tiny_math: Policy) -> None:
    prompt = TASK.prompt(PROBLEMS[0])
    ids, seeds = tiny_math.codec.encode_prompt(prompt), [[5] * 8 + [6] * 8]

    def lost(ties: int, tolerance: float = 1.0) -> list[np.ndarray]:
        rng = np.random.default_rng(0)
        rows = near_draws(tiny_math, [ids], seeds, tolerance=tolerance, ties=ties, rng=rng)
        (margins,) = column_of(tiny_math, "margin", [prompt], rows, seeds)
        return list(margins)

    for few, many in zip(lost(2), lost(99), strict=True):
        assert max(few.max(), many.max()) <= 1.0
        assert (few > 0).sum() <= 2
    assert max((margins > 0).sum() for margins in lost(99)) > 2
    assert max(margins.max() for margins in lost(0)) == 0
    assert max(margins.max() for margins in lost(99, tolerance=0.0)) == 0


def test_an_edit_is_refused_by_replay_and_seldom_by_logit(tiny_math: Policy) -> None:
    view = view_of_one(TASK, PROBLEMS, kind="horizontal", policy=tiny_math)
    drawn = forced(view)
    sent = attack("edit").craft(view)
    edited = [c for c in sent if c.text != drawn[c.slot].text]
    assert edited
    assert all(TASK.rewards(view.problems[c.slot.problem_id], [c.text]) == [1.0] for c in edited)
    assert all(refused_by(Replay(), view, edited))
    assert not all(refused_by(Logit(), view, edited))
    assert not any(refused_by(Replay(), view, [c for c in sent if c not in edited]))


def test_it_chooses_problems_with_long_solutions() -> None:
    picks = [p for p in TASK.problems("train") if attack("choose").picks(p)]
    assert 32 <= len(picks) < len(TASK.problems("train")) / 2
    assert all(attack("withhold").picks(p) for p in TASK.problems("train"))


def test_who_is_late_sends_nothing(tiny_math: Policy) -> None:
    assert (
        attack("late").craft(view_of_one(TASK, PROBLEMS, kind="vertical", policy=tiny_math)) == []
    )


def test_one_completion_does_not_tell() -> None:
    assert LengthReplay().success(problem(), "x" * 1000) is None


def test_without_seeds_it_says_so(tiny_math: Policy) -> None:
    view = view_of_one(TASK, PROBLEMS, kind="vertical", policy=tiny_math)
    unseeded = AttackView(
        view.nodes, view.slots, view.problems, TASK, tiny_math, "vertical", 4, view.rng
    )
    with pytest.raises(ValueError, match="was given no seeds"):
        LengthReplay().craft(unseeded)
