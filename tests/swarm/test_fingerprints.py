"""A trial that was stopped before its first checkpoint still knows its data and models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from models import save_random_qwen2
from swarmproof.config import TrialConfig
from swarmproof.swarm.checkpoint import CHECKPOINT
from swarmproof.swarm.identity import FINGERPRINTS
from swarmproof.swarm.trial import Trial, play_trial, run_trial
from swarms import trial_config


@pytest.fixture
def model(random_model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(random_model, tmp_path / "model")


def stopped_early(config: TrialConfig, folder: Path) -> Trial:
    """A trial that has played one round and has no checkpoint."""
    trial = Trial("experiment", "arm", 0, config, folder)
    rounds = play_trial(trial, resume=False)
    next(rounds)
    rounds.close()  # type: ignore[attr-defined]
    assert not (folder / CHECKPOINT).exists()
    return trial


def write_data(path: Path, first: int) -> None:
    rows = (
        {"question": f"What is {i} + {i}?", "answer": f"#### {2 * i}"}
        for i in range(first, first + 24)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def refused(trial: Trial, words: str) -> None:
    before = {path.name: path.read_bytes() for path in trial.folder.iterdir()}
    with pytest.raises(ValueError, match=words) as caught:
        run_trial(trial, resume=True)
    assert "\n" not in str(caught.value)
    assert "--out" in str(caught.value) or "delete" in str(caught.value)
    assert {path.name: path.read_bytes() for path in trial.folder.iterdir()} == before


def test_other_data_are_named(model: Path, tmp_path: Path) -> None:
    def config(path: Path) -> TrialConfig:
        task: Any = {"name": "gsm8k", "path": str(path), "holdout": 8}
        return trial_config(model, task=task, sampling={"max_new_tokens": 8})

    # A task reads a file once a process, so another file stands for one that was overwritten.
    for name, first in (("a.jsonl", 0), ("b.jsonl", 1)):
        write_data(tmp_path / name, first)
    stopped = stopped_early(config(tmp_path / "a.jsonl"), tmp_path / "trial")
    other = Trial("experiment", "arm", 0, config(tmp_path / "b.jsonl"), stopped.folder)
    refused(other, "the data of the task 'gsm8k' changed since")
    run_trial(stopped, resume=True)


def test_another_model_is_named(model: Path, tmp_path: Path) -> None:
    trial = stopped_early(trial_config(model), tmp_path / "trial")
    save_random_qwen2(model, seed=9, hidden=64)
    refused(trial, "the model at .*model' changed since")
    run_trial(trial, resume=False)  # started anew, it remembers what is there now
    run_trial(trial, resume=True)


@pytest.mark.parametrize("text", ["", "[]", "{", "null"])
def test_damaged_fingerprints_are_one_line(model: Path, tmp_path: Path, text: str) -> None:
    trial = stopped_early(trial_config(model), tmp_path / "trial")
    (trial.folder / FINGERPRINTS).write_text(text)
    refused(trial, r"fingerprints\.json is damaged: .*; delete .* and resume")
