"""The sandbox for programs that need real imports: full CPython, one bubblewrap for each program.

A program gets its own name spaces (no network, no view of other processes), a file system that is
read-only throughout and holds only Python and the packages named, an empty environment, no
capability, a list of allowed system calls (`seccomp`), and limits on memory and recursion
(`inside`). Nothing is writable, so nothing can be filled: neither bytes, nor files, nor inodes.
Processes end with their name space.

Time. `seconds` is CPU time, which load does not change. A thread measures it from outside and ends
the program; the kernel does the same at the next whole second. Sleep, pipes and threads are
refused. What waits nevertheless, and what gets a small share of a core, is ended after
`WAIT_FACTOR` times as many seconds of wall time. The clock and unseeded `random` are real here, so
programs that use them are not reproducible.
Source: https://github.com/containers/bubblewrap.
"""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from swarmproof.sandbox import seccomp
from swarmproof.sandbox.base import Result, Sandbox

WAIT_FACTOR = 5

_HINT = "install bubblewrap 0.7 or later (Debian, Ubuntu: apt-get install bubblewrap)"
_HIDDEN_BYTES = 4096  # of an empty folder that hides another; it is read-only as well
_POLL_SECONDS = 0.01
_INSIDE = Path(__file__).with_name("inside.py")


class CPython(Sandbox):
    """Full CPython with its standard library and the packages named, under bubblewrap; Linux."""

    name: Literal["cpython"] = "cpython"
    seconds: float = Field(default=2, gt=0, le=600, description="CPU time that a program may take")
    memory_mb: int = Field(default=512, ge=16, le=65_536, description="address space, MiB")
    packages: tuple[str, ...] = Field(
        default=("sympy", "mpmath"), description="installed packages that programs may import"
    )

    def require(self) -> None:
        """Check, once per process, that bubblewrap works and the packages are installed."""
        _check(self)

    def _execute(self, programs: Sequence[str], modules: Mapping[str, str]) -> list[Result]:
        with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
            return list(threads.map(lambda program: self._run(program, modules), programs))

    def _run(self, program: str, modules: Mapping[str, str]) -> Result:
        files = {"/program.py": program.encode()}
        files |= {f"/modules/{name}.py": source.encode() for name, source in modules.items()}
        with _descriptors([seccomp.program(), *files.values()]) as (filter_fd, *file_fds):
            command = [_bubblewrap(), *_CONFINEMENT, "--seccomp", str(filter_fd), *self._mounts()]
            for path, descriptor in zip(files, file_fds, strict=True):
                command += ["--ro-bind-data", str(descriptor), path]
            command += ["--remount-ro", "/", "--", *self._python()]
            return self._read(command, (filter_fd, *file_fds))

    def _read(self, command: Sequence[str], descriptors: Sequence[int]) -> Result:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=descriptors,
            env={},
        )
        ended = threading.Event()
        reasons: list[str] = []
        watch = threading.Thread(target=self._watch, args=(process, ended, reasons))
        watch.start()
        with process:
            assert process.stdout is not None
            # A character has at most four bytes; one byte more shows that there is more.
            output = process.stdout.read(4 * self.output_chars + 1)
            full = len(output) > 4 * self.output_chars
            if full:
                process.kill()
            status = process.wait()
        ended.set()
        watch.join()
        text = output.decode("utf-8", "replace")
        if full or len(text) > self.output_chars:
            return Result(None, f"printed more than {self.output_chars} characters")
        if reasons:
            return Result(None, reasons[0])
        return Result(None, f"exit status {status}") if status else Result(text)

    def _watch(
        self, process: subprocess.Popen[bytes], ended: threading.Event, reasons: list[str]
    ) -> None:
        """Kill the program, and its name space with it, when its time is used up."""
        patience = WAIT_FACTOR * math.ceil(self.seconds)
        deadline = time.monotonic() + patience
        # A single thread cannot use more CPU time than wall time: no need to look earlier.
        pause = self.seconds
        while not ended.wait(pause):
            left = deadline - time.monotonic()
            confined = _descendants(process.pid)
            missing = self.seconds - sum(map(_cpu_seconds, confined))
            if missing <= 0:
                reasons.append("out of time")
            elif left <= 0:
                reasons.append(f"out of time after waiting for {patience} s")
            if reasons:
                # The program first: it would run on until bubblewrap's processes have ended.
                for pid in reversed(confined):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                process.kill()
                return
            pause = min(max(missing, _POLL_SECONDS), left)

    def _mounts(self) -> list[str]:
        mounts = [*_python_mounts()]
        for package in self.packages:
            for folder in _package_folders(package):
                mounts += ["--ro-bind", str(folder), f"/packages/{folder.name}"]
        return mounts

    def _python(self) -> list[str]:
        limits = (self.memory_mb * 2**20, math.ceil(self.seconds), self.recursion)
        # No site, no user site, no byte code written, no folder of the script on the path.
        return [
            os.path.realpath(sys.executable), "-sSBP", "-X", "utf8", "/inside.py",
            *map(str, limits),
        ]  # fmt: skip


_CONFINEMENT = (
    "--unshare-all", "--unshare-user", "--uid", "65534", "--gid", "65534", "--hostname", "sandbox",
    "--cap-drop", "ALL", "--new-session", "--die-with-parent", "--clearenv", "--chdir", "/",
    "--setenv", "PYTHONHASHSEED", "0", "--setenv", "OPENBLAS_NUM_THREADS", "1",
    "--ro-bind", str(_INSIDE), "/inside.py",
)  # fmt: skip


def _bubblewrap() -> str:
    found = shutil.which("bwrap")
    if found is None:
        raise ValueError(f"the sandbox cpython needs bubblewrap, which is not installed; {_HINT}")
    return found


def _descendants(pid: int) -> list[int]:
    """The processes below this one, parents before their children; none if it has ended."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    except OSError:
        return []
    return [below for child in map(int, children) for below in (child, *_descendants(child))]


def _cpu_seconds(pid: int) -> float:
    """CPU time of a process; 0 if it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    # The name of the command, in brackets, may contain spaces; `utime` is the 12th field after it.
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@lru_cache(maxsize=8)
def _check(sandbox: CPython) -> None:
    seccomp.program()
    for package in sandbox.packages:
        if not _package_folders(package):
            raise ValueError(
                f"the sandbox cpython lists the package {package}, which is not installed; "
                f"pip install {package}, or remove it from `packages`"
            )
    result = sandbox._run("print(6 * 7)", {})
    if result.stdout != "42\n":
        raise ValueError(
            f"the sandbox cpython does not work here ({result.failure}); {_HINT}, and allow "
            "unprivileged user name spaces, or use the sandbox monty"
        )


@lru_cache(maxsize=1)
def _python_mounts() -> tuple[str, ...]:
    """Bubblewrap's arguments for the interpreter, its standard library and the C library."""
    library = sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix})
    mounts: list[str] = []
    for path in ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache", library):
        if Path(path).is_symlink():
            mounts += ["--symlink", str(Path(path).readlink()), path]
        elif Path(path).exists():
            mounts += ["--ro-bind", path, path]
    shared = Path(sysconfig.get_config_var("LIBDIR") or "/") / (
        sysconfig.get_config_var("INSTSONAME") or ""
    )
    for file in {Path(os.path.realpath(sys.executable)), shared}:
        if file.is_file():
            mounts += ["--ro-bind", str(file), str(file)]
    # An empty read-only folder hides the packages that the system or its owner installed.
    for name in ("/usr/lib/python3/dist-packages", f"{library}/site-packages"):
        if Path(name).is_dir():
            mounts += ["--size", str(_HIDDEN_BYTES), "--tmpfs", name, "--remount-ro", name]
    return tuple(mounts)


@lru_cache(maxsize=64)
def _package_folders(package: str) -> tuple[Path, ...]:
    """The folder of a package, and that of its bundled shared libraries, if any."""
    found = importlib.util.find_spec(package) if package.isidentifier() else None
    if found is None or not found.submodule_search_locations:
        return ()
    folder = Path(next(iter(found.submodule_search_locations)))
    bundled = folder.with_name(f"{package}.libs")
    return (folder, bundled) if bundled.is_dir() else (folder,)


@contextmanager
def _descriptors(contents: Sequence[bytes]) -> Iterator[list[int]]:
    """Open files in memory with these contents, positioned at their start."""
    opened: list[int] = []
    try:
        for content in contents:
            opened.append(os.memfd_create("swarmproof"))
            with os.fdopen(os.dup(opened[-1]), "wb") as file:
                file.write(content)
            os.lseek(opened[-1], 0, os.SEEK_SET)
        yield opened
    finally:
        for descriptor in opened:
            os.close(descriptor)
