"""The exchange `net`: real nodes over a network, with signatures and agreement (docs/nodes.md)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from swarmproof.exchange.base import Exchange, Session
from swarmproof.registry import register

if TYPE_CHECKING:
    from swarmproof.exchange.net.channel import NetChannel
    from swarmproof.exchange.net.keys import Signer
    from swarmproof.exchange.net.liars import Liar
    from swarmproof.exchange.net.party import Terms
    from swarmproof.exchange.net.roster import Roster
    from swarmproof.exchange.net.transport import Transport


@register("exchange", "net")
class Net(Exchange):
    """Signed messages between processes. All nodes agree on which messages count in each round.

    Without `roster` all nodes must be in this process; they then have keys that last as long as it.
    """

    faults: int = Field(
        default=1, ge=0, le=64, description="nodes that may lie without splitting the views"
    )
    quorum: int | None = Field(
        default=None,
        ge=1,
        description="messages that a round needs, and equal statements that its outcome needs; by "
        "default more than half of the nodes and half of the liars",
    )
    step: float = Field(
        default=5.0,
        gt=0,
        le=3600,
        description="seconds in which every honest node is heard by all others",
    )
    roster: tuple[str, ...] = Field(
        default=(), max_length=65_535, description="the public keys of all nodes, in their order"
    )
    key: Path | None = Field(
        default=None, description="folder with this node's keys, from `swarmproof node init`"
    )
    certificates: Path | None = Field(
        default=None, description="file with the TLS certificates of all nodes"
    )
    listen: tuple[str, ...] = Field(
        default=(), description="where this node listens, such as tls/0.0.0.0:7447"
    )
    peers: tuple[str, ...] = Field(
        default=(), description="where some peers listen, such as tls/10.0.0.2:7447"
    )
    stay: float = Field(
        default=5.0,
        ge=0,
        le=86_400,
        description="seconds after the last round in which it serves peers that are behind",
    )
    lan: bool = Field(default=False, description="also find peers by multicast")
    archive: Path | None = Field(
        default=None, description="file for what was agreed on; by default nothing is kept"
    )

    liars: tuple[tuple[int, str], ...] = Field(
        default=(),
        max_length=65_535,
        description="nodes that lie to their peers, for research, such as [[2, 'late']]: "
        "`swarmproof node lies`",
    )

    def connect(self, session: Session) -> NetChannel:
        """Join the swarm.

        Raises:
            ValueError: the extra is not installed, the settings do not fit, the key is in use or
                has signed more than the archive holds, or the network cannot be joined.
        """
        require_installed()
        from swarmproof.exchange.net.archive import Archive
        from swarmproof.exchange.net.channel import NetChannel

        # A process that plays all nodes has nobody to agree with.
        alone = len(session.local) == len(session.nodes)
        terms = self.terms(len(session.nodes), alone=alone)
        with ExitStack() as opened:
            roster, signers = self._identities(session)
            for signer in signers.values():
                opened.callback(signer.close)
            entries = Archive(self.archive)
            transport = self._transport(session, roster, terms, signers)
            opened.callback(transport.close)
            channel = NetChannel(session, roster, terms, signers, transport, entries, self.stay)
            opened.pop_all()  # the channel closes them
            return channel

    def require(self, num_nodes: int) -> None:
        """Check that nodes in processes of their own can use these settings.

        Raises:
            ValueError: one line with the remedy.
        """
        require_installed()
        self.terms(num_nodes, alone=num_nodes == 1)
        self.lies(num_nodes)

    def lies(self, num_nodes: int) -> dict[int, type[Liar]]:
        """The nodes that lie, by number.

        Raises:
            ValueError: one is not in the swarm or listed twice, or there is no such lie.
        """
        if not self.liars:
            return {}
        from swarmproof.exchange.net.liars import find

        numbers = [node for node, _ in self.liars]
        for node in numbers:
            if not 0 <= node < num_nodes:
                raise ValueError(
                    f"exchange.liars: there is no node {node}; the swarm has nodes 0 to "
                    f"{num_nodes - 1}"
                )
            if numbers.count(node) > 1:
                raise ValueError(f"exchange.liars: node {node} is listed twice; give it one lie")
        return {node: find(kind) for node, kind in self.liars}

    def terms(self, num_nodes: int, *, alone: bool = False) -> Terms:
        """The terms of agreement among this many nodes.

        Args:
            num_nodes: of the swarm.
            alone: one process plays all of them, so that there is nobody to agree with.

        Raises:
            ValueError: they do not fit.
        """
        from swarmproof.exchange.net.party import Terms, enough

        faults = min(self.faults, max(0, num_nodes - 2)) if alone else self.faults
        quorum = enough(num_nodes, faults) if self.quorum is None else self.quorum
        terms = Terms(faults, quorum, self.step)
        if not alone:
            terms.require(num_nodes)
        return terms

    def _identities(self, session: Session) -> tuple[Roster, dict[int, Signer]]:
        from swarmproof.exchange.net.keys import Signer
        from swarmproof.exchange.net.roster import Roster

        if not self.roster:
            if session.local != {*session.nodes}:
                raise ValueError(
                    "exchange.roster is empty, and some nodes are in other processes; list the "
                    "public key of every node"
                )
            signers = {number: Signer.new() for number in range(len(session.nodes))}
            return Roster(tuple(signer.public for signer in signers.values())), signers
        roster = Roster.of(self.roster)
        if len(roster.keys) != len(session.nodes):
            raise ValueError(
                f"exchange.roster has {len(roster.keys)} keys, and swarm.nodes is "
                f"{len(session.nodes)}; list one key for each node"
            )
        if len(session.local) != 1 or self.key is None:
            raise ValueError(
                "a process plays one node of a swarm with a roster; start one for each node, with "
                "its folder as exchange.key"
            )
        signer = Signer.open(self.key)
        try:
            number = roster.number(signer.public)
            (local,) = session.local
            if session.nodes[number] != local:
                raise ValueError(
                    f"the key in {self.key} is that of node {session.nodes[number]}, and this "
                    f"process plays node {local}; give it the other key, or play the other node"
                )
        except ValueError:
            signer.close()
            raise
        return roster, {number: signer}

    def _transport(
        self, session: Session, roster: Roster, terms: Terms, signers: dict[int, Signer]
    ) -> Transport:
        liars = self.lies(len(roster.keys))
        if len(signers) == len(roster.keys):
            if liars:
                raise ValueError(
                    "exchange.liars: all nodes are in this process, and it has nobody to lie to; "
                    "start a process for each, with `swarmproof swarm up`"
                )
            from swarmproof.exchange.net.transport import Loopback

            return Loopback().join(0)
        from swarmproof.exchange.net.agreement import RoundRules
        from swarmproof.exchange.net.archive import entry_limit
        from swarmproof.exchange.net.over_zenoh import Links, ZenohTransport

        run = roster.swarm_id(session.run_id, terms.faults, terms.quorum)
        rules = RoundRules(run, 0, roster, terms.faults, session.max_bytes)
        links = Links(self.listen, self.peers, self.key, self.certificates, self.lan)
        ((node, signer),) = signers.items()
        answers = liars[node](node, signer, rules, self.deadline) if node in liars else None
        return ZenohTransport(run.hex(), node, links, entry_limit(rules), answers)


def liars_of(exchange: Mapping[str, Any]) -> dict[int, str]:
    """The nodes that lie and how, from the table of an exchange in a config that was checked."""
    return dict(exchange.get("liars", ())) if exchange.get("name") == "net" else {}


def require_installed() -> None:
    """Raise ValueError, with the remedy, unless the extra `net` is installed."""
    missing = [name for name in ("cryptography", "zenoh") if find_spec(name) is None]
    if missing:
        raise ValueError(
            f"the exchange 'net' needs {' and '.join(missing)}: pip install 'swarmproof[net]'"
        )
