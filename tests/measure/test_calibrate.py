"""The threshold keeps its promise, and the command prints what can be pasted."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import save_random_qwen2
from swarmproof.config import ExperimentConfig
from swarmproof.measure.calibrate import calibrate, find, halves, threshold_for, toml_line
from swarmproof.records.folder import RunFolder
from swarmproof.swarm.trial import Trial, run_trial
from swarms import trial_config


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.5])
def test_new_honest_completions_are_refused_no_more_often_than_was_asked(rate: float) -> None:
    rng = np.random.default_rng(0)
    refused = []
    for _ in range(2000):
        scores = rng.exponential(size=101)
        refused.append(scores[-1] > threshold_for(scores[:-1].tolist(), rate))
    error = 3 * (rate * (1 - rate) / 2000) ** 0.5
    assert np.mean(refused) <= rate + error
    assert np.mean(refused) >= rate - 1 / 100 - error, "and hardly less"


def test_the_threshold_is_one_of_the_scores_and_ties_pass() -> None:
    assert threshold_for([1.0, 2.0, 3.0], 0.25) == 3.0
    assert threshold_for([0.0] * 99, 0.01) == 0.0
    assert threshold_for([float(i) for i in range(1, 50)], 0.02) == 49.0
    with pytest.raises(ValueError, match=r"48 completions are too few.*it takes 49 in each half"):
        threshold_for([0.0] * 48, 0.02)


def test_completions_of_a_problem_are_in_the_same_half() -> None:
    assert halves(["a", "a", "b", "c", "b"]) == [True, True, False, True, False]


def test_an_arm_needs_a_defence_with_a_threshold_that_is_used(random_model: Path) -> None:
    with pytest.raises(ValueError, match="the arm 'x' has no defence with a threshold"):
        find(trial_config(random_model, defenses=[{"name": "logit"}]), "x")
    with pytest.raises(ValueError, match="'x' decides by a sampled word"):
        find(trial_config(random_model, defenses=[{"name": "judge", "decision": "sampled"}]), "x")
    both = trial_config(random_model, defenses=[{"name": "logit"}, {"name": "judge"}])
    assert find(both, "x")[0] == 1


def test_what_is_printed_is_toml() -> None:
    defenses: list[dict[str, Any]] = [
        {"name": "logit"},
        {"name": "judge", "model": {"name": "local", "path": 'a "b"'}, "threshold": -1.25},
    ]
    assert tomllib.loads(toml_line(defenses)) == {"defenses": defenses}


def test_a_judge_is_calibrated_on_what_is_drawn_and_on_what_was_recorded(tmp_path: Path) -> None:
    model = save_random_qwen2(tmp_path / "model", seed=1, hidden=32, judge=True)
    table = {
        "name": "judge",
        "model": {"name": "local", "path": str(model)},
        "prompt": "tiny",
        "threshold": 3.0,
    }
    trial = trial_config(
        model, swarm={"malicious": 0}, batch={"problems": 8, "group_size": 8}, defenses=[table]
    )
    found = calibrate(trial, "judge", rate=0.2, completions=40, seed=0)
    assert found == calibrate(trial, "judge", rate=0.2, completions=40, seed=0)
    scores = found["scores"]
    assert found["chosen_on"] == len(scores["chosen_on"])
    assert found["threshold"] == threshold_for(scores["chosen_on"], 0.2)
    assert found["defenses"] == [table | {"threshold": found["threshold"]}]
    tested = found["false_rejections"]
    assert tested["of"] == len(scores["tested_on"])
    assert tested["count"] == sum(s > found["threshold"] for s in scores["tested_on"])
    assert tested["ci95"][0] < tested["ci95"][1]

    folder = RunFolder.create(
        tmp_path / "run", ExperimentConfig(name="e", arms={"no-attack": trial}), resume=False
    )
    run_trial(Trial("e", "no-attack", 0, trial, folder.trial_folder("no-attack", 0)), resume=False)
    folder.close()
    again = calibrate(trial, "judge", rate=0.3, completions=40, seed=0, run=tmp_path / "run")
    assert again["from"] == {"run": "run", "arm": "no-attack"}
    assert again["chosen_on"] > 2
    with pytest.raises(ValueError, match="has no arm 'x'"):
        calibrate(
            trial, "judge", rate=0.3, completions=4, seed=0, run=tmp_path / "run", run_arm="x"
        )
