"""What the processes below this one use: CPU time, memory and mounts, sampled from /proc."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_TICK = 1 / os.sysconf("SC_CLK_TCK")


def descendants(pid: int | str = "self") -> list[int]:
    """The processes below this one, without those that still are copies of it.

    Between fork and exec a child has the memory of its parent, which is no program's.
    """
    own = _command("self")
    return [found for found in _below(pid) if _command(found) != own]


def _command(pid: int | str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""  # it ended meanwhile


def _below(pid: int | str) -> list[int]:
    found = []
    try:
        for file in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in file.read_text("utf-8").split():
                found += [int(child), *_below(child)]
    except OSError:
        pass  # it ended meanwhile
    return found


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK


def peak_mb(pid: int) -> float:
    """The largest resident size so far, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text("utf-8")
    lines = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0].split()[1]) / 1024 if lines else 0.0


class Usage:
    """The most that one process used while each program ran, by the program's name."""

    def __init__(self) -> None:
        self.cpu: dict[str, float] = {}
        self.memory: dict[str, float] = {}
        self.program = ""
        self._before: Mapping[int, float] = {}
        self._peaks: Mapping[int, float] = {}

    def start(self, program: str) -> None:
        self._before = {pid: _or_zero(cpu_seconds, pid) for pid in descendants()}
        self._peaks = {pid: _or_zero(peak_mb, pid) for pid in self._before}
        self.program = program

    def sample(self) -> None:
        name, before = self.program, self._before
        for pid in descendants():
            used = _or_zero(cpu_seconds, pid) - before.get(pid, 0.0)
            self.cpu[name] = max(self.cpu.get(name, 0.0), used)
            peak = _or_zero(peak_mb, pid)
            # A process of an earlier test that does nothing now has no part in it.
            if peak > self._peaks.get(pid, 0.0):
                self.memory[name] = max(self.memory.get(name, 0.0), peak)


def _or_zero(measure: Callable[[int], float], pid: int) -> float:
    try:
        return measure(pid)
    except (OSError, IndexError):
        return 0.0  # it ended meanwhile


@contextmanager
def sampled(seconds: float = 0.005) -> Iterator[Usage]:
    """A thread samples all descendants until the block ends."""
    usage, ended = Usage(), threading.Event()

    def work() -> None:
        while not ended.wait(seconds):
            usage.sample()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield usage
    finally:
        ended.set()
        thread.join()
