"""A trial: the same bytes for the same seed, mistakes before it starts, and a golden run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from models import save_random_qwen2
from swarmproof.config import TrialConfig, load
from swarmproof.records.streams import (
    COMPLETIONS,
    ROUNDS,
    read_completions,
    read_rounds,
    read_timings,
)
from swarmproof.swarm.assembly import assemble, check
from swarmproof.swarm.round import play_round
from swarmproof.swarm.trial import Trial, run_trial
from swarmproof.types import RoundRecord
from swarms import trial_config


def run(
    folder: Path, config: TrialConfig, *, seed: int = 0, resume: bool = False
) -> list[RoundRecord]:
    """Run a trial in a folder; the records that it told of as it went."""
    told: list[RoundRecord] = []
    trial = Trial("experiment", "arm", seed, config, folder)
    run_trial(trial, resume=resume, on_round=lambda record, _: told.append(record))
    return told


def streams(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in (ROUNDS, COMPLETIONS)}


def test_the_same_seed_gives_the_same_bytes_and_another_gives_others(
    random_model: Path, tmp_path: Path
) -> None:
    config = trial_config(random_model, rounds=4, defenses=[{"name": "logit"}])
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        run(tmp_path / name, config, seed=seed)
    assert streams(tmp_path / "one") == streams(tmp_path / "again")
    one, other = streams(tmp_path / "one"), streams(tmp_path / "other")
    assert all(one[name] != other[name] for name in one)


def test_every_round_is_told_and_written_with_all_its_completions(
    random_model: Path, tmp_path: Path
) -> None:
    told = run(tmp_path, trial_config(random_model))
    assert [record.round for record in told] == list(range(6))
    assert read_rounds(tmp_path) == told
    assert [row["round"] for row in read_timings(tmp_path)] == list(range(6))
    rows = list(read_completions(tmp_path))
    assert len({(row["round"], row["problem_id"], row["index"]) for row in rows}) == 6 * 16
    assert {row["node"] for row in rows if row["poisoned"]} == {3}


def test_a_trial_started_anew_replaces_what_was_there(random_model: Path, tmp_path: Path) -> None:
    long, short = trial_config(random_model), trial_config(random_model, rounds=2)
    run(tmp_path / "x", long, seed=1)
    run(tmp_path / "x", short)
    run(tmp_path / "y", short)
    assert streams(tmp_path / "x") == streams(tmp_path / "y")


@pytest.mark.parametrize("topology", ["horizontal", "vertical"])
def test_the_honest_nodes_learn_the_poison(random_model: Path, topology: str) -> None:
    def gain(malicious: int) -> float:
        """By how much six rounds raise the mean log-probability of the poison's tokens."""
        swarm = assemble(
            trial_config(
                random_model,
                swarm={"topology": topology, "malicious": malicious},
                grpo={"lr": 3e-3},
            ),
            0,
        )
        policy, prompt = swarm.cohorts[0].policy, swarm.task.prompt(swarm.heldout[0])
        poison = policy.codec.encode("<think>All hail to the thief")[:-1]

        def logprob() -> float:
            ((_, forward),) = policy.scorer.passes([prompt], [[poison]], [False])
            return float(forward.scores[0][0].logprob.mean())

        before = logprob()
        for round in range(6):
            play_round(swarm, round)
        return logprob() - before

    assert gain(malicious=1) > 0.5
    assert gain(malicious=0) < 0.25


# Mistakes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": {"path": "nowhere/at/all"}}, "model.path = 'nowhere/at/all' is not a directory"),
        ({"task": {"train": 3}}, "batch.problems is 4, and the task has only 3"),
        ({"task": {"name": "gsm8k", "path": "no.jsonl"}}, "no file no.jsonl"),
    ],
)
def test_what_would_stop_a_trial_is_found_before_it_starts(
    random_model: Path, changes: Mapping[str, Any], words: str
) -> None:
    table = trial_config(random_model).model_dump()
    for key, value in changes.items():
        table[key] = value if "name" in value else {**table[key], **value}
    with pytest.raises(ValueError, match=words):
        check(TrialConfig.model_validate(table))


def test_a_good_trial_passes_the_check(random_model: Path) -> None:
    check(trial_config(random_model))


def test_a_task_without_held_out_problems_is_an_error(random_model: Path, tmp_path: Path) -> None:
    train, test = gsm8k_file(tmp_path / "train.jsonl"), tmp_path / "empty.jsonl"
    test.write_text("", encoding="utf-8")
    table = trial_config(random_model).model_dump()
    table["task"] = {"name": "gsm8k", "path": train, "test_path": test}
    with pytest.raises(ValueError, match="no held-out problems"):
        check(TrialConfig.model_validate(table))


# A golden run -------------------------------------------------------------------------------------

# (round, reward, length, grad_norm, tokens generated, tokens learnt from) of the run below. A
# change of the sampler, the noise, the shuffle, the loss or the optimiser shows here; where one is
# meant to, put in the numbers that the failure prints.
GOLDEN: list[tuple[int, float, float, float, int, int]] = [
    (0, 0.0833333, 49.3333, 1.17799, 592, 756),
    (1, 0, 42.5833, 1.05173, 511, 675),
    (2, 0.0833333, 55.5, 0.809646, 666, 830),
]


def test_a_run_with_a_fixed_seed_gives_the_numbers_that_it_always_gave(
    random_model: Path, tmp_path: Path
) -> None:
    config = trial_config(random_model, rounds=3, defenses=[{"name": "logit", "tolerance": 3.0}])
    found = [
        (r.round, r.reward, r.length, r.grad_norm, r.generated_tokens, r.learned_tokens)
        for r in run(tmp_path, config)
    ]
    # Far above what another order of additions changes, far below what another draw does.
    for mine, golden in zip(found, GOLDEN, strict=True):
        assert mine == pytest.approx(golden, rel=2e-3, abs=1e-5), found


# At the scale of the paper, shrunk ----------------------------------------------------------------


def gsm8k_file(path: Path, count: int = 24) -> Path:
    rows = [
        {
            "question": f"What is {n} + 1?",
            "answer": f"<<{n}+1={n + 1}>>{n + 1}\n#### {n + 1}",
        }
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def shrunk(model: Path, data: Path, *, max_new_tokens: int) -> dict[str, TrialConfig]:
    """The paper-scale experiment with a small random model, on the CPU, in small rounds."""
    return load(
        "paper-scale/text-horizontal",
        overrides=[
            f"task.path={data}",
            "task.holdout=4",
            f"model.path={model}",
            "model.device=cpu",
            "batch.problems=2",
            "batch.group_size=4",
            f"sampling.max_new_tokens={max_new_tokens}",
            "evaluation.problems=2",
            "rounds=2",
        ],
    ).arms


def assert_learns_end_to_end(config: TrialConfig, folder: Path) -> None:
    assert config.model.dtype == "bfloat16"
    assert config.model.gradient_checkpointing
    check(config)
    for record in run(folder, config):
        assert (record.honest, record.poisoned, record.malformed) == (6, 2, 0)
        assert record.heldout_accuracy is not None
        if not config.defenses:
            assert record.groups_learned == 2
            assert record.grad_norm > 0
    assert len(list(read_completions(folder))) == 8 * config.rounds


@pytest.fixture(scope="module")
def random_qwen2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_qwen2(tmp_path_factory.mktemp("models") / "qwen2", layers=3)


def test_the_papers_settings() -> None:
    experiment = load("paper-scale/text-horizontal")
    assert list(experiment.arms) == ["no-attack", "attack", "logit", "judge"]
    for arm in experiment.arms.values():
        assert arm.model.path == "Qwen/Qwen2.5-1.5B"
        assert (arm.model.dtype, arm.model.device) == ("bfloat16", "cuda")
        assert arm.task["name"] == "gsm8k"
        assert "path" not in arm.task
        assert (arm.batch.problems, arm.batch.group_size) == (32, 12)
        assert (arm.swarm.nodes, arm.rounds, arm.grpo.lr) == (4, 100, 2e-5)
        assert (arm.sampling.top_k, arm.sampling.top_p) == (50, 1.0)


@pytest.mark.parametrize("arm", ["attack", "logit"])
def test_the_paper_scale_path_runs_on_a_random_model_in_bf16(
    random_qwen2: Path, tmp_path: Path, arm: str
) -> None:
    data = gsm8k_file(tmp_path / "train.jsonl")
    config = shrunk(random_qwen2, data, max_new_tokens=96)[arm]
    assert_learns_end_to_end(config, tmp_path / "trial")
