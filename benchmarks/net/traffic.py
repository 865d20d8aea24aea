"""Messages and bytes of a swarm of any size in one process: real sessions, or a network in memory.

Every node is a thread with a key, a certificate, an archive and a session of its own; the nodes do
no other work. So the questions that nodes ask while they wait for one another are few here.
"""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.net.meter import Meter
from swarmproof.exchange import Session
from swarmproof.exchange.net.archive import Archive
from swarmproof.exchange.net.channel import NetChannel
from swarmproof.exchange.net.keys import CERTIFICATE, Signer, make_keys
from swarmproof.exchange.net.over_zenoh import Links, ZenohTransport
from swarmproof.exchange.net.party import Terms, enough
from swarmproof.exchange.net.roster import Roster
from swarmproof.exchange.net.transport import Loopback, Transport

_LONG = 600.0  # seconds; nothing here may end because time is up
_LOOPBACK = Path("/proc/net/dev")


def play(
    meter: Meter,
    num_nodes: int,
    *,
    real: bool,
    rounds: int = 1,
    faults: int = 1,
    size: int = 20_000,
    later: float = 0.0,
) -> dict[str, Any]:
    """Rounds of a swarm in which every node sends a message of `size` bytes.

    Args:
        meter: attached to this process.
        num_nodes: of the swarm.
        real: over sockets with TLS; else in memory.
        rounds: that are counted, after one that is not.
        faults: liars that the agreement is safe against.
        size: of a message, in bytes; as in `text-horizontal` with four nodes by default.
        later: seconds that half of the nodes send later in each counted round. The others wait.

    Returns:
        counts and seconds for each node and round, and of the loopback device if it can be read.
    """
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        channels = _channels(Path(name), num_nodes, faults, size, real=real)
        began = time.monotonic()
        pool = stack.enter_context(ThreadPoolExecutor(num_nodes))
        stack.callback(lambda: list(pool.map(NetChannel.close, channels)))
        counted: list[tuple[Counter[str], float]] = []

        def note() -> None:
            sums = meter.take()
            sums.update({"process": time.process_time(), **_device()})
            counted.append((sums, time.monotonic()))

        gate = threading.Barrier(num_nodes, action=note)

        def node(number: int) -> None:
            for round in range(rounds + 1):
                gate.wait(_LONG)
                if round and number % 2:
                    time.sleep(later)
                body = b"%d,%d;" % (number, round)
                channels[number].publish(round, number, body.ljust(size, b"x"))
                found = channels[number].gather(round, range(num_nodes), _LONG)
                assert len(found.payloads) == num_nodes, found.absent
            gate.wait(_LONG)

        list(pool.map(node, range(num_nodes)))
        first, last = counted[1], counted[-1]
        sums = Counter(last[0])
        sums.subtract(first[0])
        each = num_nodes * rounds
        return {
            "nodes": num_nodes,
            "faults": faults,
            "message": size,
            "later": later,
            "rounds": rounds,
            "transport": "zenoh, TLS" if real else "memory",
            "seconds_to_first_round": counted[1][1] - began,
            "seconds_a_round": (last[1] - first[1]) / rounds,
            "per_node_and_round": {key: value / each for key, value in sorted(sums.items())},
        }


def _channels(
    root: Path, num_nodes: int, faults: int, size: int, *, real: bool
) -> list[NetChannel]:
    folders = [root / str(number) for number in range(num_nodes)]
    for folder in folders:
        make_keys(folder, folder.name)
    (root / "all.pem").write_bytes(b"".join((f / CERTIFICATE).read_bytes() for f in folders))
    signers = [Signer.open(folder) for folder in folders]
    roster = Roster(tuple(signer.public for signer in signers))
    terms = Terms(faults, enough(num_nodes, faults), _LONG)
    connect = _over_sockets(root, folders) if real else Loopback().join
    return [
        NetChannel(
            Session("benchmark", tuple(range(num_nodes)), frozenset({number}), size),
            roster, terms, {number: signer}, connect(number),
            Archive(root / f"{number}.archive"),
            0.0,  # all have decided when they leave
        )
        for number, signer in enumerate(signers)
    ]  # fmt: skip


def _over_sockets(root: Path, folders: list[Path]) -> Callable[[int], Transport]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in folders]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        ends = [f"tls/127.0.0.1:{each.getsockname()[1]}" for each in sockets]

    def connect(number: int) -> Transport:
        links = Links(
            (ends[number],), (ends[0],) if number else (), folders[number], root / "all.pem"
        )
        return ZenohTransport("benchmark", number, links, 1 << 22)

    return connect


def _device() -> dict[str, int]:
    """Bytes and packets that the loopback device sent: of all processes that share it."""
    for line in _LOOPBACK.read_text().splitlines() if _LOOPBACK.exists() else ():
        name, _, rest = line.strip().partition(":")
        if name == "lo":
            numbers = [int(word) for word in rest.split()]
            return {"device bytes": numbers[8], "device packets": numbers[9]}
    return {}
