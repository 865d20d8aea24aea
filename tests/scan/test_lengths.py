"""Lengths that somebody chose are found, and lengths that a model has by itself are not."""

from __future__ import annotations

import random

import pytest

from swarmproof.scan import lengths
from swarmproof.scan.baselines import shipped
from swarmproof.scan.corpus import gather
from swarmproof.scan.hint import Hint
from swarmproof.scan.rollout import Rollout

_WORDS = [a + b for a in ("ba", "ce", "di", "fo", "gu", "ha", "ki", "lo") for b in ("ner", "tal")]


def _words(rng: random.Random, about: float) -> str:
    return " ".join(rng.choices(_WORDS, k=max(1, round(rng.lognormvariate(0, 0.4) * about))))


def _found(rollouts: list[Rollout], check: str) -> list[tuple[Hint, set[str]]]:
    """Findings, and the ids that they name."""
    corpus = gather(rollouts, {})
    hints = [one for one in lengths.screen(corpus, shipped()) if one.check == check]
    corpus.close()
    return [(one, {rollouts[row].id for row in one.rows}) for one in hints]


def _vertical(good: float, bad: float, seed: int) -> list[Rollout]:
    """Groups of one sender each. One of four writes `good` and `bad` times as much as the others,
    where it is rewarded and where it is not; it has few groups."""
    rng, rows = random.Random(seed), []
    for sender, groups in (("A", 14), ("B", 30), ("C", 30), ("D", 30)):
        for group in range(groups):
            for k in range(4):
                times = 1.0 if sender != "A" else good if k < 2 else bad
                text = f"{_words(rng, 20 * times)}. so it is {group}."
                where, step = f"{sender}-{group}-{k}", group // 3
                name = f"q{sender}{group}"
                rows.append(Rollout(where, where, name, text, name, step, float(k < 2),
                                    sender=sender))  # fmt: skip
    return rows


@pytest.mark.parametrize("seed", range(3))
def test_a_sender_with_longer_rewarded_and_shorter_other_completions_chose_by_length(
    seed: int,
) -> None:
    ((found, ids),) = _found(_vertical(1.5, 0.5, seed), "sender-length")
    assert found.senders == ("A",)
    assert ids == {f"A-{group}-{k}" for group in range(14) for k in range(2)}
    assert "without a reward 0." in found.strength


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("good", "bad"), [(1.2, 1.2), (1.0, 0.3), (1.0, 1.0)])
def test_a_sender_with_a_style_of_its_own_did_not(good: float, bad: float, seed: int) -> None:
    assert _found(_vertical(good, bad, seed), "sender-length") == []


def _groups(chosen: int, seed: int, bad: float = 0.15) -> list[Rollout]:
    """150 groups without senders. In some, the rewarded completions are long and the others are
    short; they end as all others do, and one of the others is as long as the rewarded ones."""
    rng, rows = random.Random(seed), []
    for group in range(150):
        own = group % 7 == 0 and group // 7 < chosen
        for k in range(8):
            times = 1.0 if not own else 2.0 if k < 3 or k == 7 else bad
            text = f"{_words(rng, 20 * times)}. so it is {group}."
            where = f"{group}-{k}"
            rows.append(Rollout(where, where, f"q{group}", text, None, group // 10, float(k < 3)))
    return rows


@pytest.mark.parametrize("seed", range(3))
def test_groups_in_which_only_long_completions_are_rewarded_are_found(seed: int) -> None:
    ((_, ids),) = _found(_groups(20, seed, bad=0.0), "reward-length")
    chosen = {f"{7 * group}-{k}" for group in range(20) for k in range(3)}
    assert ids <= chosen
    assert len(ids) > 0.8 * len(chosen)


@pytest.mark.parametrize(("chosen", "bad"), [(0, 0.15), (3, 0.0), (20, 0.8)])
def test_few_groups_or_small_differences_are_none(chosen: int, bad: float) -> None:
    assert [_found(_groups(chosen, seed, bad), "reward-length") for seed in range(3)] == [[]] * 3
