"""Nodes as processes, for tests: they are forked, so that none has to import torch again.

Each process plays a node as `swarmproof node run` does, keeps a journal of when it published and
decided, and can be a liar.
"""

from __future__ import annotations

import ctypes
import json
import logging
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Collection
from dataclasses import dataclass, field
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import msgspec
import torch

from swarmproof import steps
from swarmproof.config import TrialConfig
from swarmproof.engines.joining import ARCHIVE, Membership, SwarmMember, write_swarm
from swarmproof.exchange import Gathered
from swarmproof.exchange.net import keys
from swarmproof.exchange.net.agreement import RoundRules
from swarmproof.exchange.net.archive import AgreedRound, Archive
from swarmproof.exchange.net.channel import NetChannel
from swarmproof.exchange.net.liars import LIARS
from swarmproof.exchange.net.roster import Roster
from swarmproof.swarm.trial import Trial
from swarmproof.types import NodeId
from swarms import trial_config

JOURNAL, LOG = "journal.jsonl", "log"
_CLONE_NEWNET = 0x40000000


def small_config(model: Path, rounds: int, **exchange: float) -> TrialConfig:
    """Four nodes that all keep to the task; what they lie about is the network."""
    return trial_config(
        model,
        rounds=rounds,
        swarm={"nodes": 4, "malicious": 0},
        batch={"problems": 4, "group_size": 8},
        sampling={"max_new_tokens": 24},
        evaluation={"every": rounds, "problems": 2},
        exchange={"name": "net", **exchange},
    )


@dataclass
class TestSwarm:
    """Four nodes, their folders, and the processes that play them.

    Args:
        root: folder for everything.
        config: of the trial; its exchange has the settings of `net`.
        endpoints: where each node listens.
        namespaces: the network namespace of each node; empty: that of this process.
    """

    __test__ = False  # no test, in spite of its name

    root: Path
    config: TrialConfig
    endpoints: list[str]
    namespaces: list[str] = field(default_factory=list)
    running: dict[int, ForkProcess] = field(default_factory=dict)

    def __post_init__(self) -> None:
        members = []
        for node in range(self.config.swarm.nodes):
            key = keys.make_keys(self.keys(node), f"node-{node}")
            members.append(SwarmMember(key=key, certificate=self.certificate(node)))
        trial = Trial("faults", "arm", 0, self.config, self.root)
        write_swarm(self.root, trial, members)
        self.membership = Membership.read(self.root / "swarm.toml")

    def keys(self, node: int) -> Path:
        return self.root / f"node-{node}" / "keys"

    def certificate(self, node: int) -> str:
        return (self.keys(node) / keys.CERTIFICATE).read_text()

    def folder(self, node: int) -> Path:
        return self.root / f"node-{node}" / "run"

    def trial_folder(self, node: int) -> Path:
        return self.folder(node) / "trials" / "arm" / "seed-0"

    def archive(self, node: int) -> Archive:
        return Archive(self.folder(node) / ARCHIVE, read_only=True)

    def entries(self, node: int) -> list[AgreedRound]:
        archive, decoder = self.archive(node), msgspec.msgpack.Decoder(AgreedRound)
        return [decoder.decode(archive.read(r) or b"") for r in range(archive.last + 1)]

    def journal(self, node: int) -> list[dict[str, Any]]:
        path = self.root / f"node-{node}" / JOURNAL
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]

    def rules(self, round: int, node: int = 0) -> RoundRules:
        """Of the round; the run is taken from a header in the archive of a node."""
        header = next(iter(self.entries(node)[round].headers.values()))
        roster = Roster.of(self.membership.roster)
        from swarmproof.exchange.net.envelope import Signed

        return RoundRules(Signed.decode(header).header.run, round, roster, 1, 10**7)

    def start(self, node: int, kind: str = "") -> None:
        process = multiprocessing.get_context("fork").Process(
            target=_play, args=(self, node, kind), daemon=True
        )
        process.start()
        self.running[node] = process

    def kill(self, node: int) -> None:
        """kill -9."""
        self.running[node].kill()
        self.running.pop(node).join()


def _play(swarm: TestSwarm, node: int, kind: str) -> None:
    home = swarm.root / f"node-{node}"
    with (home / LOG).open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    logging.basicConfig(format="%(asctime)s %(message)s", stream=sys.stderr, force=True)
    torch.set_num_threads(1)
    if swarm.namespaces:
        _enter(swarm.namespaces[node])
    _keep_journal(home / JOURNAL)
    links = {
        "listen": [swarm.endpoints[node]],
        "peers": [e for n, e in enumerate(swarm.endpoints) if n != node],
        "key": str(swarm.keys(node)),
    }
    # One that returns with an old state tells no lie; the harness puts the state back.
    lies = kind in LIARS
    membership = swarm.membership.lying(node, kind) if lies else swarm.membership
    try:
        steps.execute_node(membership, node, swarm.folder(node), links, quiet=True)
    except BaseException:  # noqa: BLE001 - a fork must not return into the harness
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _enter(namespace: str) -> None:
    with Path(f"/run/netns/{namespace}").open() as file:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(file.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "cannot enter the network namespace")


def _keep_journal(path: Path) -> None:
    """Write when this process published and decided each round that it did not know."""
    journal = path.open("a", buffering=1)

    def note(what: str, round: int) -> None:
        journal.write(json.dumps({"what": what, "round": round, "time": time.time()}) + "\n")

    publish, gather = NetChannel.publish, NetChannel.gather

    def publishing(self: NetChannel, round: int, node: NodeId, payload: bytes) -> None:
        publish(self, round, node, payload)
        if round > self._party.entries.last:
            note("published", round)

    def gathering(
        self: NetChannel, round: int, senders: Collection[NodeId], deadline: float
    ) -> Gathered:
        known = round <= self._party.entries.last
        found = gather(self, round, senders, deadline)
        if not known:
            note("decided", round)
        return found

    closing = NetChannel.close

    def close(self: NetChannel) -> None:
        note("closing", self._party.entries.last)
        closing(self)

    NetChannel.publish, NetChannel.gather = publishing, gathering  # type: ignore[method-assign]
    NetChannel.close = close  # type: ignore[method-assign]
