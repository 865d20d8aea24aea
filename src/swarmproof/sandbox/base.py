"""What a sandbox is: texts of programs in, what they printed out, and never an exception.

It does not know what a program is for. The expected answer never comes near it: whoever asks
compares the output, so a program can neither read the answer nor forge the comparison.

A sandbox is a frozen pydantic model whose fields are its limits, so it can stand in a table of an
experiment: `sandbox = { name = "monty", seconds = 1 }`.

Limits and reproducibility. Limits on memory, output, recursion and length count things, and hit
the same program in the same place on every machine. A limit on time does not: a program that needs
about as long as the limit may pass on an idle machine and fail on a busy one. So the limit is far
from what honest programs need (they take well under a millisecond; the default allows hundreds),
and each back end says how it keeps load from deciding the rest.
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
    """What became of one program.

    `Result("7\\n")` printed 7 and ended well; `Result(None, "out of time")` failed.
    """

    stdout: str | None  # all that it printed; None where it failed, whatever it printed before
    failure: str = ""  # one line; empty where it ended well


class Sandbox(BaseModel):
    """Runs untrusted programs, each alone: one sees nothing of another, of files or of a network.

    Processes are no field: a program is one process and may start none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    seconds: float = Field(gt=0, le=600, description="time that a program may take")
    memory_mb: int = Field(ge=16, le=65_536, description="memory that it may take, MiB")
    output_chars: int = Field(
        default=10_000, ge=1, le=10_000_000, description="characters it may print; more fails"
    )
    recursion: int = Field(default=200, ge=10, le=10_000, description="depth of nested calls")
    program_chars: int = Field(
        default=20_000, ge=1, le=1_000_000, description="length of a program; longer ones fail"
    )

    @abstractmethod
    def require(self) -> None:
        """Checks that programs can be run here.

        Raises:
            ValueError: they cannot; says what to install.
        """

    def run(self, programs: Sequence[str], modules: Mapping[str, str] = NO_MODULES) -> list[Result]:
        """Run programs, in parallel where that helps; equal programs of one call run once.

        Args:
            programs: Python source, from anybody.
            modules: source of modules by the name under which programs may import them. They run
                inside the sandbox, under the program's limits.

        Returns:
            one result for each program, in order. Whatever a program does is a result.

        Raises:
            ValueError: the sandbox is not available here, or a module's name is no plain name.
        """
        self.require()
        for name in modules:
            if not (name.isidentifier() and name.isascii()):
                raise ValueError(f"a module cannot be called {name!r:.60}; give a plain name")
        results = {program: self._refuse(program) for program in programs}
        accepted = [program for program, refused in results.items() if refused is None]
        results |= zip(accepted, self._execute(accepted, modules), strict=True)
        return [result for program in programs if (result := results[program]) is not None]

    @abstractmethod
    def _execute(self, programs: Sequence[str], modules: Mapping[str, str]) -> list[Result]:
        """A result for each program: distinct, not too long, and valid Unicode."""

    def _refuse(self, program: str) -> Result | None:
        if len(program) > self.program_chars:
            return Result(None, f"longer than {self.program_chars} characters")
        if any("\ud800" <= char <= "\udfff" for char in program):
            return Result(None, "no valid Unicode")
        return None
