"""Both sandboxes agree with CPython on a shared table of programs; the rest is documented."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest

from honest import DIFFERENCES, ENDINGS, HONEST, INVALID
from swarmproof.sandbox import CPython, Monty, Sandbox

CALC = {"calc": "def addition(a, b):\n    return a + b\n"}
DOCUMENT = Path(__file__).parents[2] / "docs" / "sandboxes.md"
TABLES = {"honest": HONEST, "endings": ENDINGS, "invalid": INVALID}

# What CPython, without any sandbox, makes of each program of a JSON list.
REFERENCE = """
import contextlib, io, json, sys, types, warnings
warnings.simplefilter("ignore")
def outcome(text):
    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output):
            exec(compile(text, "program.py", "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        return output.getvalue() if end.code in (None, 0) else None
    except BaseException:
        return None
    return output.getvalue()
programs, calc = json.load(sys.stdin)
sys.modules["calc"] = module = types.ModuleType("calc")
exec(calc, vars(module))
print(json.dumps([outcome(program) for program in programs]))
"""


@lru_cache(maxsize=8)
def reference(programs: tuple[str, ...]) -> list[str | None]:
    done = subprocess.run(
        [sys.executable, "-c", REFERENCE],
        input=json.dumps([programs, CALC["calc"]]),
        capture_output=True, text=True, check=True, cwd="/", env={"PYTHONHASHSEED": "1"},
    )  # fmt: skip
    outcomes: list[str | None] = json.loads(done.stdout)
    return outcomes


def outcomes(sandbox: Sandbox, programs: tuple[str, ...]) -> list[str | None]:
    try:
        sandbox.require()
    except ValueError as error:
        pytest.skip(str(error))
    return [result.stdout for result in sandbox.run(programs, CALC)]


SANDBOXES = {"monty": Monty(), "cpython": CPython(seconds=2, packages=())}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("name", SANDBOXES)
def test_a_sandbox_agrees_with_cpython(name: str, table: str) -> None:
    programs = TABLES[table]
    texts = tuple(programs.values())
    found = zip(programs, outcomes(SANDBOXES[name], texts), reference(texts), strict=True)
    assert not [(program, got, wanted) for program, got, wanted in found if got != wanted]


def test_the_tables_are_what_they_say() -> None:
    assert len(set(HONEST.values())) == len(HONEST) >= 60
    works, fails = (reference(tuple(TABLES[table].values())) for table in ("honest", "invalid"))
    assert None not in works
    assert fails == [None] * len(INVALID)


@pytest.mark.parametrize("name", SANDBOXES)
def test_the_documented_differences_are_exactly_those_that_exist(name: str) -> None:
    texts = tuple(program for _, program in DIFFERENCES.values())
    found = zip(DIFFERENCES, outcomes(SANDBOXES[name], texts), reference(texts), strict=True)
    different = [row for row, got, wanted in found if got != wanted]
    assert different == [row for row, (who, _) in DIFFERENCES.items() if who in (name, "both")]


def test_the_document_has_a_row_for_every_difference() -> None:
    rows = re.findall(
        r"^\| ([^|]+?) +\| (monty|cpython|both) +\|", DOCUMENT.read_text("utf-8"), re.MULTILINE
    )
    assert rows == [(row, who) for row, (who, _) in DIFFERENCES.items()]


def test_rounding_is_what_the_document_says() -> None:
    program = "print(round(2.675, 2), f'{2.675:.2f}', round(2.5), round(0.125, 2))"
    (monty,), (cpython,) = (outcomes(s, (program,)) for s in SANDBOXES.values())
    assert monty == "2.68 2.67 2 0.12\n"
    assert cpython == "2.67 2.67 2 0.12\n"
