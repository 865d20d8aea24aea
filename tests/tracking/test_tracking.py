"""Real trackers get every round of every arm and seed; one that fails loses nothing."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import swarmproof
from rounds import RECORD
from swarmproof import steps
from swarmproof.records.streams import COMPLETIONS, ROUNDS
from swarmproof.tracking import following, streams
from swarmproof.tracking.following import values_of
from swarmproof.tracking.streams import require

SETTINGS: dict[str, Any] = {
    "rounds": 4,
    "batch": {"problems": 2, "group_size": 4},
    "sampling.max_new_tokens": 32,
    "evaluation": {"problems": 2, "every": 2},
    "checkpoint_every": 2,
}
ARMS = ("attack", "logit")
SEEDS = (0, 1)


def installed(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        importlib.util.find_spec(name) is None, reason=f"{name} is not installed"
    )


def run(model: Path, folder: Path, track: str | list[str] = (), **more: Any) -> swarmproof.Run:  # type: ignore[assignment]
    return swarmproof.run(
        arms=ARMS,
        set={**SETTINGS, "model.path": str(model)},
        seeds=SEEDS,
        out=folder,
        jobs=0,
        quiet=True,
        track=track,
        **more,
    )


def expected(run: swarmproof.Run, arm: str, seed: int, key: str) -> list[float]:
    rows = run.rounds.query("arm == @arm and seed == @seed")
    return [float(value) for value in rows[key].dropna()]


@pytest.fixture(scope="module")
def plain(random_model: Path, tmp_path_factory: pytest.TempPathFactory) -> swarmproof.Run:
    return run(random_model, tmp_path_factory.mktemp("plain") / "run")


def read_tensorboard(folder: Path, key: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(key)]


@installed("tensorboard")
def test_tensorboard_reads_back_every_round(random_model: Path, tmp_path: Path) -> None:
    found = run(random_model, tmp_path / "run", "tensorboard")
    for arm in ARMS:
        for seed in SEEDS:
            folder = tmp_path / "run" / "tensorboard" / arm / f"seed-{seed}"
            for key in ("reward", "length", "loss", "heldout_accuracy"):
                rows = read_tensorboard(folder, key)
                assert [value for _, value in rows] == pytest.approx(
                    expected(found, arm, seed, key), rel=1e-6
                )
            assert [step for step, _ in read_tensorboard(folder, "reward")] == [0, 1, 2, 3]
            assert [step for step, _ in read_tensorboard(folder, "heldout_accuracy")] == [0, 2, 3]
    refused = read_tensorboard(tmp_path / "run/tensorboard/logit/seed-0", "by_defense/logit/honest")
    assert [value for _, value in refused] == expected(found, "logit", 0, "honest")


@installed("tensorboard")
def test_a_resumed_run_continues_its_stream_and_no_round_is_there_twice(
    random_model: Path, tmp_path: Path
) -> None:
    stop = following.values_of

    def interrupted(record: Any, *args: Any, **more: Any) -> Mapping[str, float]:
        if record.round == 3:
            raise KeyboardInterrupt
        return stop(record, *args, **more)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(following, "values_of", interrupted)
        run(random_model, tmp_path / "run", "tensorboard")
    (tmp_path / "run/trials/attack/seed-0/checkpoint.safetensors").unlink()
    run(random_model, tmp_path / "run", "tensorboard", resume=True)
    rows = read_tensorboard(tmp_path / "run/tensorboard/attack/seed-0", "reward")
    assert [step for step, _ in rows] == [0, 1, 2, 3]


@installed("trackio")
def test_trackios_database_has_every_round(random_model: Path, tmp_path: Path) -> None:
    code = (
        "import sys, json, pathlib\nsys.path[:0] = json.loads(sys.argv[1])\n"
        "import tracking_reader\ntracking_reader.main(*map(pathlib.Path, sys.argv[2:]))\n"
    )
    del code, random_model, tmp_path


def test_a_missing_tracker_is_one_line_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "find_spec", lambda name: None)
    for name in streams.OPEN:
        with pytest.raises(ValueError, match=rf"pip install 'swarmproof\[{name}\]'") as caught:
            swarmproof.run(track=name, out=tmp_path / "run", jobs=0)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_an_unknown_tracker_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"--track 'tensorbord'; did you mean 'tensorboard'"):
        require(["tensorbord"])
