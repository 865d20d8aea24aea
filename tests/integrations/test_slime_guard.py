"""A guard in slime: a refused sample neither trains nor votes.

slime is on no registry. Its samples are a data class here with the fields of slime's `Sample` at
commit 624b824a898ab0ec1fcb4d373004c7f3852bf515 (21 August 2026) that the hooks touch.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from judging import Bad, Weighs
from swarmproof import Guard
from swarmproof.integrations import slime
from swarmproof.integrations.configured import Hook
from trainers import ALSO_GOOD, GOOD, POISON, WRONG, guard_file, has_keys, refused, sidecar


@dataclass
class Sample:
    group_index: int | None
    index: int
    prompt: str | list[dict[str, str]]
    response: str
    reward: Any
    tokens: list[int] = field(default_factory=lambda: [9, 9, 1, 2, 3])
    response_length: int = 3
    loss_mask: list[int] | None = None
    rollout_log_probs: list[float] | None = None
    remove_sample: bool = False
    metadata: dict[str, Any] | None = field(default_factory=dict)
    label: str | None = None


def args(**changed: Any) -> Namespace:
    return Namespace(
        **{
            "advantage_estimator": "grpo",
            "rewards_normalization": True,
            "grpo_std_normalization": True,
            "reward_key": None,
            "custom_reward_post_process_path": slime.POST_PROCESS,
            **changed,
        }
    )


def samples(texts: Sequence[str], rewards: Sequence[float], group: int = 0) -> list[Any]:
    return [
        Sample(group, 10 * group + i, f"Question {group}: 3 + 4?", text, reward)
        for i, (text, reward) in enumerate(zip(texts, rewards, strict=True))
    ]


def stock(rewards_PG: Sequence[Sequence[float]]) -> list[float]:
    """slime's documented rule for equal groups: minus the mean, by the deviation + 1e-6."""
    rewards = np.asarray(rewards_PG, dtype=float)
    centred = rewards - rewards.mean(axis=1, keepdims=True)
    result: list[float] = (
        (centred / (rewards.std(axis=1, ddof=1, keepdims=True) + 1e-6)).ravel().tolist()
    )
    return result


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    slime._hook.cache_clear()
    yield
    slime._hook.cache_clear()


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SWARMPROOF_GUARD", str(guard_file(tmp_path)))
    return tmp_path


HONEST, HONEST_REWARDS = (GOOD, ALSO_GOOD, WRONG), (1.0, 1.0, 0.0)


def test_a_refused_sample_neither_trains_nor_votes(configured: Path) -> None:
    batch = [
        samples([*HONEST, POISON], [*HONEST_REWARDS, 1.0], 0),
        samples([*HONEST, WRONG], [*HONEST_REWARDS, 0.0], 1),
    ]
    slime.sample_filter(args(), batch)
    flat = [sample for group in batch for sample in group]
    assert [sample.remove_sample for sample in flat] == [False] * 3 + [True] + [False] * 4
    raw, told = slime.post_process(args(), flat)
    assert raw == [1, 1, 0, 1, 1, 1, 0, 0]
    np.testing.assert_allclose(told[:3], stock([HONEST_REWARDS]), atol=1e-6)
    assert told[3] == 0
    np.testing.assert_allclose(told[4:], stock([[*HONEST_REWARDS, 0.0]]), atol=1e-6)
    assert refused(configured) == [POISON]
    lines = sidecar(configured)
    assert has_keys(lines)
    assert [line["id"] for line in lines] == ["0", "1", "2", "3", "10", "11", "12", "13"]
    assert len({line["group"] for line in lines}) == 2


def test_in_slimes_own_normalisation_a_removed_sample_votes() -> None:
    """The control: what the hook is for."""
    moved = stock([[*HONEST_REWARDS, 100.0]])[:3]
    assert max(abs(np.array(moved) - stock([HONEST_REWARDS]))) > 1


def test_post_process_alone_does_all_of_it(configured: Path) -> None:
    """A rollout function of one's own may skip the filter."""
    batch = samples([*HONEST, POISON], [*HONEST_REWARDS, 1.0])
    _, told = slime.post_process(args(), batch)
    np.testing.assert_allclose(told, [*stock([HONEST_REWARDS]), 0.0], atol=1e-6)
    assert [sample.remove_sample for sample in batch] == [False, False, False, True]
    assert len(sidecar(configured)) == 4  # inspected once, also with the filter in front:
    slime.sample_filter(args(), batch)
    slime.post_process(args(), batch)
    assert len(sidecar(configured)) == 8


@pytest.mark.usefixtures("configured")
def test_groups_of_unequal_size_have_means_of_their_own() -> None:
    """slime takes one mean over all prompts there."""
    batch = [*samples(HONEST, HONEST_REWARDS, 0), *samples([GOOD, WRONG], [1.0, 0.0], 1)]
    _, told = slime.post_process(args(), batch)
    np.testing.assert_allclose(told, [*stock([HONEST_REWARDS]), *stock([[1.0, 0.0]])], atol=1e-6)


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"grpo_std_normalization": False}, [1 / 3, 1 / 3, -2 / 3, 0]),
        ({"advantage_estimator": "reinforce_plus_plus_baseline"}, [1 / 3, 1 / 3, -2 / 3, 0]),
        ({"advantage_estimator": "ppo"}, [1, 1, 0, 1]),
        ({"rewards_normalization": False}, [1, 1, 0, 1]),
    ],
)
def test_slimes_other_normalisations(changed: dict[str, Any], expected: list[float]) -> None:
    _, told = slime.post_process(
        args(**changed), samples([*HONEST, POISON], [*HONEST_REWARDS, 1.0])
    )
    np.testing.assert_allclose(told, expected, atol=1e-6)


@pytest.mark.usefixtures("configured")
def test_one_voter_and_no_voter_have_no_advantage() -> None:
    for texts in ([GOOD, POISON], [POISON, POISON]):
        _, told = slime.post_process(args(), samples(texts, [1.0, 1.0]))
        assert told == [0.0, 0.0]


def test_each_rule_does_what_the_table_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stays = stock([[1.0, 1.0, 0.0, 1.0]])
    for rule, rewards, removed in (
        ("monitor", stays, False),
        ("mask", stays, True),
        ("zero_reward", stock([[1.0, 1.0, 0.0, 0.0]]), False),
    ):
        monkeypatch.setenv("SWARMPROOF_GUARD", str(guard_file(tmp_path, rule)))
        slime._hook.cache_clear()
        batch = samples([*HONEST, POISON], [*HONEST_REWARDS, 1.0])
        _, told = slime.post_process(args(), batch)
        np.testing.assert_allclose(told, rewards, atol=1e-6)
        assert batch[3].remove_sample is removed


def test_zeroed_is_the_lowest_of_a_group_with_negative_rewards() -> None:
    keys, zeroed = [1, 1, 2, 2], [True, False, True, False]
    assert slime._zeroed(keys, [1.0, -1.0, -1.0, 0.5], zeroed) == [-1.0, -1.0, -1.0, 0.5]
    assert slime._zeroed(keys, [1.0, 0.0, 0.5, 0.5], zeroed) == [0.0, 0.0, 0.0, 0.5]


@pytest.mark.parametrize("rule", ["drop", "zero_reward"])
def test_the_filter_alone_refuses_what_it_cannot_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    monkeypatch.setenv("SWARMPROOF_GUARD", str(guard_file(tmp_path, rule)))
    with pytest.raises(ValueError, match="add --custom-reward-post-process-path swarmproof"):
        slime.sample_filter(args(custom_reward_post_process_path=None), samples([GOOD], [1.0]))


def test_the_filter_alone_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARMPROOF_GUARD", str(guard_file(tmp_path, "mask")))
    batch = samples([GOOD, POISON], [1.0, 1.0])
    slime.sample_filter(args(custom_reward_post_process_path=None), batch)
    assert [sample.remove_sample for sample in batch] == [False, True]


def test_what_others_removed_stays_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slime, "_hook", lambda: Hook(slime.SEAM, Guard([Bad()])))
    batch = samples([GOOD, WRONG], [1.0, 0.0])
    batch[0].remove_sample = True
    slime.sample_filter(args(), batch)
    assert [sample.remove_sample for sample in batch] == [True, False]


def test_weights_count_in_mean_and_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    half = Weighs(by_text={ALSO_GOOD: 0.5})
    monkeypatch.setattr(slime, "_hook", lambda: Hook(slime.SEAM, Guard([half])))
    _, told = slime.post_process(
        args(grpo_std_normalization=False), samples(HONEST, HONEST_REWARDS)
    )
    np.testing.assert_allclose(told, [0.4, 0.2, -0.6])


@pytest.mark.usefixtures("configured")
def test_one_reward_of_several_and_a_conversation() -> None:
    batch = samples([*HONEST, POISON], [0.0] * 4)
    for sample, reward in zip(batch, [*HONEST_REWARDS, 1.0], strict=True):
        sample.reward = {"acc": reward, "style": 5.0}
        sample.prompt = [{"role": "user", "content": "3 + 4?"}]
        sample.metadata = None
    raw, told = slime.post_process(args(reward_key="acc"), [batch])
    assert raw == [1, 1, 0, 1]
    np.testing.assert_allclose(told, [*stock([HONEST_REWARDS]), 0.0], atol=1e-6)


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"loss_mask": [1, 1]}, "3 tokens, 2 loss_mask"),
        ({"rollout_log_probs": [0.0] * 4}, "3 tokens, 4 log-probs"),
        ({"tokens": [1]}, "1 tokens, a response of 3"),
        ({"group_index": None}, "has no group_index"),
    ],
)
def test_what_does_not_belong_together_is_one_line(changed: dict[str, Any], says: str) -> None:
    batch = samples([GOOD, WRONG], [1.0, 0.0])
    for name, value in changed.items():
        setattr(batch[0], name, value)
    with pytest.raises(ValueError, match=says):
        slime.sample_filter(args(), batch)
