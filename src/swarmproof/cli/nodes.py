"""`swarm` and `node`: real nodes, each a process, over loopback or a network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from swarmproof import steps
from swarmproof.cli.common import INTERRUPTED, Quiet, Settings, parse_seeds
from swarmproof.cli.running import resume_command, show_report

swarm = typer.Typer(help="A swarm of real processes on this machine.", no_args_is_help=True)
node = typer.Typer(help="One node of a swarm over a network.", no_args_is_help=True)


@swarm.callback()
def _swarm() -> None:
    """Without a callback, a single command would take the place of the group."""


@swarm.command()
def up(
    experiment: Annotated[
        str, typer.Argument(help="A shipped experiment, or a path that ends in .toml.")
    ] = "text-horizontal",
    nodes: Annotated[
        int | None,
        typer.Option(min=1, help="Processes, one for each node.", show_default="the file's"),
    ] = None,
    arm: Annotated[
        list[str] | None,
        typer.Option(help="Run only this arm (repeatable).", show_default="all"),
    ] = None,
    set_: Settings = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            help="How many (3 is 0, 1, 2), or which: 0,1,5 (4, is 4 alone).",
            show_default="the file's",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder.", show_default="runs/EXPERIMENT-N")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an earlier run.")] = False,
    quiet: Quiet = False,
) -> None:
    """Run an experiment, by real nodes over loopback: signed messages, one view, the same report.

    Every node is a process with a key and an archive of its own, in RUN/nodes. One trial runs after
    another.
    """
    own = ["exchange.name=net", *([f"swarm.nodes={nodes}"] if nodes is not None else [])]
    plan = steps.prepare(
        experiment,
        arms=arm or (),
        overrides=[*own, *(set_ or ())],
        seeds=parse_seeds(seeds),
        out=out,
        resume=resume,
    )
    try:
        steps.execute_nodes(plan, quiet=quiet, on_start=lambda plan: print(plan.heading))
    except KeyboardInterrupt:
        print(f"interrupted; continue with: {resume_command(plan.folder)}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    show_report([plan.folder], plan.folder)


@node.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="For the keys; made if missing.")],
    name: Annotated[
        str, typer.Option(help="In the certificate, for people.", show_default="the folder's")
    ] = "",
) -> None:
    """Make a node's keys: Ed25519 to sign with, and a TLS certificate.

    Prints what the operators of the other nodes need.
    """
    from swarmproof.exchange.net.plugin import require_installed

    require_installed()
    from swarmproof.exchange.net import keys

    public = keys.make_keys(folder, name or folder.resolve().name)
    print(f"public key:  {public}")
    print(f"certificate: {folder / keys.CERTIFICATE}")
    print("Give both to the other nodes. The files that end in .key are secret.")
