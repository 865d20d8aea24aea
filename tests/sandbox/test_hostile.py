"""Hostile programs earn nothing, keep their limits and leave nothing, in both sandboxes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from hostile import MARK, PROGRAMS
from hostile_limits import ANSWER
from swarmproof.sandbox import CPython, Monty, Sandbox, monty
from swarmproof.sandbox.cpython import WAIT_FACTOR
from swarmproof.sandbox.monty import close
from swarmproof.tasks import CodeWords
from swarmproof.tasks.programs import CodeTask, wrap
from swarmproof.types import Problem
from usage import sampled

PROBLEM = Problem("p", "?", ANSWER, (f"print({ANSWER})",))
# An unusual limit identifies our processes among those of other tests, and of other test workers.
MEMORY_MB = 509 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
HONEST = wrap(f"from calc import addition\nprint(addition(7000, {int(ANSWER) - 7000}))")
SECONDS = 0.3
OVER = 1.1  # no limit may be exceeded by more
TICK = 0.01  # in which the kernel tells CPU time


def task(name: str) -> CodeTask:
    confined = CPython(seconds=SECONDS, memory_mb=MEMORY_MB, packages=())
    return CodeWords(train=1, test=1, sandbox=Monty() if name == "monty" else confined)


def test_there_are_enough_and_the_worker_of_the_slowest_dies_in_time() -> None:
    assert Monty().seconds + monty.GRACE <= OVER * Monty().seconds
    assert len(set(PROGRAMS.values())) == len(PROGRAMS) >= 250


# One test for all programs: the workers of pytest must not share a measurement.
@pytest.mark.parametrize("name", ["monty", "cpython"])
def test_all_earn_nothing_keep_their_limits_and_leave_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monty, "SECOND_GOES", 0)  # each runs once, to be measured
    built = task(name)
    sandbox = built.sandbox
    require(sandbox)
    close()  # so that new workers start from their own memory
    earned, walls = [], {}
    with sampled() as usage:
        for label, program in PROGRAMS.items():
            usage.start(label)
            started = time.monotonic()
            if built.rewards(PROBLEM, [wrap(program)]) != [0.0]:
                earned.append(label)
            walls[label] = time.monotonic() - started
            usage.sample()
    assert not earned
    assert len(usage.cpu) > 50  # the measurement works; what ends at once may fall between samples
    # On a busy machine the process that ends it may come late. A program that is not ended in time
    # is so each time.
    limit = OVER * sandbox.seconds + TICK
    over = exceeding(usage.cpu, limit)
    for _ in range(3):
        with sampled() as again:
            for label in over:
                again.start(label)
                assert built.rewards(PROBLEM, [wrap(PROGRAMS[label])]) == [0.0]
                again.sample()
        over = exceeding(again.cpu, limit)
    assert over == {}
    assert exceeding(usage.memory, OVER * sandbox.memory_mb) == {}
    # A busy machine may take a while to start and end a process; endless would be endless.
    assert not {label: wall for label, wall in walls.items() if wall > WAIT_FACTOR + 5}

    assert built.rewards(PROBLEM, [HONEST, wrap("print(1)")]) == [1.0, 0.0]
    assert not confined_processes()
    for folder in (Path("/tmp"), Path("/dev/shm"), Path.cwd()):
        assert not [path for path in folder.glob(f"{MARK}*") if path.exists()]


def exceeding(used: dict[str, float], limit: float) -> dict[str, float]:
    return {label: most for label, most in used.items() if most > limit}


WAITS = ["import _thread\nlock = _thread.allocate_lock()\nlock.acquire()\nlock.acquire()",
         "import os\nos.read(os.pipe()[0], 1)",
         "import threading\nthreading.Thread(target=threading.Event().wait).start()",
         "import threading\nthreading.Event().wait(100)", "import queue\nqueue.Queue().get()",
         "import time\ntime.sleep(100)", "import signal\nsignal.pause()", "input()",
         "import select\nselect.select([], [], [], 100)"]  # fmt: skip


@pytest.mark.parametrize("program", WAITS)
def test_a_program_that_would_wait_ends_at_once(program: str) -> None:
    patient = CPython(seconds=4, packages=())  # would wait for 20 s
    require(patient)
    (result,) = patient.run([program])
    assert not result.stdout
    assert "out of time" not in result.failure


def require(sandbox: Sandbox) -> None:
    try:
        sandbox.require()
    except ValueError as error:
        pytest.skip(str(error))


def test_honest_programs_among_hostile_ones_keep_their_reward() -> None:
    hostile = [wrap(PROGRAMS[f"bomb: {name}"]) for name in ("endless loop", "memory", "sleep")]
    rewards = task("monty").rewards(PROBLEM, [HONEST, *hostile, HONEST])
    assert rewards == [1.0, 0.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize("sandbox", [Monty(), CPython(seconds=1)])
def test_a_program_sees_nothing_of_the_one_before(sandbox: Sandbox) -> None:
    require(sandbox)
    for _ in range(6):  # more than there are workers
        sandbox.run(["import calc\nx = 1\ncalc.addition = print"], {"calc": "addition = 1"})
    reads = ["print(x)", "import calc\nprint(calc)", "print(len([]))"]
    results = sandbox.run(reads)
    assert [result.stdout for result in results] == [None, None, "0\n"]


def confined_processes() -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # it ended meanwhile
        if str(MEMORY_MB * 2**20) in command:
            found.append(command)
    return found
