"""Real trackers get every round of every arm and seed; one that fails loses nothing."""

from __future__ import annotations

import importlib.util
import json
import os
import sqlite3
import struct
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import swarmproof
import tracked
from rounds import RECORD
from swarmproof.records.streams import COMPLETIONS, ROUNDS
from swarmproof.tracking import following, streams
from swarmproof.tracking.following import values_of
from swarmproof.tracking.streams import Subject, require
from tracked import ARMS, SEEDS, course

KEYS = ("reward", "length", "loss", "asr", "heldout_accuracy", "generated_tokens")


def installed(name: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(name) is None
    return pytest.mark.skipif(missing, reason=f"{name} is not installed")


@pytest.fixture(scope="module")
def plain(random_model: Path, tmp_path_factory: pytest.TempPathFactory) -> swarmproof.Run:
    """The same run without a tracker."""
    return tracked.run(random_model, tmp_path_factory.mktemp("plain") / "run", [])


def same_bytes(folder: Path, run: swarmproof.Run) -> bool:
    return all(
        (folder / f"trials/{arm}/seed-{seed}" / name).read_bytes()
        == (run.path / f"trials/{arm}/seed-{seed}" / name).read_bytes()
        for arm in ARMS
        for seed in SEEDS
        for name in (ROUNDS, COMPLETIONS)
    )


def in_a_process(model: Path, folder: Path, name: str, *more: str, **variables: str) -> str:
    """A tracker reads its settings when it is imported, and keeps threads; so not in this one."""
    done = subprocess.run(
        [sys.executable, tracked.__file__, str(model), str(folder), name, *more],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def read_tensorboard(folder: Path, key: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(key)]


@installed("tensorboard")
def test_tensorboard_reads_every_round_once_also_after_a_resume(
    random_model: Path, tmp_path: Path, plain: swarmproof.Run
) -> None:
    folder = tmp_path / "run"

    def interrupted(record: Any, *args: Any, **more: Any) -> Mapping[str, float]:
        if record.round == 3:
            raise KeyboardInterrupt
        return values_of(record, *args, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(following, "values_of", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tracked.run(random_model, folder, "tensorboard")
    # As if it had been killed before its second checkpoint: rounds are sent again.
    (folder / "trials/attack/seed-0/checkpoint.safetensors").unlink()
    found = tracked.run(random_model, folder, "tensorboard", resume=True)
    assert same_bytes(folder, plain)
    told = {}
    for arm in ARMS:
        for seed in SEEDS:
            for key in KEYS:
                at = folder / f"tensorboard/{arm}/seed-{seed}"
                told[arm, seed, key] = read_tensorboard(at, key)
                expected = course(found, arm, seed, key)
                assert [step for step, _ in told[arm, seed, key]] == [step for step, _ in expected]
                assert [value for _, value in told[arm, seed, key]] == pytest.approx(
                    [value for _, value in expected], rel=1e-6
                )
    assert told["attack", 0, "length"] != told["attack", 1, "length"]
    honest = read_tensorboard(folder / "tensorboard/logit/seed-0", "by_defense/logit/honest")
    assert honest == course(found, "logit", 0, "honest")


@installed("trackio")
def test_trackios_database_has_every_round_once_also_after_a_resume(
    random_model: Path, tmp_path: Path, plain: swarmproof.Run
) -> None:
    folder = tmp_path / "run"
    in_a_process(random_model, folder, "trackio", "again", TRACKIO_DIR=str(tmp_path / "db"))
    assert same_bytes(folder, plain)
    with sqlite3.connect(tmp_path / "db" / "text-horizontal.db") as database:
        rows = database.execute("SELECT run_name, step, metrics FROM metrics ORDER BY step, id")
        told = defaultdict(list)
        for name, step, metrics in rows:
            told[name].append((step, json.loads(metrics)))
        configs = {
            name: json.loads(config)
            for name, config in database.execute("SELECT run_name, config FROM configs")
        }
    assert len(told) == len(ARMS) * len(SEEDS)
    for arm in ARMS:
        for seed in SEEDS:
            (name,) = [name for name in told if name.endswith(f"-{arm}-seed-{seed}")]
            assert [step for step, _ in told[name]] == list(range(tracked.ROUNDS))
            for key in KEYS:
                found = [(step, values[key]) for step, values in told[name] if key in values]
                assert found == course(plain, arm, seed, key)
            assert configs[name]["seed"] == seed
            assert configs[name]["grpo"]["lr"] == plain.config["arms"][arm]["grpo"]["lr"]


def wandb_records(path: Path) -> Iterator[Any]:
    """The records of an offline file: after seven bytes, a log in LevelDB's format."""
    from wandb.proto import wandb_internal_pb2

    data, whole = path.read_bytes(), b""
    at, block = 7, 32_768
    while at + 7 <= len(data):
        if block - at % block < 7:  # the rest of a block has no room for a header
            at += block - at % block
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a full record, or the last part of one
            yield wandb_internal_pb2.Record.FromString(whole)
            whole = b""


@installed("wandb")
def test_an_offline_run_of_wandb_has_every_round(
    random_model: Path, tmp_path: Path, plain: swarmproof.Run
) -> None:
    folder = tmp_path / "run"
    in_a_process(random_model, folder, "wandb", WANDB_MODE="offline")
    assert same_bytes(folder, plain)
    for arm in ARMS:
        for seed in SEEDS:
            (path,) = folder.glob(f"wandb/offline-run-*/*-{arm}-seed-{seed}.wandb")
            rows = [
                {
                    item.key or "/".join(item.nested_key): json.loads(item.value_json)
                    for item in entry.history.item
                }
                for entry in wandb_records(path)
                if entry.HasField("history")
            ]
            assert [row["_step"] for row in rows] == list(range(tracked.ROUNDS))
            for key in KEYS:
                found = [(row["_step"], row[key]) for row in rows if key in row]
                assert found == course(plain, arm, seed, key)


@pytest.mark.parametrize("where", ["open", "log", "close"])
def test_a_tracker_that_fails_is_told_once_and_loses_nothing(
    random_model: Path,
    tmp_path: Path,
    plain: swarmproof.Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    where: str,
) -> None:
    healthy: list[tuple[str, int, int]] = []

    class Broken:
        def __init__(self, _: Subject) -> None:
            self.fail("open")

        def fail(self, at: str) -> None:
            if at == where:
                raise RuntimeError("the server\nis gone")

        def log(self, *_: Any) -> None:
            self.fail("log")

        def close(self) -> None:
            self.fail("close")

    class Healthy:
        def __init__(self, subject: Subject) -> None:
            self.of = subject.arm, subject.seed

        def log(self, round: int, _: Mapping[str, float]) -> None:
            healthy.append((*self.of, round))

        def close(self) -> None:
            pass

    monkeypatch.setattr(streams, "find_spec", lambda _: True)
    monkeypatch.setitem(streams.OPEN, "trackio", Broken)
    monkeypatch.setitem(streams.OPEN, "wandb", Healthy)
    tracked.run(random_model, tmp_path / "run", ["trackio", "wandb"], arms="logit", seeds=(1,))
    trial = Path("trials/logit/seed-1")
    for name in (ROUNDS, COMPLETIONS):
        assert (tmp_path / "run" / trial / name).read_bytes() == (
            plain.path / trial / name
        ).read_bytes()
    assert healthy == [("logit", 1, round) for round in range(tracked.ROUNDS)]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("--track trackio failed and is left out; the run goes on: ")
    assert "is gone" in lines[0]


def test_a_missing_tracker_is_one_line_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "find_spec", lambda _: None)
    for name in streams.OPEN:
        with pytest.raises(ValueError, match=rf"pip install 'swarmproof\[{name}\]'") as caught:
            swarmproof.run(track=name, out=tmp_path / "run", jobs=0)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_an_unknown_tracker_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"--track 'tensorbord'; did you mean 'tensorboard'"):
        require(["tensorbord"])
    assert require(()) == ()


def test_the_numbers_are_those_of_the_records_under_the_models_name_if_several() -> None:
    counts = {"logit": {"honest": 9, "honest_refused": 1}}
    one = replace(RECORD, asr=0.5, kl=None, heldout_asr=None, by_defense=counts)
    told = values_of(one, 1.5, by_cohort=False)
    assert told["asr"] == 0.5
    assert told["by_defense/logit/honest_refused"] == 1
    assert told["seconds"] == 1.5
    assert not {"round", "cohort", "kl", "heldout_asr", "by_node", "absent"} & told.keys()
    several = values_of(one, 1.5, by_cohort=True)
    assert several == {f"{one.cohort}/{key}": value for key, value in told.items()}


def test_runs_in_folders_of_the_same_name_are_told_apart_and_a_resumed_one_is_not(
    tmp_path: Path,
) -> None:
    keys = []
    for name in ("a", "b", "a"):
        (tmp_path / name / "run").mkdir(parents=True, exist_ok=True)
        keys.append(following.run_key(tmp_path / name / "run"))
    assert keys[0] == keys[2] != keys[1]
    (tmp_path / "a/run/tracking.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tracking\.json is damaged: .*delete"):
        following.run_key(tmp_path / "a/run")
