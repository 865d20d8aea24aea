"""The time that trials take here is measured by real rounds, and added up as they would run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch

from swarmproof.config import TrialConfig
from swarmproof.reproduce import command, runner, timing
from swarmproof.reproduce.timing import Pace, Timing, measure, side_by_side
from swarmproof.swarm.trial import Trial, run_trial
from swarms import trial_config


@pytest.mark.parametrize(
    ("rounds", "every", "evaluations"),
    [(1, 10, 1), (2, 10, 2), (11, 10, 2), (12, 10, 3), (6, 1, 6)],
)
def test_a_trial_is_its_rounds_and_its_evaluations(
    random_model: Path, rounds: int, every: int, evaluations: int
) -> None:
    config = trial_config(random_model, rounds=rounds, evaluation={"every": every})
    assert Pace(100, 10, 1).seconds(config) == 100 + 10 * evaluations + rounds


def test_an_estimate_is_near_what_a_trial_takes(random_model: Path, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    config = trial_config(random_model, rounds=12, checkpoint_every=12)
    told = measure(config).seconds(config)
    began = time.perf_counter()
    run_trial(Trial("experiment", "arm", 0, config, tmp_path), resume=False)
    assert 0.3 < told / (time.perf_counter() - began) < 3
    assert torch.get_num_threads() == threads


def test_each_kind_is_timed_once_and_none_after_the_budget(
    random_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[str] = []

    def measured(config: TrialConfig) -> Pace:
        timed.append(str(config.attack["name"]))
        return Pace(0, 0, float(len(timed)))

    monkeypatch.setattr(timing, "measure", measured)
    text = trial_config(random_model)
    alike: dict[str, Any] = {"rounds": 3, "grpo": {"lr": 1e-4}, "attack": {"phrase": "Trust me"}}
    other = trial_config(random_model, attack={"name": "length"})
    found = Timing()
    assert found.seconds(text) == 6
    assert found.seconds(trial_config(random_model, **alike)) == 3
    assert found.seconds(other) == 12
    assert timed == ["text", "length"]
    assert (found.measured, found.guessed) == (2, 0)
    hasty = Timing(budget=0)
    assert hasty.seconds(text) == hasty.seconds(other) == 18
    assert timed == ["text", "length", "text"]
    assert (hasty.measured, hasty.guessed) == (1, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"path": "Qwen/Qwen2.5-1.5B"}},
        {"task": {"name": "gsm8k"}},
        {"exchange": {"name": "folder", "path": "somewhere"}},
        {"defenses": [{"name": "judge", "model": {"name": "openai", "base_url": "http://x/v1"}}]},
    ],
    ids=["model", "data", "other processes", "server"],
)
def test_what_would_need_more_than_this_machine_is_not_timed(
    random_model: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    def never(config: TrialConfig) -> Pace:
        raise AssertionError(config)

    monkeypatch.setattr(timing, "measure", never)
    assert Timing().seconds(trial_config(random_model, **changes)) is None


def test_trials_are_started_as_there_is_room() -> None:
    assert side_by_side([3, 1, 1, 4], 2) == 6
    assert side_by_side([3, 1, 1], 1) == 5
    assert side_by_side([], 2) == 0


def test_a_dry_run_of_the_tiny_scale_tells_the_time_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["rounds=3", "batch.problems=2", "batch.group_size=8", "sampling.max_new_tokens=32"]
    plan = runner.plan(command.choose(["fig16", "fig7"], "tiny"), (0, 1), small)
    lines = list(command.dry_run(plan, Timing(), jobs=2))
    assert any(line.startswith("  this machine: ") for line in lines)
    assert not any("no estimate" in line for line in lines)
    assert lines[-1].startswith("This machine: about ")
    assert "with 2 trials at once" in lines[-1]
    assert not list(tmp_path.iterdir())
