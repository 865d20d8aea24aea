"""The interface of a sandbox: program texts go in, their output comes out, and nothing raises.

It does not know what a program is for. The expected answer never enters a sandbox: the caller
compares the output, so a program can neither read the answer nor forge the comparison.

A sandbox is a frozen pydantic model whose fields are its limits, so an experiment's TOML can
contain it: `sandbox = { name = "monty", seconds = 1 }`.

What Python is. A sandbox runs a program as CPython runs `exec(compile(text, "program.py", "exec"))`
with `__name__ == "__main__"`. docs/sandboxes.md lists the differences that remain.

Limits and reproducibility. The limits on memory, output, recursion and length stop the same program
at the same place on every machine. The time limit does not: a program that needs about as long as
the limit may pass on an idle machine and fail on a busy one. So the limit is far above what honest
programs need (well below a millisecond; the default allows hundreds), and each back end says how it
reduces the influence of load.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from pydantic import BaseModel, ConfigDict, Field

NO_MODULES: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of one program.

    `Result("7\\n")` printed 7 and succeeded; `Result(None, "out of time")` failed.
    """

    stdout: str | None  # everything it printed; None if it failed, whatever it printed before
    failure: str = ""  # one line; empty if it succeeded


class Sandbox(BaseModel):
    """Runs untrusted programs in isolation from each other, from files and from the network.

    A program is one process and cannot start others.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    seconds: float = Field(gt=0, le=600, description="time that a program may take")
    memory_mb: int = Field(ge=16, le=65_536, description="memory that a program may take, MiB")
    output_chars: int = Field(
        default=10_000, ge=1, le=10_000_000, description="characters that a program may print"
    )
    recursion: int = Field(default=200, ge=10, le=10_000, description="depth of nested calls")
    program_chars: int = Field(
        default=20_000, ge=1, le=1_000_000, description="characters that a program may have"
    )

    @abstractmethod
    def require(self) -> None:
        """Raise ValueError, with what to install, unless programs can run on this machine."""

    def run(self, programs: Sequence[str], modules: Mapping[str, str] = NO_MODULES) -> list[Result]:
        """Run programs, in parallel where possible; equal programs of one call run once.

        Args:
            programs: untrusted Python source.
            modules: source of the modules that programs may import, by name. They run inside the
                sandbox, under the limits of the program.

        Returns:
            one result for each program, in order. Every behaviour of a program is a result.

        Raises:
            ValueError: the sandbox is not available on this machine, or the name of a module is
                not an ASCII identifier.
        """
        self.require()
        for name in modules:
            if not (name.isidentifier() and name.isascii()):
                raise ValueError(f"{name!r:.60} cannot name a module; use an ASCII identifier")
        results = {program: self._refuse(program) for program in programs}
        accepted = [program for program, refused in results.items() if refused is None]
        results |= zip(accepted, self._execute(accepted, modules), strict=True)
        return [result for program in programs if (result := results[program]) is not None]

    @abstractmethod
    def _execute(self, programs: Sequence[str], modules: Mapping[str, str]) -> list[Result]:
        """Return one result for each program; programs are distinct and passed `_refuse`."""

    def _refuse(self, program: str) -> Result | None:
        if len(program) > self.program_chars:
            return Result(None, f"longer than {self.program_chars} characters")
        if any("\ud800" <= char <= "\udfff" for char in program):
            return Result(None, "not valid Unicode")
        # CPython compiles neither of these; other interpreters run them.
        if "\0" in program:
            return Result(None, "contains a null character")
        if program.startswith("\ufeff"):
            return Result(None, "begins with a byte-order mark")
        return None
