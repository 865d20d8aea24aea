"""What malicious peers send earns nothing, ends, and leaves nothing behind, in both sandboxes."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from hostile import ANSWER, MARK, PROGRAMS
from swarmproof.sandbox import CPython, Monty, Result, Sandbox
from swarmproof.sandbox.cpython import WAIT_FACTOR
from swarmproof.sandbox.monty import GRACE
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


def test_there_are_enough() -> None:
    assert len(set(PROGRAMS.values())) == len(PROGRAMS) >= 60


# One test for all, so that the workers of pytest do not each run all programs for their share.
@pytest.mark.parametrize("name", ["monty", "cpython"])
def test_all_earn_nothing_end_in_time_and_leave_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = task(name)
    sandbox = built.sandbox
    require(sandbox)
    seconds = stop_watch(monkeypatch, type(sandbox))
    rewards = built.rewards(PROBLEM, [wrap(program) for program in PROGRAMS.values()])

    earned = [name for name, reward in zip(PROGRAMS, rewards, strict=True) if reward]
    assert not earned
    ran = {name: seconds[text] for name, text in PROGRAMS.items() if text in seconds}
    assert len(ran) > 0.9 * len(PROGRAMS)  # the others are refused as they are
    limit = sandbox.seconds + GRACE if isinstance(sandbox, Monty) else WAIT_FACTOR
    # A busy machine may take a while to start and end a process; endless would be endless.
    assert not {name: time for name, time in ran.items() if time > limit + 5}
    if isinstance(sandbox, CPython):
        # Waiting takes no CPU time, so the limit would let it take far more of ours. None but the
        # file lock waits; a busy machine may give some others less than a fifth of a core.
        assert len([name for name, time in ran.items() if time >= WAIT_FACTOR]) < 10, ran

    assert built.rewards(PROBLEM, [HONEST, wrap("print(1)")]) == [1.0, 0.0]
    assert not shut_in_processes()
    for folder in (Path("/tmp"), Path("/dev/shm"), Path.cwd()):
        assert not [path for path in folder.glob(f"{MARK}*") if path.exists()]


WAITS = ["import _thread\nlock = _thread.allocate_lock()\nlock.acquire()\nlock.acquire()",
         "import os\nos.read(os.pipe()[0], 1)",
         "import threading\nthreading.Thread(target=threading.Event().wait).start()",
         "import threading\nthreading.Event().wait(100)", "import queue\nqueue.Queue().get()",
         "import time\ntime.sleep(100)", "import signal\nsignal.pause()", "input()",
         "import select\nselect.select([], [], [], 100)"]  # fmt: skip


@pytest.mark.parametrize("program", WAITS)
def test_what_would_wait_ends_at_once(program: str) -> None:
    patient = CPython(seconds=4, packages=())  # would wait for 20 s
    require(patient)
    (result,) = patient.run([program])
    assert not result.stdout
    assert "out of time" not in result.failure


def stop_watch(monkeypatch: pytest.MonkeyPatch, kind: Any) -> dict[str, float]:
    """The seconds that each program takes from now on, by its text."""
    run, seconds = kind._run, {}

    def timed(*arguments: Any) -> Result:
        started = time.monotonic()
        result: Result = run(*arguments)
        seconds[arguments[-2]] = time.monotonic() - started
        return result

    monkeypatch.setattr(kind, "_run", timed)
    return seconds


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
