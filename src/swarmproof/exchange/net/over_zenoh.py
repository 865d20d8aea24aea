"""Transport over Eclipse Zenoh: peers that find one another through one reachable peer.

Mutual TLS keeps strangers out, and saves work; it proves nothing about a message, because a peer
that was let in may answer for any node. Knows nothing of rounds.
"""

from __future__ import annotations

import ipaddress
import json
import queue
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zenoh

from swarmproof.exchange.net.keys import CERTIFICATE, TLS_KEY
from swarmproof.exchange.net.transport import Answer, Source, Transport, Values

# An impostor among the peers may reply in another's name. One reply of each session is looked at,
# so that many of his do not hide the node's own.
_MAX_REPLIES = 32


@dataclass(frozen=True, slots=True)
class Links:
    """Where a node listens, and whom it connects to.

    `listen`, `peers`: endpoints such as `tls/10.0.0.2:7447`. `tcp` is for loopback only.
    `keys`: folder of the node's TLS key. `certificates`: file with those of all nodes.
    """

    listen: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    keys: Path | None = None
    certificates: Path | None = None
    lan: bool = False  # find peers by multicast

    def require(self) -> None:
        """Check what would leave a node alone, or open to anybody.

        Raises:
            ValueError: one line with the remedy.
        """
        for endpoint in (*self.listen, *self.peers):
            protocol, _, address = endpoint.partition("/")
            host, _, port = address.rpartition(":")
            if protocol not in ("tls", "tcp") or not host or not port.isdecimal():
                raise ValueError(
                    f"the endpoint {endpoint!r:.60} is not like tls/HOST:PORT, as in "
                    "tls/10.0.0.2:7447"
                )
            if protocol == "tcp" and not _is_loopback(host):
                raise ValueError(
                    f"the endpoint {endpoint!r:.60} is open to anybody; use tls/ instead of tcp/"
                )
            if protocol == "tls" and (self.keys is None or self.certificates is None):
                raise ValueError(
                    f"the endpoint {endpoint!r:.60} needs exchange.key and exchange.certificates"
                )
        if not self.listen and not self.peers and not self.lan:
            raise ValueError(
                "the node would be alone; give it exchange.listen, exchange.peers, or both"
            )


class ZenohTransport(Transport):
    """A peer of a Zenoh network.

    Args:
        swarm: hexadecimal id that keeps swarms on one network apart.
        node: number of this node.
        links: where to listen and connect.
        largest: bytes of the largest value that is served or asked for.
        values: what the node answers; by default what it was told to serve.

    Raises:
        ValueError: the network cannot be joined; one line with the remedy.
    """

    def __init__(
        self, swarm: str, node: int, links: Links, largest: int, values: Values | None = None
    ) -> None:
        links.require()
        self._root = f"swarmproof/{swarm}"
        self._values = Values() if values is None else values
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        try:
            self._session = zenoh.open(_config(links, largest))
            self._served = self._session.declare_queryable(
                f"{self._root}/{node}/**", self._reply, complete=True
            )
        except zenoh.ZError as error:
            # Without the places in Zenoh's own files.
            reason = str(error).splitlines()[0].partition(" at /")[0]
            raise ValueError(
                f"cannot join the network: {reason[:300]}; is the port in use, or an address or "
                "certificate wrong?"
            ) from None

    def serve(self, key: str, value: bytes) -> None:
        self._values.put(key, value)

    def withdraw(self, key: str) -> None:
        self._values.remove(key)

    def serve_from(self, source: Source) -> None:
        self._values.source = source

    def ask(self, node: int, key: str, limit: int, seconds: float) -> None:
        question = _Question(node, key, limit, self._answers)
        self._session.get(
            f"{self._root}/{node}/{key}",
            zenoh.handlers.Callback(question.on_reply, question.on_end),
            target=zenoh.QueryTarget.ALL,
            consolidation=zenoh.ConsolidationMode.NONE,
            timeout=seconds,
        )

    def answers(self, seconds: float) -> list[Answer]:
        found = []
        try:
            found.append(self._answers.get(timeout=max(0.0, seconds)))
            while True:
                found.append(self._answers.get_nowait())
        except queue.Empty:
            return found

    def close(self) -> None:
        self._values.close()
        self._session.close()  # type: ignore[no-untyped-call]

    def _reply(self, query: zenoh.Query) -> None:
        """Called in a thread of Zenoh."""
        with query:
            parts = str(query.key_expr).split("/", 3)
            for value in self._values.replies(parts[3]) if len(parts) == 4 else ():
                query.reply(query.key_expr, value)


class _Question:
    """Collects the replies to a question. Any peer may send any number of them."""

    def __init__(self, node: int, key: str, limit: int, answers: queue.SimpleQueue[Answer]) -> None:
        self._node, self._key, self._limit = node, key, limit
        self._answers = answers
        self._repliers: set[str] = set()

    def on_reply(self, reply: zenoh.Reply) -> None:
        sample = reply.ok
        replier = str(reply.replier_id.zid) if reply.replier_id is not None else ""
        if sample is None or replier in self._repliers or len(self._repliers) == _MAX_REPLIES:
            return
        self._repliers.add(replier)
        oversized = len(sample.payload) > self._limit
        value = None if oversized else bytes(sample.payload)
        self._answers.put(Answer(self._node, self._key, value, oversized))

    def on_end(self) -> None:
        self._answers.put(Answer(self._node, self._key, None))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _config(links: Links, largest: int) -> zenoh.Config:
    config = zenoh.Config()

    def put(key: str, value: Any) -> None:
        config.insert_json5(key, json.dumps(value))

    put("mode", "peer")
    put("scouting/multicast/enabled", links.lan)
    # Peers are on other machines, and a thread would watch the memory.
    put("transport/shared_memory/enabled", False)
    put("scouting/gossip/enabled", True)
    put("listen/endpoints", list(links.listen))
    put("connect/endpoints", list(links.peers))
    # Endless attempts in the background: a peer may start later than this node. 0 is one attempt.
    put("connect/timeout_ms", -1)
    put("connect/exit_on_failure", False)
    put(
        "connect/retry", {"period_init_ms": 200, "period_max_ms": 4000, "period_increase_factor": 2}
    )
    # No exact cap; `_Question` has one.
    put("transport/link/rx/max_message_size", largest + 65_536)
    if links.keys is not None and links.certificates is not None:
        for side in ("connect", "listen"):
            put(f"transport/link/tls/{side}_private_key", str(links.keys / TLS_KEY))
            put(f"transport/link/tls/{side}_certificate", str(links.keys / CERTIFICATE))
        put("transport/link/tls/root_ca_certificate", str(links.certificates))
        put("transport/link/tls/enable_mtls", True)
        # Certificates are pinned, and not bound to an address.
        put("transport/link/tls/verify_name_on_connect", False)
    return config
