"""Killed at any moment and resumed, a trial leaves the bytes of one that was never interrupted."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import resource
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import Any

import pytest

from swarmproof.config import TrialConfig
from swarmproof.records.streams import COMPLETIONS, ROUNDS, read_rounds, read_timings
from swarmproof.swarm.checkpoint import CHECKPOINT
from swarmproof.swarm.trial import Trial, run_trial
from swarmproof.types import RoundRecord
from swarms import trial_config

ROUNDS_OF_A_TRIAL = 8


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Real processes that need not import torch anew."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["swarmproof.swarm.round", "swarmproof.records.streams"])
    return context


def config_of(model: Path, dtype: str = "float32") -> TrialConfig:
    return trial_config(
        model,
        rounds=ROUNDS_OF_A_TRIAL,
        model={"dtype": dtype},
        grpo={"beta": 0.01, "warmup": 5},
        defenses=[{"name": "logit", "tolerance": 3.0}],
        checkpoint_every=2,
    )


def of_two_models(first: Path, second: Path) -> TrialConfig:
    """Cohorts with verdicts that depend on the whole round, and on the rounds before."""
    names = ("logit", "surprise", "signature", "novelty", "length_match")
    return trial_config(
        first,
        rounds=ROUNDS_OF_A_TRIAL,
        swarm={"models": [str(first), str(second)]},
        # Random texts look odd to each other: nothing is refused, so that something is learnt.
        defenses=[{"name": name, "on_reject": "monitor"} for name in names],
        checkpoint_every=2,
    )


def work(
    config: TrialConfig,
    folder: Path,
    resume: bool,
    *,
    told: Connection[Any, Any] | None = None,
    limit: int | None = None,
) -> None:
    """One trial.

    Args:
        told: is sent the number of every round when it is done, or what stopped the trial.
        limit: the largest file, in bytes, that this process may write.
    """
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    def on_round(record: RoundRecord, _: float) -> None:
        if told is not None:
            told.send(record.round)

    trial = Trial("experiment", "arm", 0, config, folder)
    try:
        run_trial(trial, resume=resume, on_round=on_round)
    except OSError as error:
        if told is None:
            raise
        told.send(error)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in (ROUNDS, COMPLETIONS)}


def start(
    processes: ForkServerContext, config: TrialConfig, folder: Path, **options: Any
) -> tuple[BaseProcess, Connection[Any, Any]]:
    reader, writer = processes.Pipe(duplex=False)
    process = processes.Process(
        target=work, args=(config, folder), kwargs=options | {"told": writer}
    )
    process.start()
    writer.close()
    return process, reader


def kill_after(
    processes: ForkServerContext, config: TrialConfig, folder: Path, rounds: int, seconds: float
) -> int | None:
    """Start or resume a trial, and kill it some time after some rounds; its exit code."""
    process, told = start(processes, config, folder, resume=True)
    with contextlib.suppress(EOFError):  # it was done before
        for _ in range(rounds):
            told.recv()
        time.sleep(seconds)
    process.kill()
    process.join()
    return process.exitcode


@pytest.fixture(scope="module")
def unbroken(random_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    work(config_of(random_model), folder, resume=False)
    return folder


@pytest.mark.parametrize("seed", range(2))
def test_killed_again_and_again_it_ends_with_the_same_bytes(
    processes: ForkServerContext, random_model: Path, unbroken: Path, tmp_path: Path, seed: int
) -> None:
    config, rng = config_of(random_model), Random(seed)
    codes = [
        kill_after(processes, config, tmp_path, rng.randrange(1, 4), rng.random() * 0.2)
        for _ in range(4)
    ]
    assert codes.count(-signal.SIGKILL) >= 2
    assert (tmp_path / ROUNDS).exists()
    work(config, tmp_path, resume=True)
    assert contents(tmp_path) == contents(unbroken)
    assert len(read_timings(tmp_path)) == ROUNDS_OF_A_TRIAL
    # Nothing of the killed processes is left, such as a checkpoint that was being written.
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in unbroken.iterdir())


def test_a_swarm_of_several_models_ends_with_the_same_bytes(
    processes: ForkServerContext, random_model: Path, foreign_model: Path, tmp_path: Path
) -> None:
    config = of_two_models(random_model, foreign_model)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    work(config, whole, resume=False)
    codes = [kill_after(processes, config, killed, 2 * rounds, 0.05) for rounds in (1, 3, 2)]
    assert codes.count(-signal.SIGKILL) >= 2
    work(config, killed, resume=True)
    assert contents(killed) == contents(whole)
    assert len(read_rounds(killed)) == 2 * ROUNDS_OF_A_TRIAL
    learned = {record.cohort for record in read_rounds(whole) if record.groups_learned}
    assert learned == {"random", "foreign"}


def test_a_checkpoint_that_was_being_written_is_removed(random_model: Path, unbroken: Path) -> None:
    (unbroken / ".tmp1a2B3c").write_bytes(b"half a checkpoint")
    work(config_of(random_model), unbroken, resume=True)
    assert not (unbroken / ".tmp1a2B3c").exists()


class Interrupted(BaseException):
    """A stop between two rounds."""


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_stopped_after_every_round_it_ends_with_the_same_bytes(
    random_model: Path, tmp_path: Path, dtype: str
) -> None:
    config = config_of(random_model, dtype)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    work(config, whole, resume=False)

    def stop_after(count: int) -> Callable[..., None]:
        def on_round(*_: object) -> None:
            nonlocal count
            count -= 1
            if count == 0:
                raise Interrupted

        return on_round

    trial = Trial("experiment", "arm", 0, config, broken)
    for count in (1, 2, 3, 3):
        with pytest.raises(Interrupted):
            run_trial(trial, resume=True, on_round=stop_after(count))
    run_trial(trial, resume=True)
    assert contents(broken) == contents(whole)


def test_a_finished_trial_is_left_as_it_is(random_model: Path, unbroken: Path) -> None:
    before = {p.name: p.read_bytes() for p in unbroken.iterdir()}
    told: list[object] = []
    trial = Trial("experiment", "arm", 0, config_of(random_model), unbroken)
    run_trial(trial, resume=True, on_round=lambda *event: told.append(event))
    assert told == []
    assert {p.name: p.read_bytes() for p in unbroken.iterdir()} == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda data: data[:7],
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: b"\0" * len(data),
        lambda data: data + b"x",
    ],
    ids=["empty", "torn header", "half", "a byte short", "zeros", "a byte more"],
)
def test_a_damaged_checkpoint_is_told_in_one_line(
    random_model: Path, unbroken: Path, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    for path in unbroken.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    checkpoint = tmp_path / CHECKPOINT
    checkpoint.write_bytes(damage(checkpoint.read_bytes()))
    assert_told(random_model, tmp_path, "checkpoint.safetensors is damaged .* delete .* resume")
    # Nothing was lost by trying.
    assert contents(tmp_path) == contents(unbroken)


def test_a_checkpoint_of_something_else_is_told_in_one_line(
    random_model: Path, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import save_file

    for metadata in (None, {"format": "pt"}, {"done": "3"}):
        save_file({"x": torch.zeros(1)}, tmp_path / CHECKPOINT, metadata)
        assert_told(random_model, tmp_path, "is damaged")


def test_a_stream_shorter_than_the_checkpoint_is_told_in_one_line(
    random_model: Path, unbroken: Path, tmp_path: Path
) -> None:
    for path in unbroken.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / ROUNDS).write_bytes(b"")
    assert_told(random_model, tmp_path, "is shorter than the checkpoint expects")


def assert_told(model: Path, folder: Path, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        work(config_of(model), folder, resume=True)
    assert "\n" not in str(caught.value)


def test_a_disk_that_is_full_is_an_error_of_the_machine_and_loses_nothing(
    processes: ForkServerContext, random_model: Path, unbroken: Path, tmp_path: Path
) -> None:
    config = config_of(random_model)
    # Room for the streams, not for the checkpoint after the second round.
    process, told = start(processes, config, tmp_path, resume=False, limit=50_000)
    messages = [told.recv(), told.recv()]
    process.join()
    assert process.exitcode == 0
    assert messages[0] == 0
    assert isinstance(error := messages[1], OSError)
    assert error.errno == errno.EFBIG
    assert str(error.filename).endswith(CHECKPOINT)
    assert len(read_rounds(tmp_path)) == 2
    work(config, tmp_path, resume=True)
    assert contents(tmp_path) == contents(unbroken)
