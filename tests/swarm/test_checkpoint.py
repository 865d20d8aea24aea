"""Whatever is wrong with a checkpoint is one line, and changes nothing of the swarm or the disk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

import swarmproof
from models import save_random_qwen2
from swarmproof.config import TrialConfig
from swarmproof.records.streams import COMPLETIONS, ROUNDS, STREAMS, TIMINGS
from swarmproof.swarm import checkpoint
from swarmproof.swarm.assembly import assemble
from swarmproof.swarm.checkpoint import CHECKPOINT
from swarmproof.swarm.trial import Trial, run_trial
from swarms import trial_config

WEIGHT = "honest/model.model.embed_tokens.weight"
MOMENT = "honest/adam.0.exp_avg"

Change = Callable[[dict[str, Tensor], dict[str, str]], object]


def config_of(model: Path) -> TrialConfig:
    defenses = [{"name": "logit"}, {"name": "surprise"}]
    return trial_config(model, rounds=3, checkpoint_every=2, defenses=defenses)


def go_on(config: TrialConfig, folder: Path) -> None:
    run_trial(Trial("experiment", "arm", 0, config, folder), resume=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_qwen2(tmp_path_factory.mktemp("own") / "model", seed=1, hidden=32)


@pytest.fixture(scope="module")
def played(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("played")
    go_on(config_of(model), folder)
    return folder


@pytest.fixture
def folder(played: Path, tmp_path: Path) -> Path:
    return shutil.copytree(played, tmp_path / "trial")


def read(folder: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(folder / CHECKPOINT, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


def rewrite(folder: Path, change: Change, *, signed: bool = True) -> None:
    """Change a checkpoint; `signed`: with the digest of what it then holds."""
    tensors, metadata = read(folder)
    change(tensors, metadata)
    if signed:
        metadata["sha256"] = checkpoint.digest(tensors, metadata)
    save_file(tensors, folder / CHECKPOINT, metadata)


def refused(config: TrialConfig, folder: Path, words: str) -> str:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ValueError, match=words) as caught:
        go_on(config, folder)
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 500
    assert str(folder) in line
    assert "delete" in line or "--out" in line  # the remedy
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    return line


def test_what_was_saved_is_restored_and_nothing_else_is_asked(model: Path, folder: Path) -> None:
    rewrite(folder, lambda *_: None)
    swarm = assemble(config_of(model), 0)
    done, offsets = checkpoint.restore(folder, swarm)
    assert done == checkpoint.rounds_done(folder) == 3
    assert offsets == {name: (folder / name).stat().st_size for name in STREAMS}
    tensors, _ = read(folder)
    assert torch.equal(swarm.cohorts[0].policy.learner.state()["num_rounds"], torch.tensor(3))
    weight = swarm.cohorts[0].policy.learner.state()["model.model.embed_tokens.weight"]
    assert torch.equal(weight, tensors[WEIGHT])


def flipped(folder: Path, at: int) -> None:
    data = bytearray((folder / CHECKPOINT).read_bytes())
    data[at] ^= 1
    (folder / CHECKPOINT).write_bytes(data)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 1.0])
def test_a_flipped_bit_is_told(model: Path, folder: Path, share: float) -> None:
    flipped(folder, int(share * ((folder / CHECKPOINT).stat().st_size - 1)))
    refused(config_of(model), folder, "safetensors is damaged .*sha256")


def test_a_flipped_bit_of_an_offset_is_told(model: Path, folder: Path) -> None:
    (offset,) = (value for key, value in read(folder)[1].items() if key == f"offset:{ROUNDS}")
    flipped(folder, (folder / CHECKPOINT).read_bytes().index(f'"{offset}"'.encode()) + 1)
    refused(config_of(model), folder, "safetensors is damaged .*sha256")


def set_tensor(name: str, make: Callable[[Tensor], Tensor]) -> Change:
    return lambda tensors, _: tensors.update({name: make(tensors[name])})


def set_count(name: str, value: str) -> Change:
    return lambda _, metadata: metadata.update({name: value})


def as_bytes(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def with_value(value: float) -> Callable[[Tensor], Tensor]:
    def make(tensor: Tensor) -> Tensor:
        made = tensor.clone()
        made.view(-1)[5] = value
        return made

    return make


WRONG: dict[str, tuple[Change, str]] = {
    "shape": (set_tensor(WEIGHT, lambda t: t[1:].clone()), rf"{WEIGHT} is float32 of shape"),
    "transposed": (set_tensor(WEIGHT, lambda t: t.T.contiguous()), r"is float32 of shape"),
    "dtype": (set_tensor(WEIGHT, lambda t: t.double()), r"float64 of shape .*swarm's is float32"),
    "moment": (set_tensor(MOMENT, lambda t: t[:1].clone()), rf"{MOMENT} is float32 of shape"),
    "step": (set_tensor("honest/adam.0.step", lambda t: t.repeat(2)), r"adam\.0\.step is float32"),
    "missing": (lambda t, _: t.pop(WEIGHT), f"it has no {WEIGHT}"),
    "no moment": (lambda t, _: t.pop(MOMENT), f"it has no {MOMENT}"),
    "no guard": (lambda t, _: t.pop("honest/guard"), "it has no honest/guard"),
    "extra": (lambda t, _: t.update({"honest/x": torch.ones(1)}), "this swarm has no honest/x"),
    "of nobody": (lambda t, _: t.update({"eve/x": torch.ones(1)}), "this swarm has no eve/x"),
    "adam.99": (
        lambda t, _: t.update({"honest/adam.99.step": torch.tensor(1.0)}),
        r"no honest/adam\.99",
    ),
    "guard": (
        set_tensor("honest/guard", lambda _: as_bytes(b"[1]")),
        "honest/guard is not a table",
    ),
    "deep guard": (
        set_tensor("honest/guard", lambda _: as_bytes(b"[" * 100_000)),
        "honest/guard: maximum recursion",
    ),
    "nan": (set_tensor(WEIGHT, with_value(float("nan"))), f"{WEIGHT} is not finite"),
    "infinite moment": (set_tensor(MOMENT, with_value(float("inf"))), f"{MOMENT} is not finite"),
    "done beyond": (set_count("done", str(10**9)), "of round 1000000000 of 3"),
    "done negative": (set_count("done", "-5"), "done is '-5'"),
    "done zero": (set_count("done", "0"), "done is '0'"),
    "done long": (set_count("done", "9" * 5000), "done is '999"),
    "done less": (set_count("done", "2"), r"of round 2, and its learners of \[3\]"),
    "done missing": (lambda _, m: m.pop("done"), "it has no 'done'"),
    "offset negative": (set_count(f"offset:{ROUNDS}", "-1"), r"offset:rounds\.jsonl is '-1'"),
    "offset beyond": (set_count(f"offset:{ROUNDS}", "999999999"), "is shorter than the checkpoint"),
    "offset missing": (lambda _, m: m.pop(f"offset:{ROUNDS}"), "is shorter than the checkpoint"),
    "offset mid-line": (set_count(f"offset:{ROUNDS}", "40"), r"rounds\.jsonl has no end of a"),
    "offset of timings": (set_count(f"offset:{TIMINGS}", "3"), r"timings\.jsonl has no end of"),
    "offset mid-member": (set_count(f"offset:{COMPLETIONS}", "60"), r"jsonl\.gz has no end of a"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_a_checkpoint_that_is_whole_but_wrong_is_told(
    model: Path, folder: Path, wrong: str
) -> None:
    change, words = WRONG[wrong]
    rewrite(folder, change)
    refused(config_of(model), folder, words)


@pytest.mark.parametrize("wrong", ["done beyond", "done negative", "done long", "done less"])
def test_the_number_of_rounds_alone_is_checked_too(folder: Path, wrong: str) -> None:
    rewrite(folder, WRONG[wrong][0])
    with pytest.raises(ValueError, match=r"is damaged .* delete"):
        checkpoint.rounds_done(folder)


def test_a_changed_tensor_with_the_old_digest_is_told(model: Path, folder: Path) -> None:
    rewrite(folder, set_tensor(WEIGHT, with_value(0.5)), signed=False)
    refused(config_of(model), folder, "does not match its sha256")
    rewrite(folder, lambda _, metadata: metadata.pop("sha256"), signed=False)
    refused(config_of(model), folder, "it has no sha256")


def test_a_refused_checkpoint_leaves_the_swarm_as_it_was(model: Path, folder: Path) -> None:
    rewrite(folder, WRONG["nan"][0])
    swarm = assemble(config_of(model), 0)
    before = {name: t.clone() for name, t in swarm.cohorts[0].policy.learner.state().items()}
    with pytest.raises(ValueError, match="not finite"):
        checkpoint.restore(folder, swarm)
    after = swarm.cohorts[0].policy.learner.state()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_completions_that_were_damaged_are_told(model: Path, folder: Path) -> None:
    data = bytearray((folder / COMPLETIONS).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / COMPLETIONS).write_bytes(data)
    refused(config_of(model), folder, r"completions\.jsonl\.gz is damaged")


def test_weights_that_are_not_finite_are_never_saved(model: Path, folder: Path) -> None:
    before = (folder / CHECKPOINT).read_bytes()
    swarm = assemble(config_of(model), 0)
    with torch.no_grad():
        swarm.cohorts[0].policy.learner.masters[0][0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"after 3 rounds .* is not finite.*lower grpo\.lr"):
        checkpoint.save(folder, swarm, 3, {})
    assert (folder / CHECKPOINT).read_bytes() == before


@pytest.mark.parametrize(("seed", "hidden"), [(2, 32), (1, 64)], ids=["weights", "shape"])
def test_another_model_at_the_same_path_is_named(
    model: Path, tmp_path: Path, seed: int, hidden: int
) -> None:
    """The process that goes on may be the one that started: nothing stale is remembered."""
    path = shutil.copytree(model, tmp_path / "model")
    config = config_of(path)
    own = tmp_path / "own"
    go_on(config, own)
    go_on(config, own)
    save_random_qwen2(path, seed=seed, hidden=hidden)
    line = refused(config, own, "changed since")
    assert f"the model at {str(path)!r}" in line
    assert "data" not in line


def write_sums(path: Path, first: int) -> None:
    rows = [{"question": f"{n} + 1?", "answer": f"#### {n + 1}"} for n in range(first, first + 40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_a_command_that_goes_on_with_other_data_ends_with_one_line_and_2(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.toml").write_text(
        "rounds = 2\ncheckpoint_every = 1\n"
        "task = { name = 'gsm8k', path = 'sums.jsonl', holdout = 8 }\n"
        f"model = {{ path = '{model}' }}\nsampling = {{ max_new_tokens = 16 }}\n"
        "swarm = { nodes = 4, malicious = 1 }\nbatch = { problems = 4, group_size = 4 }\n"
        "evaluation = { problems = 4 }\nattack = { name = 'text' }\ndefenses = []\n"
        "[arms.attack]\n"
    )
    write_sums(tmp_path / "sums.jsonl", 0)
    monkeypatch.chdir(tmp_path)
    swarmproof.run("mine.toml", out="run", jobs=0, quiet=True)
    swarmproof.run("mine.toml", out="run", jobs=0, quiet=True, resume=True)
    write_sums(tmp_path / "sums.jsonl", 1)
    # In a process of its own, as a task reads a file once a process.
    command = [sys.executable, "-m", "swarmproof", "run", "mine.toml", "--out", "run"]
    command += ["--jobs", "0", "--quiet", "--resume"]
    told = subprocess.run(
        command, env=os.environ | {"COLUMNS": "1000"}, capture_output=True, text=True
    )
    assert told.returncode == 2
    assert "the data of the task 'gsm8k' changed since" in told.stderr
    assert "model" not in told.stderr
    assert told.stderr.count("\n") == 1
