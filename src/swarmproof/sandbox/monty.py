"""The default sandbox: an interpreter of a subset of Python, written in Rust, in worker processes.

It knows how to start a program in `pydantic-monty` and how to read its errors. Programs have
nothing to escape to: the language of the workers has no file system, network, process or foreign
function. A worker that dies is replaced. Sleep takes no time, the clock stands still and `random`
is seeded, so a program prints the same on every machine, whatever Python the machine has.

Time. The interpreter counts no instructions; its limit is the wall time during which the program
executes. An honest program needs a thousandth of the default, so it can fail only on a machine that
stalls for a quarter of a second. Therefore programs that ran out of time run again, one by one, but
only the first `SECOND_GOES` of each call: a peer that sends endless loops must not double the cost.
A single operation that does not check the clock is killed, with its worker, `GRACE` seconds after
the limit. So a program costs at most `seconds + GRACE`, shared between the workers.

Memory. `memory_mb` bounds a worker process. The interpreter counts the program's values and ends it
at half of what `WORKER_MB` leaves of it. The other half is for copies that it makes of a value
without counting them: of a long text that is handed to `exec`, for example.
Source: https://github.com/pydantic/monty.
"""

from __future__ import annotations

import atexit
import os
import re
import secrets
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from swarmproof.sandbox.base import Result, Sandbox

if TYPE_CHECKING:
    import pydantic_monty

SECOND_GOES = 2
OUT_OF_TIME = "out of time"

GRACE = 0.01  # seconds after the limit until a worker is killed
WORKER_MB = 32  # of `memory_mb`, for the worker itself; measured: at most 18
_MAX_WORKERS = 4
_SESSIONS_PER_WORKER = 1000  # then a new worker, so that no state accumulates
_MAX_SUSPENSIONS = 64  # imports and refused system calls
_CLOCK = datetime(2026, 1, 1, tzinfo=UTC)

# Run the text of each module in its own name space and make it an object with these names.
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

# The interpreter builds exceptions from texts only, so it refuses `raise SystemExit(0)`, which
# means the same as `raise SystemExit`.
_LEAVES_WELL = re.compile(r"\braise SystemExit\((?:0|None)\)")


class Monty(Sandbox):
    """A subset of Python with math, re, json, itertools and a few others; no foreign modules."""

    name: Literal["monty"] = "monty"
    seconds: float = Field(default=0.25, gt=0, le=600, description="time that a program may take")
    memory_mb: int = Field(
        default=160, ge=2 * WORKER_MB, le=65_536, description="memory of a worker process, MiB"
    )

    def require(self) -> None:
        """Do nothing: the interpreter is a dependency of the package."""

    def _execute(self, programs: Sequence[str], modules: Mapping[str, str]) -> list[Result]:
        pool = _pool()
        results = list(pool.threads.map(lambda text: self._run(pool, text, modules), programs))
        late = [i for i, result in enumerate(results) if result.failure.startswith(OUT_OF_TIME)]
        for i in late[:SECOND_GOES]:
            results[i] = self._run(pool, programs[i], modules)
        return results

    def _run(self, pool: _Pool, program: str, modules: Mapping[str, str]) -> Result:
        import pydantic_monty

        # CPython reads every line end as a newline, also inside texts.
        program = program.replace("\r\n", "\n").replace("\r", "\n")
        program = _LEAVES_WELL.sub("raise SystemExit", program)
        # The interpreter accepts `return` outside a function, and converts the value of a last
        # expression for us. A last expression of our own, unknown to the program, settles both.
        end = secrets.token_hex(16)
        output = _Output(self.output_chars)
        try:
            with pool.monty.checkout(
                limits=self._limits(),
                assert_message_annotations=False,
                os_policy={"datetime": _CLOCK, "sleep": "zero", "random_start": {"seed": 0}},
            ) as session:
                _require_last_line(session, program.removesuffix("\n"))
                loaded = _load(session, {k: v for k, v in modules.items() if k in program})
                state = session.feed_start(f"{program}\n\n'{end}'", print_callback=output)
                while not isinstance(state, pydantic_monty.MontyComplete):
                    state = _answer(state, loaded)
                reached = state.output == end
        except pydantic_monty.MontyError as error:
            failure = output.failure or _reason(error)
        else:
            failure = output.failure or (
                "" if reached else "SyntaxError: 'return' outside function"
            )
        return Result(None, failure) if failure else Result("".join(output.parts))

    def _limits(self) -> pydantic_monty.ResourceLimits:
        return {
            "max_feed_duration_secs": self.seconds,
            "max_memory": (self.memory_mb - WORKER_MB) // 2 * 2**20,
            "max_recursion_depth": self.recursion,
            "max_suspensions": _MAX_SUSPENSIONS,
            "max_total_sleep_secs": 0.0,
        }


class _Output:
    """Collects what a program prints, up to a limit."""

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


def _require_last_line(session: pydantic_monty.MontySession, program: str) -> None:
    """Raise MontySyntaxError if a backslash would join the last line to the line that we append."""
    import pydantic_monty

    if program.endswith("\\"):
        # The exit comes first: the text is parsed, but not run.
        with suppress(pydantic_monty.MontyRuntimeError):
            session.feed_run(f"raise SystemExit\n{program}", print_callback=_Output(0))


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
    """Resume a suspended program: with its module, its exit, or the default refusal."""
    import pydantic_monty

    if isinstance(state, pydantic_monty.FunctionSnapshot):
        first = state.args[0] if state.args else None
        if state.function_name == "import" and isinstance(first, str) and first in modules:
            return state.resume({"return_value": modules[first]})
        if state.function_name in ("exit", "quit"):
            leaves_well = first is None or first == 0
            return state.resume({"exception": SystemExit() if leaves_well else SystemExit("1")})
    assert not isinstance(state, pydantic_monty.MontyComplete)
    return state.resume_auto()


def _reason(error: pydantic_monty.MontyError) -> str:
    """Return the failure in one line; empty if the program ended itself with status 0."""
    import pydantic_monty

    if isinstance(error, pydantic_monty.MontyCrashedError) and error.timed_out:
        return f"{OUT_OF_TIME}, and the worker was killed"
    exception = error.exception()
    if isinstance(exception, TimeoutError):
        return OUT_OF_TIME
    if isinstance(exception, SystemExit) and not str(exception):
        return ""
    return " ".join(str(error)[:200].split()) or "failed"


@dataclass(frozen=True, slots=True)
class _Pool:
    monty: pydantic_monty.Monty
    threads: ThreadPoolExecutor


_pools: dict[int, _Pool] = {}  # by process id: a forked child must not use its parent's pool
_starting = threading.Lock()


def _pool() -> _Pool:
    """Return the workers of this process, started at first use and kept until it ends."""
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
    """Stop the workers of this process; the next program starts new ones."""
    with _starting:
        pool = _pools.pop(os.getpid(), None)
    if pool is not None:
        pool.threads.shutdown()
        pool.monty.__exit__(None, None, None)
