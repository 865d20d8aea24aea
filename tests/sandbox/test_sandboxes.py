"""What both sandboxes promise: results in order, served modules, limits, and refusals."""

from __future__ import annotations

import os
import platform
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from swarmproof.sandbox import AnySandbox, CPython, Monty, Result, Sandbox, cpython, seccomp
from swarmproof.sandbox.monty import close

CALC = {"calc": "def addition(a, b):\n    return _sum(a, b)\ndef _sum(a, b):\n    return a + b\n"}


@pytest.fixture(params=["monty", "cpython"])
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    if request.param == "monty":
        return Monty()
    found = CPython(seconds=1)
    try:
        found.require()
    except ValueError as error:
        pytest.skip(str(error))
    return found


def with_limits(sandbox: Sandbox, **limits: int) -> Sandbox:
    return sandbox.model_validate({**sandbox.model_dump(), **limits})


def test_results_come_in_order_and_equal_programs_share_one(sandbox: Sandbox) -> None:
    results = sandbox.run(["print(1)", "print(2)", "print(1)", "1 / 0", ""])
    assert [result.stdout for result in results] == ["1\n", "2\n", "1\n", None, ""]
    assert results[0] is results[2]
    assert results[3].failure
    assert sandbox.run([]) == []


def test_what_fails_has_printed_nothing(sandbox: Sandbox) -> None:
    (result,) = sandbox.run(["print(7)\nraise ValueError('no')"])
    assert result.stdout is None


@pytest.mark.parametrize(
    "program",
    ["from calc import addition\nprint(addition(2, 3))", "import calc\nprint(calc.addition(2, 3))",
     "from calc import addition as plus\nprint(plus(2, plus(1, 2)))",
     "def f():\n    import calc as c\n    return c.addition(1, 4)\nprint(f())"],
)  # fmt: skip
def test_a_served_module_can_be_imported_in_every_way(sandbox: Sandbox, program: str) -> None:
    assert sandbox.run([program], CALC) == [Result("5\n")]


@pytest.mark.parametrize(
    "program",
    ["from calc import nothing", "import calc\ncalc.nothing(1, 2)", "import other",
     "import calc\ncalc.addition(1)"],
)  # fmt: skip
def test_a_served_module_has_only_what_it_has(sandbox: Sandbox, program: str) -> None:
    assert sandbox.run([program], CALC)[0].stdout is None
    assert sandbox.run(["import calc"])[0].stdout is None


def test_a_served_module_is_as_confined_as_the_program(sandbox: Sandbox) -> None:
    hostile = {"calc": "while True: pass"}
    results = sandbox.run(["import calc\nprint(7)", "print(7)"], hostile)
    assert [result.stdout for result in results] == [None, "7\n"]
    with pytest.raises(ValueError, match="ASCII identifier"):
        sandbox.run(["print(7)"], {"../x": ""})


def test_limits_hold_to_the_character(sandbox: Sandbox) -> None:
    narrow = with_limits(sandbox, output_chars=10, program_chars=30)
    assert narrow.run(["print('é' * 9)"])[0].stdout == "é" * 9 + "\n"
    assert narrow.run(["print('é' * 10)"])[0].failure == "printed more than 10 characters"
    assert narrow.run(["#" * 30])[0] == Result("")
    assert narrow.run(["#" * 31])[0].failure == "longer than 30 characters"


def test_recursion_and_memory_are_limited(sandbox: Sandbox) -> None:
    deep = "def f(n):\n    return n and f(n - 1)\nprint(f({}))"
    assert sandbox.run([deep.format(100)])[0].stdout == "0\n"
    assert sandbox.run([deep.format(400)])[0].stdout is None
    assert with_limits(sandbox, recursion=500).run([deep.format(400)])[0].stdout == "0\n"
    assert sandbox.run(["x = bytes(10**9)"])[0].stdout is None


def test_a_result_does_not_change_when_it_is_run_again(sandbox: Sandbox) -> None:
    program = "print({'a', 'b', 'c'}, hash('x') == hash('x'), 2**64, 1 / 3)"
    assert len({sandbox.run([program])[0] for _ in range(4)}) == 1


def test_monty_has_no_clock_and_no_unseeded_random() -> None:
    program = "import random, time\ntime.sleep(100)\nprint(random.random(), time.time())"
    first, again = (Monty().run([program])[0] for _ in range(2))
    assert first == again
    assert first.stdout


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(), st.text("print(1)\n '\"\\#:=+-*[]{}é\x00\ud800", max_size=40)))
def test_no_text_makes_monty_raise(program: str) -> None:
    (result,) = Monty().run([program], CALC)
    assert (result.stdout is None) == bool(result.failure)


@pytest.mark.parametrize("end", ["", " ", "\n", " \t"])
def test_a_program_that_ends_in_a_backslash_fails(sandbox: Sandbox, end: str) -> None:
    for start in ("print(42) or ", "print(42); ", "print(42)\n", "print(42)\n  ", ""):
        assert sandbox.run([start + "\\" + end])[0].stdout is None
    assert sandbox.run(["print(42); \\\n\n", "print(42) # \\"]) == [Result("42\n")] * 2


def test_memory_of_a_worker_has_room_for_the_interpreter() -> None:
    assert Monty(memory_mb=64).run(["print(len(bytes(10**7)))"])[0].stdout == "10000000\n"
    assert Monty(memory_mb=64).run(["print(len(bytes(2 * 10**7)))"])[0].stdout is None
    with pytest.raises(ValidationError):
        Monty(memory_mb=63)


def test_a_program_cannot_pretend_that_it_reached_its_end() -> None:
    for value in ("", " None", " 'end'", " [0] * 10", " __name__"):
        (result,) = Monty().run([f"print(42)\nreturn{value}"])
        assert result.failure == "SyntaxError: 'return' outside function"


def test_a_closed_pool_opens_again() -> None:
    assert Monty().run(["print(1)"]) == [Result("1\n")]
    close()
    close()
    assert Monty().run(["print(1)"]) == [Result("1\n")]


def test_a_spawned_process_has_workers_of_its_own() -> None:
    Monty().run(["print(1)"])
    with get_context("spawn").Pool(1) as pool:
        assert pool.apply(Monty().run, (["print(2)"],)) == [Result("2\n")]
    assert Monty().run(["print(3)"]) == [Result("3\n")]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads children from /proc")
@pytest.mark.parametrize("end", ["", "import os; os.kill(os.getpid(), 9)"])
def test_workers_end_with_their_process(end: str) -> None:
    script = (
        "from pathlib import Path\n"
        "from swarmproof.sandbox import Monty\n"
        "Monty().run(['print(1)'])\n"
        "tasks = Path('/proc/self/task').glob('*/children')\n"
        "print(' '.join(t.read_text() for t in tasks), flush=True)\n" + end
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    workers = done.stdout.split()
    assert workers
    deadline = time.monotonic() + 20
    while any(is_running(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(is_running(pid) for pid in workers)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="reads processes from /proc")
def test_a_confined_program_ends_with_the_process_that_runs_it() -> None:
    memory_mb = 701 + os.getpid() % 1000  # identifies it among the processes of other tests
    patient = CPython(seconds=100, memory_mb=memory_mb, packages=())
    try:
        patient.require()
    except ValueError as error:
        pytest.skip(str(error))
    script = (
        "from swarmproof.sandbox import CPython\n"
        f"CPython(seconds=100, memory_mb={memory_mb}, packages=()).run(['while True: pass'])"
    )
    trainer = subprocess.Popen([sys.executable, "-c", script])
    try:
        # The processes of the first check end by themselves.
        wait_until(lambda: endless(memory_mb))
    finally:
        trainer.kill()
        trainer.wait()
    wait_until(lambda: not confined(memory_mb))


def endless(memory_mb: int) -> bool:
    before = confined(memory_mb)
    time.sleep(1)
    return len(before) >= 2 and confined(memory_mb) == before


def confined(memory_mb: int) -> list[str]:
    """Processes of the cpython sandbox with this limit."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # it ended meanwhile
        if b"/inside.py" in command and str(memory_mb * 2**20).encode() in command:
            found.append(folder.name)
    return sorted(found)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_running(pid: str) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_table_names_the_sandbox_and_its_limits() -> None:
    adapter: TypeAdapter[Sandbox] = TypeAdapter(AnySandbox)
    assert adapter.validate_python({"name": "monty", "seconds": 1}) == Monty(seconds=1)
    assert adapter.validate_python({"name": "cpython"}) == CPython()
    for wrong in (
        {},
        {"name": "docker"},
        {"name": "monty", "s": 1},
        {"name": "monty", "seconds": 0},
    ):
        with pytest.raises(ValidationError):
            adapter.validate_python(wrong)


def test_a_missing_bubblewrap_is_refused_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if platform.system() != "Linux":
        pytest.skip("the cpython sandbox is for Linux")
    cpython._check.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="apt-get install bubblewrap"):
        CPython().run(["print(1)"])
    cpython._check.cache_clear()


def test_a_bubblewrap_that_does_not_work_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    fake.chmod(0o755)
    cpython._check.cache_clear()
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(ValueError, match="does not work here"):
        CPython().require()
    cpython._check.cache_clear()


def test_a_package_that_is_not_installed_is_refused() -> None:
    with pytest.raises(ValueError, match="pip install no_such_package"):
        CPython(packages=("no_such_package",)).require()


def test_named_packages_are_there_and_others_are_not() -> None:
    found = CPython(seconds=5)
    try:
        found.require()
    except ValueError as error:
        pytest.skip(str(error))
    programs = ["import sympy\nprint(sympy.factorint(12))", "import numpy", "import swarmproof"]
    outputs = [result.stdout for result in found.run(programs)]
    assert outputs == ["{2: 2, 3: 1}\n", None, None]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_jumps_nowhere_but_forwards_and_ends_everywhere(machine: str) -> None:
    code = list(struct.iter_unpack("=HBBI", seccomp.program(machine)))
    assert 100 < len(code) < 4096
    for i, (operation, if_true, if_false, _) in enumerate(code):
        if operation != 0x06:  # not a return
            assert i + 1 + max(if_true, if_false) < len(code)
    assert code[-1][0] == 0x06


def test_an_unknown_machine_is_refused() -> None:
    with pytest.raises(ValueError, match="use the sandbox monty"):
        seccomp.program("riscv64")
