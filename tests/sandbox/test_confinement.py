"""The cpython sandbox: nothing is writable, few system calls are allowed, and the limits hold."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest

from swarmproof.sandbox import CPython, cpython
from usage import descendants

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the cpython sandbox is for Linux")

PATIENT = CPython(seconds=5, packages=("mpmath",))


@pytest.fixture(autouse=True)
def _bubblewrap() -> None:
    try:
        PATIENT.require()
    except ValueError as error:
        pytest.skip(str(error))


def printed(program: str, sandbox: CPython = PATIENT) -> str:
    (result,) = sandbox.run([program])
    assert result.stdout is not None, result.failure
    return result.stdout


def test_every_mount_is_read_only() -> None:
    sandbox = PATIENT.model_copy(update={"seconds": 1.0})
    thread = threading.Thread(target=sandbox.run, args=(["while True: pass"],))
    thread.start()
    deadline = time.monotonic() + 20
    lines: list[str] = []
    while not lines and time.monotonic() < deadline:
        for pid in reversed(descendants()):
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                # The program itself, not bubblewrap, and after it was confined.
                if b"-sSBP" in command and b"--" not in command:
                    lines = Path(f"/proc/{pid}/mountinfo").read_text("utf-8").splitlines()
            except OSError:
                continue
    thread.join()
    mounts = {fields[4]: fields[5].split(",") for fields in map(str.split, lines)}
    assert {"/", "/usr/lib", "/program.py", "/inside.py", "/packages/mpmath"} <= set(mounts)
    assert {path: options for path, options in mounts.items() if "ro" not in options} == {}


# Bytes, files and inodes in every folder, links, and every file that is there: what can be done?
FILL = """
import os
done, seen = [], []
def attempt(what, path, do):
    try:
        do()
    except OSError:
        return
    done.append((what, path))
for folder, folders, files in os.walk("/"):
    seen.append(folder)
    new = folder + "/new"
    attempt("file", new, lambda: open(new, "x"))
    attempt("bytes", new, lambda: open(new, "wb").write(bytes(10**6)))
    attempt("folder", new, lambda: os.mkdir(new))
    attempt("link", new, lambda: os.symlink("/", new))
    attempt("hard link", new, lambda: os.link("/program.py", new))
    attempt("temporary", folder, lambda: os.open(folder, os.O_TMPFILE | os.O_RDWR))
    for path in [folder + "/" + file for file in files[:1]]:
        attempt("append", path, lambda: open(path, "ab"))
        attempt("truncate", path, lambda: os.truncate(path, 0))
        attempt("remove", path, lambda: os.remove(path))
print(len(seen) > 100, done)
"""


def test_no_place_can_be_filled() -> None:
    assert printed(FILL) == "True []\n"


def test_a_file_has_no_bytes_even_where_a_mount_is_writable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mounts = (*cpython._python_mounts(), "--tmpfs", "/forgotten")
    monkeypatch.setattr(cpython, "_python_mounts", lambda: mounts)
    program = (
        "f = open('/forgotten/x', 'wb', 0)\ntry: f.write(b'x')\nexcept OSError as e: print(e.errno)"
    )
    assert printed(program) == "27\n"  # EFBIG


@pytest.mark.parametrize("recursion", [50, 200, 1000])
def test_the_recursion_limit_is_exact(recursion: int) -> None:
    program = (
        "import sys\nsys.setrecursionlimit(10**6)\ndepth = 0\ndef f():\n    global depth\n"
        "    depth += 1\n    f()\ntry: f()\nexcept RecursionError: print(depth)"
    )
    depth = int(printed(program, PATIENT.model_copy(update={"recursion": recursion})))
    assert recursion - 10 < depth <= recursion


def test_setrecursionlimit_checks_its_argument_like_cpython() -> None:
    program = (
        "import sys\nprint(sys.setrecursionlimit(10**6), sys.getrecursionlimit())\n"
        "for limit in (0, -1, 'x', None, 2.5):\n    try: sys.setrecursionlimit(limit)\n"
        "    except (TypeError, ValueError) as e: print(type(e).__name__)"
    )
    errors = ["ValueError", "ValueError", "TypeError", "TypeError", "TypeError"]
    assert printed(program).split() == ["None", "200", *errors]


def test_ctypes_can_be_imported_but_calls_nothing() -> None:
    program = (
        "import ctypes\nprint(ctypes.sizeof(ctypes.c_long))\n"
        "try: ctypes.CDLL(None).getpid()\nexcept PermissionError as e: print(e)"
    )
    assert printed(program) == "8\nctypes.dlsym is not allowed in the sandbox\n"


# Without `inside.py`, which would refuse ctypes: what the filter of system calls does by itself.
CALLS = ["socket(1, 1, 0)", "pipe(b'12345678')", "fork()", "unshare(0x10000000)",
         "mount(b'/', b'/', 0, 4096, 0)", "ptrace(0, 0, 0, 0)", "mkdir(b'/x', 511)",
         "rename(b'/a', b'/b')", "unlink(b'/program.py')", "memfd_create(b'x', 0)",
         "syscall(425, 1, 0)", "kill(1, 9)", "eventfd(0, 0)", "epoll_create1(0)",
         "sched_setaffinity(0, 8, b'12345678')", "prctl(15, b'x', 0, 0, 0)"]  # fmt: skip


def test_the_filter_refuses_system_calls_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    program = (
        "import ctypes\nlibrary = ctypes.CDLL(None, use_errno=True)\n"
        "def refused(call):\n    ctypes.set_errno(0)\n"
        "    return eval('library.' + call) == -1 and ctypes.get_errno() == 38\n"
        f"print([call for call in {CALLS!r} if not refused(call)], library.getpid() > 0)"
    )
    python = [PATIENT._python()[0], "-sSBPc", program]
    monkeypatch.setattr(CPython, "_python", lambda _: python)
    assert printed("") == "[] True\n"


def test_cpu_time_below_a_second_is_kept_and_load_does_not_count() -> None:
    brief = CPython(seconds=0.2, packages=())
    started = time.monotonic()
    (result,) = brief.run(["while True: pass"])
    assert result.failure == "out of time"
    assert time.monotonic() - started < 5
    # What does not compute is not charged: 0.2 s are enough for many programs that print.
    assert {r.stdout for r in brief.run([f"print(1)  # {i}" for i in range(10)])} == {"1\n"}
