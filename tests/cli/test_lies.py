"""A node that lies, from the command line: a real swarm of four processes, and mistakes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from swarmproof import cli
from swarmproof.exchange.net.liars import LIARS

NUM_ROUNDS = 3
Swarm = Callable[..., tuple[int, str, str]]
# The command, whose nodes are forked: real processes, of which none has to import torch again.
FORKED = """
import multiprocessing
fork = multiprocessing.get_context("fork")
multiprocessing.get_context = lambda *_: fork
import swarmproof.policies.policy, swarmproof.swarm.round, swarmproof.swarm.trial
from swarmproof.cli import main
main()
"""


def experiment(folder: Path, model: Path) -> Path:
    """Four honest nodes of one model; a round takes a moment."""
    path = folder / "small.toml"
    path.write_text(f"""
        rounds = {NUM_ROUNDS}
        task = {{ name = "math_words", train = 8, test = 4 }}
        model = {{ path = "{model}" }}
        swarm = {{ nodes = 4, malicious = 0 }}
        batch = {{ problems = 2, group_size = 4 }}
        sampling = {{ max_new_tokens = 8 }}
        attack = {{ name = "text" }}
        evaluation = {{ every = 3, problems = 1 }}
        exchange = {{ name = "net", step = 30.0 }}
        [arms.arm]
    """)
    return path


@pytest.fixture
def swarm(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Swarm:
    """Runs a command in this process: its exit code, and what it printed."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["swarmproof", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return run


def test_a_swarm_with_a_liar_names_it_and_its_honest_nodes_agree(
    tmp_path: Path, random_model: Path, swarm: Swarm
) -> None:
    file, out = experiment(tmp_path, random_model), tmp_path / "run"
    ended = subprocess.run(
        [sys.executable, "-c", FORKED, "swarm", "up", file, "--liar=1=equivocation", "--out", out],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    # The screen, the report and the ledger name it.
    assert "arm, node 1 (lies: equivocation): iteration 3/3" in ended.stdout
    assert "arm, node 0: iteration 3/3" in ended.stdout
    told = "These nodes lie to their peers: node 1 (equivocation)."
    assert told in ended.stdout
    assert told in (out / "report.html").read_text()
    _, ledger, _ = swarm("node", "status", out)
    lines = ledger.splitlines()
    assert lines[2].startswith("  node 1 (lies: equivocation): ")
    # It is convicted of two messages if two nodes were shown different ones in time.
    convicted = re.search(r"absent in ([0-9]) rounds \(equivocated \1\)$", lines[2])
    assert convicted is not None
    assert all(line.endswith("absent in 0 rounds") for line in (lines[1], *lines[3:]))
    # Anybody can see it from the archive of an honest node.
    root = out / "nodes" / "arm" / "seed-0"
    code, audit, _ = swarm("node", "verify", root / "node-2" / "archive", root / "swarm.toml")
    assert code == 1
    counts = re.findall(r"equivocated in ([0-9]+)", audit)
    assert counts == ["0", convicted[1], "0", "0"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--liar=2"], "--liar '2': write it as NODE=KIND, such as 2=late"),
        (["--liar=two=late"], "write it as NODE=KIND"),
        (["--liar=4=late"], "arm arm: exchange.liars: there is no node 4; the swarm has nodes 0"),
        (["--liar=1=late", "--liar=1=flood"], "node 1 is listed twice; give it one lie"),
        (["--liar=1=lat"], "no lie is called 'lat'; did you mean 'late'?"),
        (['--liar=1="\x1b'], "no lie is called"),
        (
            ["--liar=1=late", "--set=exchange.name=folder", "--set=exchange.path=x"],
            "exchange.name is 'folder'; processes of nodes need 'net'",
        ),
        ([f"--liar={node}=late" for node in range(4)], "every node of the cohort 'honest' lies"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_started(
    options: list[str], told: str, tmp_path: Path, random_model: Path, swarm: Swarm
) -> None:
    out = tmp_path / "run"
    code, _, error = swarm(
        "swarm", "up", experiment(tmp_path, random_model), *options, "--out", out
    )
    assert code == 2
    assert told in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_the_table_of_lies_names_each_with_what_honest_nodes_say(swarm: Swarm) -> None:
    code, shown, _ = swarm("node", "lies")
    assert code == 0
    lines = shown.splitlines()
    assert [line.split(":")[0].strip() for line in lines[::2]] == list(LIARS)
    assert all(line.strip().startswith("Honest nodes: ") for line in lines[1::2])
