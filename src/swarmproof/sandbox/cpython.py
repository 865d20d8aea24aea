"""The sandbox for programs that need real imports: full CPython, one bubblewrap for each program.

It knows how to shut a process in: name spaces of its own (no network, no other process in sight), a
read-only file system that holds Python and the packages named and nothing else, a small /tmp that
dies with it, no environment, no capability, a list of allowed system calls (`seccomp`), limits on
memory and CPU (`inside`). What a program leaves behind ends with its name space.

Time. `seconds` is CPU time, which load does not change, counted by the kernel in whole seconds.
There is no sleep, no pipe and no thread; what waits all the same, for a lock on a file, is ended
after `WAIT_FACTOR` times as many seconds of wall time, and so is what gets less than that share of
a core. The clock and unseeded `random` are real here, so programs that use them are not
reproducible.
Source: https://github.com/containers/bubblewrap.
"""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from swarmproof.sandbox import seccomp
from swarmproof.sandbox.base import Result, Sandbox

WAIT_FACTOR = 5

_HINT = "install bubblewrap 0.7 or later (Debian, Ubuntu: apt-get install bubblewrap)"
_TMP_BYTES = 16 * 2**20
_INSIDE = Path(__file__).with_name("inside.py")


class CPython(Sandbox):
    """Full CPython with its standard library and the packages named, under bubblewrap; Linux."""

    name: Literal["cpython"] = "cpython"
    seconds: float = Field(default=2, gt=0, le=600, description="CPU time; whole seconds, up")
    memory_mb: int = Field(default=512, ge=16, le=65_536, description="address space, MiB")
    packages: tuple[str, ...] = Field(
        default=("sympy", "mpmath"), description="installed packages that programs may import"
    )

    def require(self) -> None:
        """Checks once in a process that bubblewrap works here and the packages are installed."""
        _check(self)

    def _execute(self, programs: Sequence[str], modules: Mapping[str, str]) -> list[Result]:
        with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
            return list(threads.map(lambda program: self._run(program, modules), programs))

    def _run(self, program: str, modules: Mapping[str, str]) -> Result:
        files = {"/program.py": program.encode()}
        files |= {f"/modules/{name}.py": source.encode() for name, source in modules.items()}
        with _descriptors([seccomp.program(), *files.values()]) as (filter_fd, *file_fds):
            command = [_bubblewrap(), *_SHUT_IN, "--seccomp", str(filter_fd), *self._mounts()]
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
        wait = WAIT_FACTOR * math.ceil(self.seconds)
        # bubblewrap takes its whole name space with it.
        timer = threading.Timer(wait, process.kill)
        timer.start()
        with process:
            assert process.stdout is not None
            # Four bytes are the longest character, and one more tells that there is more.
            output = process.stdout.read(4 * self.output_chars + 1)
            full = len(output) > 4 * self.output_chars
            if full:
                process.kill()
            status = process.wait()
        late = timer.finished.is_set()
        timer.cancel()
        text = output.decode("utf-8", "replace")
        if full or len(text) > self.output_chars:
            return Result(None, f"printed more than {self.output_chars} characters")
        if late:
            return Result(None, f"out of time after waiting for {wait} s")
        return Result(None, f"exit status {status}") if status else Result(text)

    def _mounts(self) -> list[str]:
        mounts = [*_python_mounts()]
        for package in self.packages:
            for folder in _package_folders(package):
                mounts += ["--ro-bind", str(folder), f"/packages/{folder.name}"]
        return mounts

    def _python(self) -> list[str]:
        limits = (self.memory_mb * 2**20, math.ceil(self.seconds), _TMP_BYTES, self.recursion)
        # No site, no user site, no byte code written, no folder of the script on the path.
        return [
            os.path.realpath(sys.executable), "-sSBP", "-X", "utf8", "/inside.py",
            *map(str, limits),
        ]  # fmt: skip


_SHUT_IN = (
    "--unshare-all", "--unshare-user", "--uid", "65534", "--gid", "65534", "--hostname", "sandbox",
    "--cap-drop", "ALL", "--new-session", "--die-with-parent", "--clearenv",
    "--setenv", "PYTHONHASHSEED", "0", "--setenv", "OPENBLAS_NUM_THREADS", "1",
    "--size", str(_TMP_BYTES), "--tmpfs", "/tmp", "--chdir", "/tmp",
    "--ro-bind", str(_INSIDE), "/inside.py",
)  # fmt: skip


def _bubblewrap() -> str:
    found = shutil.which("bwrap")
    if found is None:
        raise ValueError(f"the sandbox cpython needs bubblewrap, which is not here; {_HINT}")
    return found


@lru_cache(maxsize=8)
def _check(sandbox: CPython) -> None:
    seccomp.program()
    for package in sandbox.packages:
        if not _package_folders(package):
            raise ValueError(
                f"the sandbox cpython is to have the package {package}, which is not installed; "
                f"pip install {package}, or leave it out of `packages`"
            )
    result = sandbox._run("print(6 * 7)", {})
    if result.stdout != "42\n":
        raise ValueError(
            f"the sandbox cpython does not work here ({result.failure}); {_HINT}, and allow "
            "unprivileged user name spaces, or use the sandbox monty"
        )


@lru_cache(maxsize=1)
def _python_mounts() -> tuple[str, ...]:
    """What the interpreter needs to start: itself, its standard library, the C library."""
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
    # Packages that the system or the administrator installed are not the program's business.
    for name in ("/usr/lib/python3/dist-packages", f"{library}/site-packages"):
        if Path(name).is_dir():
            mounts += ["--tmpfs", name]
    return tuple(mounts)


@lru_cache(maxsize=64)
def _package_folders(package: str) -> tuple[Path, ...]:
    """A package's folder, and that of its bundled shared libraries if it has one."""
    found = importlib.util.find_spec(package) if package.isidentifier() else None
    if found is None or not found.submodule_search_locations:
        return ()
    folder = Path(next(iter(found.submodule_search_locations)))
    bundled = folder.with_name(f"{package}.libs")
    return (folder, bundled) if bundled.is_dir() else (folder,)


@contextmanager
def _descriptors(contents: Sequence[bytes]) -> Iterator[list[int]]:
    """Files in memory with these contents, open at their start."""
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
