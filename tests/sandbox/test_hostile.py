"""What malicious peers send earns nothing, ends, and leaves nothing behind, in both sandboxes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from hostile import ANSWER, MARK, PROGRAMS
from swarmproof.sandbox import CPython, Monty, Sandbox
from swarmproof.tasks import CodeWords
from swarmproof.tasks.programs import CodeTask, wrap
from swarmproof.types import Problem

PROBLEM = Problem("p", "?", ANSWER, (f"print({ANSWER})",))
# An unusual limit, by which our processes are known among those of other tests, and of the test
# workers beside this one.
MEMORY_MB = 509 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
HONEST = wrap(f"from calc import addition\nprint(addition(7000, {int(ANSWER) - 7000}))")


def task(name: str) -> CodeTask:
    shut_in = CPython(seconds=1, memory_mb=MEMORY_MB)
    return CodeWords(train=1, test=1, sandbox=Monty() if name == "monty" else shut_in)


@pytest.fixture(scope="module", params=["monty", "cpython"])
def scored(request: pytest.FixtureRequest) -> tuple[CodeTask, dict[str, float]]:
    """The rewards of all of them, sent as one group, and the task that gave them."""
    built = task(request.param)
    try:
        built.sandbox.require()
    except ValueError as error:
        pytest.skip(str(error))
    started = time.monotonic()
    rewards = built.rewards(PROBLEM, [wrap(program) for program in PROGRAMS.values()])
    # Far more than it takes, even on a busy machine; endless would be endless.
    assert time.monotonic() - started < 300
    return built, dict(zip(PROGRAMS, rewards, strict=True))


def test_there_are_enough() -> None:
    assert len(set(PROGRAMS.values())) == len(PROGRAMS) >= 60


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_earns_nothing(scored: tuple[CodeTask, dict[str, float]], name: str) -> None:
    assert scored[1][name] == 0.0


def test_the_next_honest_program_earns_the_reward(
    scored: tuple[CodeTask, dict[str, float]],
) -> None:
    assert scored[0].rewards(PROBLEM, [HONEST, wrap("print(1)")]) == [1.0, 0.0]


def test_no_process_and_no_file_is_left(scored: tuple[CodeTask, dict[str, float]]) -> None:
    assert scored
    assert not shut_in_processes()
    for folder in (Path("/tmp"), Path("/dev/shm"), Path.cwd()):
        assert not [path for path in folder.glob(f"{MARK}*") if path.exists()]


def test_honest_programs_among_hostile_ones_keep_their_reward() -> None:
    hostile = [wrap(PROGRAMS[f"bomb: {name}"]) for name in ("endless loop", "memory", "sleep")]
    rewards = task("monty").rewards(PROBLEM, [HONEST, *hostile, HONEST])
    assert rewards == [1.0, 0.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize("sandbox", [Monty(), CPython(seconds=1)])
def test_a_program_sees_nothing_of_the_one_before(sandbox: Sandbox) -> None:
    if isinstance(sandbox, CPython):
        try:
            sandbox.require()
        except ValueError as error:
            pytest.skip(str(error))
    for _ in range(6):  # more than there are workers
        sandbox.run(["import calc\nx = 1\ncalc.addition = print"], {"calc": "addition = 1"})
    reads = ["print(x)", "import calc\nprint(calc)", "print(len([]))"]
    results = sandbox.run(reads)
    assert [result.stdout for result in results] == [None, None, "0\n"]


def shut_in_processes() -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # it ended meanwhile
        if str(MEMORY_MB * 2**20) in command:
            found.append(command)
    return found
