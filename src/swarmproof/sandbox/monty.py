"""The default sandbox: an interpreter of a subset of Python, written in Rust, in worker processes.

It knows how to start a program in `pydantic-monty` and what its errors mean. Programs have nothing
to escape to: there is no file system, network, process or foreign function in the language that the
workers speak, and a worker that dies is replaced. Sleeps take no time, the clock stands still and
`random` is seeded, so a program prints the same on every machine.

Time. The interpreter counts no instructions; its limit is wall time in which the program was
executing. A program that is honest needs a thousandth of the default, so only a machine that stands
still for a quarter of a second can fail it; and those that ran out of time get a second go, alone,
the first `SECOND_GOES` of each call. More would let a peer who sends endless loops double the bill.
A single operation that does not look at the clock is killed half a second after the limit, with its
worker, and gets no second go. So a call costs at most three quarters of a second for each program,
shared between the workers: what bounds the time that hostile programs can take from honest nodes.
Source: https://github.com/pydantic/monty.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from swarmproof.sandbox.base import Result, Sandbox

if TYPE_CHECKING:
    import pydantic_monty

SECOND_GOES = 2
OUT_OF_TIME = "out of time"

GRACE = 0.5  # seconds after the limit until a worker is killed
_MAX_WORKERS = 4
_SESSIONS_PER_WORKER = 1000  # then a fresh worker, so that nothing piles up in one
_MAX_SUSPENSIONS = 64  # imports and refused system calls
_CLOCK = datetime(2026, 1, 1, tzinfo=UTC)

# Runs each module's source in a name space of its own and makes it an object with these names.
_LOADER = """
class _Module:
    pass

def _load(name, source):
    names = {'__name__': name}
    exec(source, names)
    module = _Module()
    for key in names:
        setattr(module, key, names[key])
    return module

_modules = {name: _load(name, _sources[name]) for name in _sources}
_modules
"""


class Monty(Sandbox):
    """A subset of Python with math, re, json, itertools and a few others; no foreign modules."""

    name: Literal["monty"] = "monty"
    seconds: float = Field(default=0.25, gt=0, le=600, description="time that a program may take")
    memory_mb: int = Field(default=64, ge=16, le=65_536, description="memory it may take, MiB")

    def require(self) -> None:
        """Nothing to check: the interpreter comes with the package."""

    def _execute(self, programs: Sequence[str], modules: Mapping[str, str]) -> list[Result]:
        pool = _pool()
        results = list(pool.threads.map(lambda text: self._run(pool, text, modules), programs))
        late = [i for i, result in enumerate(results) if result.failure == OUT_OF_TIME]
        for i in late[:SECOND_GOES]:
            results[i] = self._run(pool, programs[i], modules)
        return results

    def _run(self, pool: _Pool, program: str, modules: Mapping[str, str]) -> Result:
        import pydantic_monty

        output = _Output(self.output_chars)
        try:
            with pool.monty.checkout(
                limits=self._limits(),
                os_policy={"datetime": _CLOCK, "sleep": "zero", "random_start": {"seed": 0}},
            ) as session:
                loaded = _load(session, {k: v for k, v in modules.items() if k in program})
                # The value of a last expression would be converted for us; we do not want it.
                state = session.feed_start(program + "\nNone", print_callback=output)
                while not isinstance(state, pydantic_monty.MontyComplete):
                    state = _answer(state, loaded)
        except pydantic_monty.MontyError as error:
            return Result(None, output.failure or _reason(error))
        return Result(None, output.failure) if output.failure else Result("".join(output.parts))

    def _limits(self) -> pydantic_monty.ResourceLimits:
        return {
            "max_feed_duration_secs": self.seconds,
            "max_memory": self.memory_mb * 2**20,
            "max_recursion_depth": self.recursion,
            "max_suspensions": _MAX_SUSPENSIONS,
            "max_total_sleep_secs": 0.0,
        }


class _Output:
    """Keeps what is printed, up to a limit."""

    def __init__(self, limit: int) -> None:
        self.parts: list[str] = []
        self.failure = ""
        self._limit = self._left = limit

    def __call__(self, stream: Literal["stdout", "stderr"], text: str) -> None:
        if stream == "stdout" and not self.failure:
            self.parts.append(text)
            self._left -= len(text)
            if self._left < 0:
                self.parts.clear()
                self.failure = f"printed more than {self._limit} characters"


def _load(session: pydantic_monty.MontySession, modules: Mapping[str, str]) -> dict[str, object]:
    if not modules:
        return {}
    loaded: dict[str, object] = session.feed_run(
        _LOADER, inputs={"_sources": dict(modules)}, print_callback=_Output(0)
    )
    return loaded


def _answer(
    state: pydantic_monty.SyncSnapshot, modules: Mapping[str, object]
) -> pydantic_monty.SyncSnapshot:
    """Let a program that waits for us go on: with a module, or with the refusal it would get."""
    import pydantic_monty

    if isinstance(state, pydantic_monty.FunctionSnapshot) and state.function_name == "import":
        name = state.args[0] if state.args else None
        if isinstance(name, str) and name in modules:
            return state.resume({"return_value": modules[name]})
    assert not isinstance(state, pydantic_monty.MontyComplete)
    return state.resume_auto()


def _reason(error: pydantic_monty.MontyError) -> str:
    import pydantic_monty

    if isinstance(error, pydantic_monty.MontyCrashedError) and error.timed_out:
        return f"{OUT_OF_TIME}, and had to be killed"
    if isinstance(error.exception(), TimeoutError):
        return OUT_OF_TIME
    return " ".join(str(error)[:200].split()) or "failed"


@dataclass(frozen=True, slots=True)
class _Pool:
    monty: pydantic_monty.Monty
    threads: ThreadPoolExecutor


_pools: dict[int, _Pool] = {}  # by process, so that a forked child does not use its parent's
_starting = threading.Lock()


def _pool() -> _Pool:
    """The workers of this process, started when first needed and kept until it ends."""
    with _starting:
        pool = _pools.get(os.getpid())
        if pool is None:
            import pydantic_monty

            workers = min(_MAX_WORKERS, os.cpu_count() or 1)
            monty = pydantic_monty.Monty(
                min_processes=workers,
                max_processes=workers,
                max_checkouts_per_worker=_SESSIONS_PER_WORKER,
                feed_duration_limit_grace=GRACE,
            )
            monty.__enter__()
            pool = _pools[os.getpid()] = _Pool(monty, ThreadPoolExecutor(workers, "monty"))
        return pool


@atexit.register
def close() -> None:
    """End the workers of this process; the next program starts new ones."""
    with _starting:
        pool = _pools.pop(os.getpid(), None)
    if pool is not None:
        pool.threads.shutdown()
        pool.monty.__exit__(None, None, None)
