"""Every command has help under -h, with a default or `required` for every option."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from swarmproof.cli import app

WIDE = {"COLUMNS": "300", "TERM": "dumb"}


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


EVERY = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_every_command_has_help_with_every_default(path: tuple[str, ...]) -> None:
    runner = CliRunner()
    short, long = (runner.invoke(app, [*path, option], env=WIDE) for option in ("-h", "--help"))
    assert short.exit_code == long.exit_code == 0
    assert short.output == long.output
    lines = short.output.splitlines()
    for parameter in EVERY[path].params:
        # The last name is the long one; of a flag with two, the first stands first.
        name = parameter.opts[-1] if parameter.param_type_name == "option" else parameter.metavar
        # An argument that may be repeated has dots behind its name.
        start = re.compile(rf" {re.escape(name or parameter.name or '')}(\.\.\.)? ")
        (line,) = [line for line in lines if start.search(line) and "Usage:" not in line]
        assert getattr(parameter, "help", "") in line
        is_flag = getattr(parameter, "is_flag", False)
        if not is_flag and name not in ("--set",):
            assert "[default: " in line or "[required]" in line, line


def test_completion_can_be_installed() -> None:
    shown = CliRunner().invoke(app, ["--help"], env=WIDE).output
    assert "--install-completion" in shown
    assert "--show-completion" in shown
