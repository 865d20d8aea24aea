"""The experiments of `small/`: one setting for all arms, and each can run."""

from __future__ import annotations

from pathlib import Path

import pytest

from models import save_random_llama
from swarmproof import registry, steps
from swarmproof.attacks import Attack
from swarmproof.config import ExperimentConfig, load
from swarmproof.config.loading import shipped
from swarmproof.swarm.trial import Trial, play_trial

NAMES = ("text-horizontal", "equation-vertical", "length-vertical")
EVERY = sorted(name.removeprefix("small/") for name in shipped() if name.startswith("small/"))
ARMS = ["no-attack", "attack", "logit", "judge", "one-model"]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_llama(tmp_path_factory.mktemp("models") / "llama", hidden=24)


def shrunk(name: str, model: Path) -> ExperimentConfig:
    return load(
        f"small/{name}",
        overrides=[
            f"model.path={model}",
            "warmup.steps=1",
            "warmup.batch=2",
            "batch.problems=4",
            "batch.group_size=4",
            "sampling.max_new_tokens=24",
            "evaluation.problems=2",
            "rounds=1",
        ],
    )


@pytest.mark.parametrize("name", NAMES)
def test_arms_differ_in_attack_and_defence_only(name: str) -> None:
    experiment = load(f"small/{name}")
    assert list(experiment.arms) == ARMS
    first = experiment.arms["no-attack"]
    for name, arm in experiment.arms.items():
        assert arm.model.path == "smollm2-135m"
        assert arm.warmup.steps > 0
        for same in ("rounds", "task", "warmup", "batch", "sampling", "attack", "evaluation"):
            assert getattr(arm, same) == getattr(first, same), (name, same)
        assert arm.grpo.lr == first.grpo.lr
        # Its check is exact in float32 only.
        exact = [table["name"] for table in arm.defenses] == ["replay"]
        assert arm.model.dtype == ("float32" if exact else "bfloat16")
        assert arm.swarm.malicious == (0 if name == "no-attack" else 1)


@pytest.mark.parametrize("name", EVERY)
def test_every_experiment_starts_from_the_same_warm_up(name: str) -> None:
    same = load("small/text-horizontal").arms["attack"]
    for arm in load(f"small/{name}").arms.values():
        assert (arm.model.path, arm.warmup, arm.rounds) == ("smollm2-135m", same.warmup, 30)
        assert arm.grpo.lr == same.grpo.lr
        attack = registry.build(Attack, arm.attack)
        assert arm.swarm.topology in attack.topologies


@pytest.mark.parametrize("name", NAMES)
def test_every_arm_is_checked_and_begins(
    name: str, llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWARMPROOF_CACHE", str(tmp_path / "cache"))
    experiment = shrunk(name, llama)
    steps.check(experiment)
    for arm in ("attack", "one-model"):
        trial = Trial(name, arm, 0, experiment.arms[arm], tmp_path / arm)
        ((record, _),) = play_trial(trial, resume=False)
        assert record.heldout_accuracy is not None
        assert record.honest == 12
    # One warm-up for both, although they compute in different types.
    assert len([path for path in (tmp_path / "cache/warmup").iterdir() if path.is_dir()]) == 1
