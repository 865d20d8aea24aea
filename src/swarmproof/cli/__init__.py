"""The command line. A wrong setting or a failing machine is one line and exit code 2.

Knows the commands, and how an error is shown. torch, transformers, matplotlib, pandas and ray are
imported within commands only, so that help and mistakes are shown at once.
"""

from __future__ import annotations

import sys
from importlib.metadata import version as installed_version
from typing import Annotated

import typer

from swarmproof.cli import (
    boarding,
    files,
    judging,
    nodes,
    reproducing,
    responding,
    rollouts,
    running,
    scanning,
    showing,
    zoo,
)
from swarmproof.cli.common import full

app = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    # A bug shows Python's own traceback.
    pretty_exceptions_enable=False,
    help="Prove your swarm against malicious completions.",
)
app.add_typer(zoo.app, name="zoo")
app.add_typer(boarding.app, name="board")
app.add_typer(nodes.swarm, name="swarm")
app.add_typer(nodes.node, name="node")
app.command()(running.run)
app.command()(running.report)
app.command()(files.new)
app.command()(files.runs)
app.command()(rollouts.export)
app.command()(scanning.scan)
app.command()(reproducing.reproduce)
app.command()(showing.theory)
app.command()(showing.explain)
app.command("list")(showing.list_)
app.command()(judging.calibrate)
app.command()(judging.judge_eval)
app.command()(responding.best_response)

_LONGEST = 1500  # characters of a message; lists of known names take up to 800


def main() -> None:
    """The entry point. A mistake of a user or a machine is one line; a bug shows its traceback."""
    try:
        app()
    except (ValueError, OSError) as error:
        print(f"error: {_one_line(error)}", file=sys.stderr)
        sys.exit(2)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    if version:
        print(installed_version("swarmproof"))
        raise typer.Exit


def _one_line(error: ValueError | OSError) -> str:
    """The message without what a file or a server could do to a terminal or its scroll bar."""
    text = "".join(
        char if char.isprintable() else ascii(char)[1:-1] for char in _message(error)[:_LONGEST]
    )
    return text if len(_message(error)) <= _LONGEST else f"{text} …"


def _message(error: ValueError | OSError) -> str:
    if isinstance(error, OSError):
        error = full(error, "free some space and run the same command with --resume")
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split())
