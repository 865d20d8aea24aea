"""A swarm of real processes on this machine: every node of a trial is one, over loopback.

Each node has a key, a certificate and an archive in a folder of its own below the run folder. Knows
how nodes are set up, started and put together again; not what they compute.
"""

from __future__ import annotations

import socket
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from swarmproof.engines import local
from swarmproof.engines.carrying import Carried
from swarmproof.engines.events import OnEvent
from swarmproof.engines.joining import ARCHIVE, CERTIFICATES, SwarmMember, write_swarm
from swarmproof.exchange.net.plugin import liars_of
from swarmproof.records import merging
from swarmproof.swarm.trial import Trial

if TYPE_CHECKING:
    from swarmproof.config import TrialConfig

KEYS = "keys"


@dataclass(frozen=True, slots=True)
class NodeTrials:
    """A trial, and the same trial as each of its nodes plays it."""

    trial: Trial
    nodes: tuple[Trial, ...]

    @classmethod
    def of(cls, trial: Trial, root: Path) -> NodeTrials:
        """Give each node of a trial a folder below `root`. Writes nothing."""
        here = root / trial.arm / f"seed-{trial.seed}"
        width = len(str(trial.config.swarm.nodes - 1))
        lies = {n: f" (lies: {lie})" for n, lie in liars_of(trial.config.exchange).items()}
        nodes = tuple(
            replace(
                trial,
                arm=f"{trial.arm}, node {n:{width}}{lies.get(n, '')}",
                folder=here / f"node-{n}",
                local=(n,),
            )
            for n in range(trial.config.swarm.nodes)
        )
        return cls(trial, nodes)


def check(config: TrialConfig) -> None:
    """Find what would stop the nodes of a trial, before any is started.

    Raises:
        ValueError: one line with the remedy.
    """
    from swarmproof import registry
    from swarmproof.exchange import Exchange
    from swarmproof.exchange.net.plugin import Net

    exchange = registry.build(Exchange, config.exchange)
    if not isinstance(exchange, Net):
        raise ValueError(  # noqa: TRY004 - the mistake is in a config
            f"exchange.name is {exchange.name!r}; processes of nodes need 'net'"
        )
    exchange.require(config.swarm.nodes)
    for members in config.cohorts:
        if not {*members.nodes} - exchange.lies(config.swarm.nodes).keys():
            raise ValueError(
                f"exchange.liars: every node of the cohort {members.name!r} lies, so none keeps "
                "its records; leave one of them out"
            )
    if config.model.device != "cpu" and config.swarm.nodes > 1:
        raise ValueError("the nodes would share one device; set model.device = cpu")


def run_swarm(swarm: NodeTrials, *, resume: bool, on_event: OnEvent) -> None:
    """Play a trial by a process for each node; the streams of the trial are theirs.

    Args:
        swarm: the trial and its nodes.
        resume: continue from the nodes' checkpoints and archives.
        on_event: of each node's trial.

    Raises:
        ValueError, OSError: raised by a node; the others were stopped.
        ChildProcessError: a node was killed.
        TrialCrashedError: a bug in a node.
    """
    members = [_member(trial, resume) for trial in swarm.nodes]
    root = swarm.nodes[0].folder.parent
    (root / CERTIFICATES).write_text("".join(member.certificate for member in members))
    write_swarm(root, swarm.trial, members)  # for those who verify an archive
    endpoints = [f"tls/127.0.0.1:{port}" for port in _free_ports(len(members))]
    own = {
        "roster": [member.key for member in members],
        "certificates": str(root / CERTIFICATES),
    }
    trials = [
        replace(trial, config=trial.config.model_copy(update={"exchange": {
            **swarm.trial.config.exchange,
            **own,
            "key": str(trial.folder / KEYS),
            "archive": str(trial.folder / ARCHIVE),
            "listen": [endpoint],
            "peers": [] if endpoint == endpoints[0] else endpoints[:1],
        }}))
        for trial, endpoint in zip(swarm.nodes, endpoints, strict=True)
    ]  # fmt: skip
    carried = Carried.of([swarm.trial.config])
    local.run_trials(
        trials,
        jobs=len(trials),
        resume=resume,
        on_event=on_event,
        run_trial=carried.run if carried.plugins else None,
    )
    put_together(swarm)


def put_together(swarm: NodeTrials) -> None:
    """Write the trial's streams from those of its nodes.

    Raises:
        ValueError: honest nodes of one model recorded different things.
    """
    folders = {node: trial.folder for trial in swarm.nodes for node in trial.local or ()}
    liars = liars_of(swarm.trial.config.exchange)
    first = []
    for members in swarm.trial.config.cohorts:
        # What a liar tells others, it may believe itself.
        own = [folders[node] for node in members.nodes if node not in liars]
        if odd := merging.differing(own):
            raise ValueError(
                f"{odd[0]} and {own[0]} recorded different things, so the nodes had different "
                "views or weights; look for warnings above, and compare the two folders"
            )
        first.append(own[0])
    merging.merge(first, swarm.trial.folder)


def _member(trial: Trial, resume: bool) -> SwarmMember:
    """What the others know of a node; its keys are made if they are missing."""
    from swarmproof.exchange.net import keys

    folder = trial.folder / KEYS
    if resume and (folder / keys.KEY).exists():
        signer = keys.Signer.open(folder)
        signer.close()
        key = signer.public.hex()
    else:
        key = keys.make_keys(folder, trial.folder.name)
    return SwarmMember(key=key, certificate=(folder / keys.CERTIFICATE).read_text())


def _free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
