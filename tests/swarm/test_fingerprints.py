"""A trial that was stopped before its first checkpoint still knows its data and models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from models import save_random_qwen2
from swarmproof.config import TrialConfig
from swarmproof.defenses.max_tokens import MaxTokens
from swarmproof.judges import Local
from swarmproof.swarm import assembly, identity
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


def judged_by(judge: Path | str) -> dict[str, Any]:
    table = {"name": "local", "path": str(judge)}
    return {"defenses": [{"name": "judge", "model": table, "prompt": "tiny"}]}


def test_another_judge_is_named(random_model: Path, tmp_path: Path) -> None:
    judge = save_random_qwen2(tmp_path / "judge", seed=3, hidden=32, judge=True)
    trial = stopped_early(trial_config(random_model, **judged_by(judge)), tmp_path / "trial")
    save_random_qwen2(judge, seed=4, hidden=32, judge=True)
    refused(trial, "the model at .*judge' changed since")


def test_the_judge_that_an_attack_has_a_copy_of_is_a_model_too(model: Path, tmp_path: Path) -> None:
    judge = save_random_qwen2(tmp_path / "judge", seed=3, hidden=32, judge=True)
    variants = {
        "name": "text_variants",
        "best_of": 2,
        "judge": {"name": "local", "path": str(judge)},
    }
    name = f"the model at {str(judge)!r}"
    for attack in (variants, {"name": "mixed", "parts": [variants]}):
        of = trial_config(model, attack=attack)
        assert identity.of_inputs(of)[name] == identity.model_fingerprint(str(judge))
        quiet = trial_config(model, attack=attack, swarm={"malicious": 0})
        assert name not in identity.of_inputs(quiet)


@pytest.mark.parametrize("path", ["owner/name", "roberta-large", "detector.onnx", "."])
def test_what_a_plug_in_loads_by_itself_may_be_of_any_kind(
    model: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = trial_config(model, defenses=[{"name": "max_tokens"}])
    before = identity.of_inputs(of)
    monkeypatch.setattr(MaxTokens, "model_path", path)
    assert identity.of_inputs(of) == before


def test_a_judge_behind_a_server_is_known_by_its_settings_only(model: Path) -> None:
    table = {"name": "openai", "base_url": "http://localhost:1/v1", "model": "m"}
    of = trial_config(model, defenses=[{"name": "judge", "model": table}])
    assert identity.of_inputs(of) == identity.of_inputs(trial_config(model))


def test_a_judge_of_the_hub_is_fetched_before_its_files_are_hashed(
    random_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = trial_config(random_model, **judged_by("owner/name"))
    fetched: list[str] = []
    monkeypatch.setattr(Local, "require", lambda _: None)
    monkeypatch.setattr(Local, "fetch", lambda judge: fetched.append(judge.path))

    def hashed(path: str) -> str:
        assert path != "owner/name" or fetched == [path]
        return "0" * 32

    monkeypatch.setattr(identity, "model_fingerprint", hashed)
    assert "the model at 'owner/name'" in assembly.assemble(of, 0).fingerprints


def test_the_fingerprints_before_a_trial_are_those_of_the_trial(
    random_model: Path, tmp_path: Path
) -> None:
    of = trial_config(random_model, **judged_by("tiny-judge"))
    stopped_early(of, tmp_path / "trial")
    assert json.loads((tmp_path / "trial" / FINGERPRINTS).read_text()) == identity.of_inputs(of)


def test_a_trial_from_before_judges_had_fingerprints_had_the_judge_that_shipped(
    random_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own judge it does not tell."""
    judge = save_random_qwen2(tmp_path / "judge", seed=3, hidden=32, judge=True)
    trials = {}
    for name, path in (("tiny", "tiny-judge"), ("own", judge)):
        of = trial_config(random_model, **judged_by(path))
        trials[name] = stopped_early(of, tmp_path / name)
        file = trials[name].folder / FINGERPRINTS
        prints = json.loads(file.read_text())
        del prints[f"the model at {str(path)!r}"]
        file.write_text(json.dumps(prints))
    refused(trials["own"], r"own does not say what the model at '.*judge' was; put back")
    run_trial(trials["tiny"], resume=True)
    # When another judge ships, the trial is of the old one.
    monkeypatch.setattr(identity, "_UNSAID", {"the model at 'tiny-judge'": "0" * 32})
    told = identity.changes(Path("trial"), prints, identity.of_inputs(trials["tiny"].config))
    assert told == "the model at 'tiny-judge' changed since trial was made"
