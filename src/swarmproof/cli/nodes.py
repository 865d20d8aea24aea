"""`swarm` and `node`: real nodes, each a process, over loopback or a network."""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from swarmproof import steps
from swarmproof.cli.common import INTERRUPTED, Quiet, Settings, full, parse_seeds
from swarmproof.cli.running import resume_command, show_report
from swarmproof.config import quote

_SwarmFile = Annotated[
    Path, typer.Argument(metavar="SWARM.TOML", help="The swarm's file, the same on all nodes.")
]
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
    liar: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NODE=KIND",
            help="This node lies to its peers (repeatable): `swarmproof node lies`.",
            show_default="none",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an earlier run.")] = False,
    quiet: Quiet = False,
) -> None:
    """Run an experiment, by real nodes over loopback: signed messages, one view, the same report.

    Every node is a process with a key and an archive of its own, in RUN/nodes. One trial runs after
    another.
    """
    own = ["exchange.name=net", *([f"swarm.nodes={nodes}"] if nodes is not None else [])]
    if liar:
        own.append(f"exchange.liars={json.dumps(_liars(liar))}")
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
    certificate = (folder / keys.CERTIFICATE).read_text().strip()
    print("# For swarm.toml, the same file on all nodes. The files that end in .key are secret.")
    print(f'[[nodes]]\nkey = "{public}"\ncertificate = """\n{certificate}\n"""')


@node.command()
def lies() -> None:
    """Show the lies of --lie and --liar, and what honest nodes say of each."""
    from swarmproof.exchange.net.plugin import require_installed

    require_installed()
    from swarmproof.exchange.net.liars import LIARS

    for kind, liar in LIARS.items():
        lie, seen = inspect.cleandoc(liar.__doc__ or "").split("\n\n")
        print(f"  {kind}: {lie}\n      {' '.join(seen.split())}")


@node.command()
def run(
    swarm_file: _SwarmFile,
    key: Annotated[Path, typer.Option(metavar="DIR", help="The node's keys, from `node init`.")],
    listen: Annotated[
        list[str] | None,
        typer.Option(
            metavar="tls/HOST:PORT", help="Listen here (repeatable).", show_default="nowhere"
        ),
    ] = None,
    connect: Annotated[
        list[str] | None,
        typer.Option(
            metavar="tls/HOST:PORT",
            help="A reachable peer (repeatable); the others are found through it.",
            show_default="none",
        ),
    ] = None,
    lan: Annotated[bool, typer.Option("--lan", help="Also find peers by multicast.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="The node's run folder.", show_default="DIR of the keys, with -run"),
    ] = None,
    lie: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="Lie to the peers, for research: `swarmproof node lies`.",
            show_default="none",
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Take part in a swarm. The same command continues after an interruption."""
    from swarmproof.engines.joining import Membership, number_of
    from swarmproof.exchange.net.plugin import liars_of, require_installed

    require_installed()
    membership = Membership.read(swarm_file)
    number = number_of(membership, key)
    if lie is not None:
        membership = membership.lying(number, lie)
    membership.require()
    if not (listen or connect or lan):
        raise ValueError("the node would be alone; give it --listen, --connect, or both")
    if "tls/" in " ".join((listen or []) + (connect or [])):
        membership.require_certificates(number, key)
    steps.check(membership.config)
    links = {"listen": listen or [], "peers": connect or [], "lan": lan, "key": str(key)}
    folder = out or key.with_name(f"{key.name}-run")
    liars = liars_of(membership.config.arms[membership.file.arm].exchange)
    if number in liars:
        print(f"node {number} lies to its peers: {liars[number]}", file=sys.stderr)
    try:
        steps.execute_node(membership, number, folder, links, quiet=quiet)
    except KeyboardInterrupt:
        print("interrupted; the same command continues", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    except OSError as error:
        raise full(error, "free some space, and the same command continues") from None
    show_report([folder], folder)


def _liars(texts: Sequence[str]) -> list[tuple[int, str]]:
    found = [(text, re.fullmatch(r"([0-9]{1,9})=(.+)", text)) for text in texts]
    if bad := [text for text, match in found if match is None]:
        raise ValueError(f"--liar {quote(bad[0])}: write it as NODE=KIND, such as 2=late")
    return [(int(match[1]), match[2]) for _, match in found if match is not None]


@node.command()
def status(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The node's run folder.")],
) -> None:
    """Show a node's last round and its ledger of peers."""
    from swarmproof.report import ledger

    print(ledger.of_folder(folder))


@node.command()
def verify(
    archive: Annotated[Path, typer.Argument(metavar="ARCHIVE", help="Of any node.")],
    swarm_file: _SwarmFile,
    records: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Also compare with the records in this folder of a trial.",
            show_default="none",
        ),
    ] = None,
) -> None:
    """Audit a swarm from an archive: signatures, agreement, weights, draws, rewards, verdicts.

    Plays all nodes again. Exit code 1: something is not as it should be.
    """
    import tempfile

    from swarmproof.engines.auditing import audit
    from swarmproof.engines.joining import Membership
    from swarmproof.exchange.net.roster import Roster
    from swarmproof.records import merging
    from swarmproof.report import ledger

    membership = Membership.read(swarm_file)
    config, seed = membership.config.arms[membership.file.arm], membership.file.seed
    with tempfile.TemporaryDirectory() as name:
        found = audit(config, seed, Roster.of(membership.roster), archive, Path(name))
        same = records is None or not merging.differing([records, Path(name)])
    for line in ledger.of_audit(found):
        print(line)
    if records is not None:
        print(f"the records in {records} {'follow' if same else 'DO NOT FOLLOW'} from the archive")
    if not same or not found.sound:
        raise typer.Exit(1)
