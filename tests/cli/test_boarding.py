"""`swarmproof board` as users meet it: a kill loses nothing, and mistakes are one line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.test_cli import NO_HUB, SMALL, assert_one_line, in_this_process
from swarmproof.records.streams import read_rounds

BOARD = [
    *("board", "--settings=one-model", "--attacks=no-attack", "--guards=none"),
    *("--rounds=6", "--set=checkpoint_every=2", "--out=out", "--jobs=0", *SMALL[1:]),
]


def test_a_board_that_is_killed_goes_on_by_the_same_command_and_its_cell_is_an_entry(
    tmp_path: Path,
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "swarmproof", *BOARD],
        cwd=tmp_path,
        env=NO_HUB,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while not any(len(read_rounds(path)) >= 3 for path in (tmp_path / "out/trials").glob("*")):
            assert process.poll() is None, "it ended by itself"
            time.sleep(0.02)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "out/board.html").exists()
    # What was killed was a process of its own; what follows need not be one.

    done = in_this_process(*BOARD, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 cells, 1 trials to run" in done.stdout
    board = json.loads((tmp_path / "out/board.json").read_text(encoding="utf-8"))
    (cell,) = board["settings"]["one-model"]["cells"]
    assert (cell["state"], cell["rounds"], cell["seeds"]) == ("measured", 6, [0])
    assert "0 trials to run" in in_this_process(*BOARD, cwd=tmp_path).stdout

    # The entry is made from the run that was killed, and reproduced by one that was not.
    folder = f"out/{cell['folder']}"
    done = in_this_process("board", "submit", folder, "-o", "entry.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = in_this_process("board", "check", "entry.json", "--jobs=0", "--quiet", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("reproduced: one-model-no-attack-none, seed 0, 1 trials")

    entry = json.loads((tmp_path / "entry.json").read_text(encoding="utf-8"))
    entry["trials"][0]["sha256"]["rounds.jsonl"] = "0" * 64
    (tmp_path / "entry.json").write_text(json.dumps(entry), encoding="utf-8")
    done = in_this_process("board", "check", "entry.json", "--jobs=0", "--quiet", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.startswith("claimed: ")
    assert "other bytes in rounds.jsonl" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--attacks=text-horizontl"], ["--attacks", "did you mean 'text-horizontal'"]),
        (["--guards="], ["--guards"]),
        (["--settings=one-model", "--guards=several-models"], ["no guard that was chosen"]),
        (["--seeds=0"], ["--seeds '0'"]),
        (["--lists=none.toml"], ["none.toml"]),
        (["--set=grpo.lrr=1", "--dry-run"], ["grpo.lrr", "did you mean 'lr'"]),
        (["--engine=rya", "--attacks=no-attack", "--guards=none"], ["did you mean 'ray'"]),
        (["submit", "nothing", "-o", "x.json"], ["nothing is not there"]),
        (["check", "nothing.json"], ["nothing.json is not a file"]),
        (["check", __file__], ["is not valid JSON"]),
    ],
)
def test_a_mistake_about_the_board_is_one_line(
    arguments: list[str], words: list[str], tmp_path: Path
) -> None:
    assert_one_line(in_this_process("board", *arguments, cwd=tmp_path), *words)
    assert not list(tmp_path.iterdir())


def test_a_dry_run_says_trials_and_time_and_writes_nothing(tmp_path: Path) -> None:
    arguments = ("--dry-run", "--settings=one-model", "--attacks=length-horizontal", "--seeds=2")
    done = in_this_process("board", *arguments, "--guards=none,one-model", "--jobs=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    # A reference, an attack and a guard, with two seeds of 30 rounds of 15.4 seconds.
    assert "2 cells, 6 trials to run, 1 at once" in done.stdout
    assert "about 0.8 hours" in done.stdout
    assert not list(tmp_path.iterdir())
