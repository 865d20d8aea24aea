"""The warm-up: supervised learning on problems that nothing else sees, made once and kept."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import swarmproof
from swarmproof.config import TrialConfig
from swarmproof.policies.learner import Learner
from swarmproof.records.folder import write_json
from swarmproof.report import beginnings, contents
from swarmproof.swarm import assembly, checkpoint, identity, warmup
from swarmproof.swarm.round import play_round
from swarmproof.swarm.trial import Trial, play_trial, run_trial
from swarmproof.swarm.warmup import task_of
from swarmproof.types import Problem
from swarms import Letters, trial_config

WARM: Mapping[str, Any] = {"steps": 3, "batch": 4, "lr": 3e-3, "problems": 16}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SWARMPROOF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "warmup"


def config(model: Path, /, warm: Mapping[str, Any] = WARM, **changes: Any) -> TrialConfig:
    return trial_config(model, warmup=warm, **changes)


def warmed(of: TrialConfig) -> warmup.Warmed:
    return warmup.warmed(of, of.model.path, task_of(of))


def made(cache: Path) -> list[Path]:
    return sorted(path for path in cache.iterdir() if path.is_dir())


def test_it_is_plain_supervised_learning_with_a_falling_rate(random_model: Path) -> None:
    of = config(random_model)
    found = warmed(of)
    model = AutoModelForCausalLM.from_pretrained(random_model, dtype=torch.float32)
    tokens = AutoTokenizer.from_pretrained(random_model)
    optimizer = torch.optim.Adam(model.parameters(), lr=1.0)
    examples = warmup._examples(of, task_of(of))
    losses = []
    for step in range(3):
        losses.append(0.0)
        for prompt, solution in examples[4 * step : 4 * step + 4]:
            before = tokens(prompt).input_ids
            ids = [*before, *tokens(solution).input_ids, tokens.eos_token_id]
            labels = [-100] * len(before) + ids[len(before) :]
            loss = model(input_ids=torch.tensor([ids]), labels=torch.tensor([labels])).loss / 4
            loss.backward()
            losses[-1] += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * (1 - step / 3)
        optimizer.step()
        optimizer.zero_grad()
    ours = AutoModelForCausalLM.from_pretrained(found.path).state_dict()
    start = AutoModelForCausalLM.from_pretrained(random_model).state_dict()
    for name, weight in model.state_dict().items():
        # Adam turns the rounding of a tiny gradient into a step of a visible size.
        gap = (ours[name] - weight).norm() / (start[name] - weight).norm()
        assert gap < 0.02, name
    assert found.record["loss_first"] == pytest.approx(losses[0], rel=1e-4)
    assert found.record["loss_last"] == pytest.approx(losses[-1], rel=1e-3)
    assert losses[-1] < losses[0]


def test_nothing_else_sees_its_problems(random_model: Path) -> None:
    of = config(random_model)
    task = task_of(of)
    swarm = assembly.assemble(of, 0)
    reserved = [p for p in task.problems("train") if p.id not in swarm.train]
    assert len(reserved) == WARM["problems"]
    taught = {prompt for prompt, _ in warmup._examples(of, task)}
    assert taught <= {task.prompt(problem) for problem in reserved}
    assert len(taught) == 12
    seen = {task.prompt(p) for p in (*swarm.train.values(), *swarm.heldout)}
    assert not taught & seen
    assert len(assembly.assemble(trial_config(random_model), 0).train) == 64


def test_problems_repeat_in_another_order_and_style_when_they_run_out(random_model: Path) -> None:
    of = config(random_model, {**WARM, "steps": 8})
    examples = warmup._examples(of, task_of(of))
    first, second = examples[:16], examples[16:]
    assert sorted(p for p, _ in first) == sorted(p for p, _ in second)
    assert [p for p, _ in first] != [p for p, _ in second]
    assert len({solution for _, solution in first}) > 16 // 2


def test_it_is_made_once_for_all_that_is_equal(
    random_model: Path, other_model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = config(random_model)
    found = warmed(of)
    with monkeypatch.context() as patch:
        patch.setattr(warmup, "_teach", lambda *_: pytest.fail("it was made again"))
        # What the warm-up does not depend on.
        for same in (
            of,
            config(random_model, rounds=9, grpo={"lr": 1e-5}, defenses=[{"name": "logit"}]),
            config(random_model, sampling={"max_new_tokens": 9}),
            config(random_model, model={"dtype": "bfloat16"}),
        ):
            assert warmed(same).fingerprint == found.fingerprint
    assert len(made(cache)) == 1
    others = [
        config(other_model),
        config(random_model, {**WARM, "seed": 1}),
        config(random_model, {**WARM, "lr": 1e-3}),
        config(random_model, {**WARM, "problems": 17}),
        config(random_model, {**WARM, "dtype": "bfloat16"}),
        config(random_model, task={"train": 63}),
    ]
    prints = {warmed(other).fingerprint for other in others}
    for folder in made(cache):
        weights = load_file(folder / "model/model.safetensors")
        assert {weight.dtype for weight in weights.values()} == {torch.float32}
    assert len(prints | {found.fingerprint}) == 1 + len(others)
    assert len(made(cache)) == 1 + len(others)


def changed(file: Path, values: Mapping[str, Any]) -> None:
    """Give a file other values; None removes one."""
    table = json.loads(file.read_text()) | values
    file.write_text(json.dumps({key: told for key, told in table.items() if told is not None}))


@pytest.mark.parametrize("name", ["loss_first", "loss_last", "lr"])
@pytest.mark.parametrize("value", [None, "0.5", True, [], float("nan"), float("inf")])
def test_a_record_in_the_cache_that_is_not_whole_is_one_line(
    random_model: Path, cache: Path, name: str, value: Any
) -> None:
    of = config(random_model)
    warmed(of)
    changed(made(cache)[0] / warmup.WARMUP, {name: value})
    with pytest.raises(ValueError, match="was changed since it was made; delete it"):
        warmed(of)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *product(["heldout_accuracy"], [None, "lots", 7.5, -0.5, True, 1, float("nan")]),
        *product(["heldout_problems"], [None, 3, "4", []]),
    ],
)
def test_a_damaged_accuracy_in_the_cache_is_one_line(
    random_model: Path, cache: Path, name: str, value: Any
) -> None:
    of = config(random_model)
    warmed(of)
    (file,) = made(cache)[0].glob("accuracy-*.json")
    changed(file, {name: value})
    with pytest.raises(ValueError, match=r"accuracy-.*\.json is damaged; delete it") as told:
        warmed(of)
    assert "\n" not in str(told.value)


def test_nothing_else_of_the_cache_gets_into_a_record(random_model: Path, cache: Path) -> None:
    of = config(random_model)
    record = warmed(of).record
    (file,) = made(cache)[0].glob("accuracy-*.json")
    changed(file, {"loss_first": "x", "more": 1})
    changed(made(cache)[0] / warmup.WARMUP, {"heldout_accuracy": 7.5, "more": 1})
    assert warmed(of).record == record


def test_an_accuracy_in_the_cache_is_that_of_its_task_and_of_its_answers(
    random_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def accuracy(**table: int) -> float:
        of = config(random_model, task=table)
        found = warmup._accuracy(of, of.model.path, task_of(of), tmp_path / "there")
        return float(found["heldout_accuracy"])

    def rewards(task: Letters, problem: Problem, completions: Sequence[str]) -> list[float]:
        return [float(task.train > 64 or problem.answer == "other")] * len(completions)

    monkeypatch.setattr(Letters, "rewards", rewards)
    assert (accuracy(train=64), accuracy(train=65)) == (0, 1)
    problems = Letters.problems
    monkeypatch.setattr(
        Letters, "problems", lambda *of: [replace(p, answer="other") for p in problems(*of)]
    )
    assert accuracy(train=64) == 1


def test_while_one_process_trains_another_waits(random_model: Path, cache: Path) -> None:
    of = config(random_model, {**WARM, "steps": 40})
    code = (
        "import sys, functools, swarms; from swarmproof import registry;"
        "from swarmproof.swarm import warmup; from swarmproof.tasks import Task;"
        "from swarmproof.config import TrialConfig;"
        "c = TrialConfig.model_validate_json(sys.argv[1]);"
        "say = functools.partial(print, flush=True);"
        "say(warmup.warmed(c, c.model.path, registry.build(Task, c.task), say).fingerprint)"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, of.model_dump_json()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as other:
        assert other.stdout is not None
        assert "warm-up of" in other.stdout.readline()
        assert made(cache) == []  # it has begun, and is not done
        said: list[str] = []
        found = warmup.warmed(of, of.model.path, task_of(of), said.append)
        assert said == []
        told = other.stdout.read().splitlines()
    assert other.returncode == 0
    assert told[-1] == found.fingerprint
    assert len(made(cache)) == 1


def test_a_trial_starts_from_it_and_keeps_its_record(random_model: Path, tmp_path: Path) -> None:
    of = config(random_model, rounds=2)
    run_trial(Trial("e", "a", 0, of, tmp_path / "trial"), resume=False)
    found = warmed(of)
    record = json.loads((tmp_path / "trial" / warmup.WARMUP).read_text())[of.model.path]
    assert record == {**WARM, "seed": 0, "dtype": "float32"} | {
        key: found.record[key]
        for key in ("loss_first", "loss_last", "heldout_accuracy", "heldout_problems")
    }
    prints = json.loads((tmp_path / "trial" / identity.FINGERPRINTS).read_text())
    assert prints[f"the warmed-up model at {of.model.path!r}"] == found.fingerprint
    swarm = assembly.assemble(of, 0)
    start = load_file(Path(found.path, "model.safetensors"))
    assert torch.equal(swarm.cohorts[0].policy.model.model.norm.weight, start["model.norm.weight"])
    # Its accuracy is measured as at the end of a round: one draw for each held-out problem.
    assert record["heldout_problems"] == len(swarm.heldout)
    assert play_round(swarm, 0)[0].record.reward >= 0


def test_a_run_with_another_warm_up_is_another_run(random_model: Path) -> None:
    ids = set()
    for warm in (WARM, {**WARM, "seed": 1}, {**WARM, "steps": 0}):
        of = config(random_model, warm)
        ids.add(assembly.assemble(of, 0).run_id)
    assert len(ids) == 3
    plain = trial_config(random_model)
    assert "warmup" not in plain.model_dump()
    assert assembly.assemble(plain, 0).run_id in ids


def test_resumed_without_the_cache_it_gives_the_same_bytes(
    random_model: Path, tmp_path: Path, cache: Path
) -> None:
    of = config(random_model, rounds=3, checkpoint_every=1)
    run_trial(Trial("e", "a", 0, of, tmp_path / "whole"), resume=False)
    parts = Trial("e", "a", 0, of, tmp_path / "parts")
    rounds = play_trial(parts, resume=False)
    next(rounds)
    next(rounds)
    rounds.close()  # type: ignore[attr-defined]
    shutil.rmtree(cache)
    run_trial(parts, resume=True)
    for name in ("rounds.jsonl", "warmup.json", "fingerprints.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
    # With another processor or version the weights may differ; then it is not resumed.
    prints = json.loads((tmp_path / "parts" / identity.FINGERPRINTS).read_text())
    key = f"the warmed-up model at {of.model.path!r}"
    write_json(tmp_path / "parts" / identity.FINGERPRINTS, {**prints, key: "0" * 32})
    (tmp_path / "parts" / checkpoint.CHECKPOINT).unlink()
    with pytest.raises(ValueError, match=r"the warmed-up model at .* changed since"):
        run_trial(parts, resume=True)


def test_a_cache_that_was_changed_is_told(random_model: Path) -> None:
    of = config(random_model)
    found = warmed(of)
    weights = Path(found.path, "model.safetensors")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ValueError, match="was changed since it was made; delete it"):
        warmed(of)


def test_a_warm_up_that_diverges_leaves_nothing(
    random_model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Learner, "_largest_weight", lambda _: float("inf"))
    with pytest.raises(ValueError, match=r"the warm-up diverged: .*lower warmup\.lr"):
        warmed(config(random_model))
    assert made(cache) == []


def test_what_is_interrupted_leaves_nothing(
    random_model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", stop)
        with pytest.raises(KeyboardInterrupt):
            warmed(config(random_model))
    assert made(cache) == []


def test_too_few_problems_are_told_before_the_run(random_model: Path) -> None:
    with pytest.raises(ValueError, match=r"has 64 training .*warmup.problems = 61 leaves 3 .*of 4"):
        assembly.check(config(random_model, {**WARM, "problems": 61}))
    assembly.check(config(random_model, {**WARM, "problems": 60}))


@pytest.mark.parametrize("steps", [0, 2])
def test_shots_precede_every_prompt_and_are_seen_nowhere_else(
    random_model: Path, steps: int
) -> None:
    of = config(random_model, {**WARM, "steps": steps, "shots": 2})
    plain, task = task_of(trial_config(random_model)), task_of(of)
    swarm = assembly.assemble(of, 0)
    problem = swarm.heldout[0]
    text = task.prompt(problem).removesuffix(plain.prompt(problem))
    shots = [p for p in plain.problems("train") if plain.prompt(p) in text]
    solved = {f"{plain.prompt(p)}{plain.oracle(p)}\n\n" for p in shots}
    assert len(shots) == 2
    assert sum(map(len, solved)) == len(text)
    assert all(part in text for part in solved)
    assert not {p.id for p in shots} & {*swarm.train, *(p.id for p in swarm.heldout)}
    # The prompts that the model gets, in a round and in the warm-up's steps.
    (cohort,) = swarm.cohorts
    assert cohort.group(problem, []).prompt == text + plain.prompt(problem)
    taught = {prompt for prompt, _ in warmup._examples(of, task)}
    assert len(taught) == 4 * steps
    assert taught.isdisjoint(text + plain.prompt(p) for p in shots)
    assert all(prompt.startswith(text) for prompt in taught)


def test_shots_alone_train_nothing_and_are_part_of_the_run(
    random_model: Path, tmp_path: Path
) -> None:
    of = config(random_model, {"shots": 1, "problems": 8}, rounds=1)
    trial = Trial("e", "a", 0, of, tmp_path / "trial")
    run_trial(trial, resume=False)
    found = warmed(of)
    assert found.path == of.model.path
    assert found.fingerprint == identity.model_fingerprint(of.model.path)
    record = json.loads((tmp_path / "trial" / warmup.WARMUP).read_text())[of.model.path]
    assert (record["shots"], record["steps"]) == (1, 0)
    assert 0 <= record["heldout_accuracy"] <= 1
    note = beginnings._warmup("tiny", record)
    assert "before the first round: 1 solved example before every prompt, from 8 problems" in note
    others = [
        config(random_model, {"shots": 1, "problems": 8, "seed": 1}),
        trial_config(random_model),
    ]
    ids = {assembly.assemble(each, 0).run_id for each in (of, *others)}
    assert len(ids) == 3


def test_shots_must_be_among_the_problems_of_the_warm_up(random_model: Path) -> None:
    config(random_model, {"shots": 8, "problems": 8})
    for steps in (0, 1):
        with pytest.raises(ValueError, match=r"warmup.shots = 9 .* raise warmup.problems"):
            config(random_model, {"shots": 9, "problems": 8 + steps, "steps": steps})


def test_the_report_says_what_it_was(tmp_path: Path) -> None:
    run = swarmproof.run(
        arms=["attack"],
        set={
            "rounds": 1,
            "warmup": {"steps": 2, "batch": 2, "problems": 8},
            "batch": {"problems": 2, "group_size": 4},
            "sampling.max_new_tokens": 16,
            "evaluation.problems": 4,
        },
        out=tmp_path / "run",
        jobs=0,
        quiet=True,
    )
    (note,) = beginnings.notes(run)
    assert note.startswith("Warm-up of tiny-math before the first round: 2 steps of 2 solutions")
    assert "8 problems that no round uses" in note
    assert "of 4 problems." in note
    assert note in contents.of_run(run).notes
