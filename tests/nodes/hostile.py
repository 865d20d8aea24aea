"""Hostile messages at the port of a node that plays: what is admitted, and what they cost.

python tests/nodes/hostile.py --messages 100000

Three of four nodes play. The fourth has a real key and certificate, and sends no message of its
own. It answers every question of theirs, in the name of every node, with rubbish, cut envelopes,
broken signatures, other runs, keys that nobody knows, old messages and lengths beyond the limit. It
asks and sends what nobody wants. Strangers without its certificate come to the port as well. Then
the honest nodes must have the weights and the messages of a swarm that was left alone, and the
memory that they took is compared with that swarm's.

False headers are for the round and node that were asked for, and their body is served: if a check
of run, node, key or signature were left out, they would count.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import multiprocessing
import os
import random
import socket
import ssl
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import pytest
from safetensors.numpy import load_file

from models import save_random_qwen2
from nodes.process import LOG, TestSwarm
from swarmproof.exchange.net import over_zenoh
from swarmproof.exchange.net.archive import AgreedRound
from swarmproof.exchange.net.envelope import SIGNATURE_BYTES, Header, Kind
from swarmproof.exchange.net.keys import CERTIFICATE, TLS_KEY, Signer, make_keys
from swarmproof.exchange.net.messages import seal
from swarms import trial_config

NUM_NODES, INTRUDER = 4, 3
HONEST = (0, 1, 2)
DEADLINE, STEP = 30.0, 1.0
REPLIES = 75  # to each question
SECONDS_OF_ATTACK = 300.0
_STRANGERS = 200
MOST_MEMORY = 1.5  # of that of a swarm that was left alone
BODY = b"the body of false headers"
LIES = (
    "rubbish",
    "cut envelopes",
    "bad signatures",
    "other runs",
    "unknown keys",
    "in another's name",
    "old messages",
    "lengths beyond the limit",
    "long values",
)


@dataclass
class Attacked:
    """A swarm that was played."""

    peaks: dict[int, int] = field(default_factory=dict)  # node -> most resident memory in bytes
    problems: list[str] = field(default_factory=list)
    entries: dict[int, list[AgreedRound]] = field(default_factory=dict)
    weights: dict[int, dict[str, Any]] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)
    came: list[int] = field(default_factory=list)  # replies that came to each node
    read: list[int] = field(default_factory=list)  # those that it looked at


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def play(root: Path, model: Path, rounds: int, messages: int) -> Attacked:
    """Play a swarm of three honest nodes, and send `messages` to each of them in the meantime."""
    ports = free_ports(NUM_NODES)
    config = trial_config(
        model,
        rounds=rounds,
        swarm={"nodes": NUM_NODES, "malicious": 0},
        batch={"problems": 4, "group_size": 8},
        sampling={"max_new_tokens": 24},
        evaluation={"every": rounds, "problems": 2},
        exchange={"name": "net", "deadline": DEADLINE, "step": STEP, "stay": 2.0},
    )
    swarm = TestSwarm(root, config, [f"tls/127.0.0.1:{port}" for port in ports])
    found = Attacked()
    with counted_replies() as (came, read):
        for node in HONEST:
            swarm.start(node)
    processes = {node: swarm.running[node] for node in HONEST}
    attack = None
    queue: Any = multiprocessing.get_context("fork").SimpleQueue()
    end = time.monotonic() + SECONDS_OF_ATTACK + DEADLINE + 10 * rounds
    while any(process.is_alive() for process in processes.values()):
        for node, process in processes.items():
            found.peaks[node] = max(found.peaks.get(node, 0), resident(process.pid))
        if attack is None and messages and (run := run_of(swarm)) is not None:
            attack = multiprocessing.get_context("fork").Process(
                target=intrude, args=(swarm, run, messages, came, ports[0], queue), daemon=True
            )
            attack.start()
        if time.monotonic() > end:
            found.problems.append("the nodes did not end")
            break
        time.sleep(0.05)
    if attack is not None:
        attack.join(10)
        attack.kill()
        found.sent = Counter() if queue.empty() else queue.get()
        if found.sent["STRANGERS LET IN"]:
            found.problems.append("a stranger was let in")
    found.came, found.read = list(came[: len(HONEST)]), list(read[: len(HONEST)])
    for node, process in processes.items():
        if process.exitcode != 0:
            found.problems.append(f"node {node}: {process.exitcode}; {root}/node-{node}/{LOG}")
            process.kill()
            continue
        found.entries[node] = swarm.entries(node)
        found.weights[node] = load_file(swarm.trial_folder(node) / "checkpoint.safetensors")
    return found


@contextmanager
def counted_replies() -> Iterator[tuple[Any, Any]]:
    """Processes that are forked in it count the replies that come to them, and those they read."""
    came, read = (multiprocessing.get_context("fork").Array("q", NUM_NODES) for _ in range(2))
    join, hear = over_zenoh.ZenohTransport.__init__, over_zenoh._Question.on_reply
    me = -1

    def joining(self: over_zenoh.ZenohTransport, swarm: str, node: int, *rest: Any) -> None:
        nonlocal me
        me = node
        join(self, swarm, node, *rest)

    def hearing(self: over_zenoh._Question, reply: Any) -> None:
        before = len(self._repliers)
        hear(self, reply)
        came[me] += 1
        read[me] += len(self._repliers) > before

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(over_zenoh.ZenohTransport, "__init__", joining)
        patch.setattr(over_zenoh._Question, "on_reply", hearing)
        yield came, read


def resident(pid: int | None) -> int:
    """Most resident memory of a process so far, in bytes; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def run_of(swarm: TestSwarm) -> bytes | None:
    """The id of the swarm, when the first rounds are over."""
    try:
        return swarm.rules(2).run
    except (IndexError, OSError, ValueError):
        return None


def intrude(swarm: TestSwarm, run: bytes, messages: int, came: Any, port: int, queue: Any) -> None:
    """Send until so many messages came to each node, and tell how many of each kind were sent."""
    import zenoh

    certificates = swarm.folder(0) / "certificates.pem"
    links = over_zenoh.Links(
        (), tuple(swarm.endpoints[n] for n in HONEST), swarm.keys(INTRUDER), certificates
    )
    session = zenoh.open(over_zenoh._config(links, 2**20))
    sent: Counter[str] = Counter()
    old = [raw for entry in swarm.entries(0) for raw in entry.headers.values()]
    liar = Hostile(Signer.open(swarm.keys(INTRUDER)), run, old)
    rng = random.Random(0)

    def reply(query: Any) -> None:
        with query:
            place = str(query.key_expr).split("/", 2)[2]
            for _ in range(REPLIES):
                kind, value = liar.answer(place)
                sent[kind] += 1
                query.reply(query.key_expr, value)

    def ignore(_: zenoh.Reply) -> None:
        """Nothing that a node says is of interest."""

    mine = session.declare_queryable(f"swarmproof/{run.hex()}/**", reply, complete=True)
    knocking = threading.Thread(target=strangers, args=(swarm, port, sent), daemon=True)
    knocking.start()
    keys = (
        "h/3",
        "h/99999999",
        "b/" + "0" * 64,
        "o/1",
        "a/0",
        "x" * 2000,
        "v/1/0/1/3",
        "../..",
        "h/-1",
    )
    end = time.monotonic() + SECONDS_OF_ATTACK
    # Some of them are of honest nodes.
    while min(came[: len(HONEST)]) < 1.1 * messages and time.monotonic() < end:
        key = f"swarmproof/{run.hex()}/{rng.randrange(4)}/{rng.choice(keys)}"
        if rng.random() < 0.5:
            session.put(key, os.urandom(rng.choice((10, 1000, 60_000))))
            sent["values that nobody wants"] += 1
        else:
            session.get(
                key,
                zenoh.handlers.Callback(ignore),
                payload=os.urandom(500),
                timeout=1.0,
                allowed_destination=zenoh.Locality.REMOTE,  # it does not answer itself
            )
            sent["questions"] += 1
        if sent["questions"] % 100 == 0:
            time.sleep(0.01)
    knocking.join(30)
    mine.undeclare()  # type: ignore[no-untyped-call]
    session.close()  # type: ignore[no-untyped-call]
    queue.put(sent)


class Hostile:
    """Endless answers, none of which may count, each kind in turn.

    Args:
        signer: of node `INTRUDER`.
        run: of the swarm.
        old: signed headers of earlier rounds.
    """

    def __init__(self, signer: Signer, run: bytes, old: Sequence[bytes]) -> None:
        self._signer, self._run, self._old = signer, run, old
        self._stranger = Signer.new()
        self._kinds = itertools.cycle(LIES)
        self._rng = random.Random(1)
        self._body = hashlib.sha256(BODY).digest()

    def answer(self, place: str) -> tuple[str, bytes]:
        """Kind and bytes of an answer to a question like `NODE/h/ROUND`."""
        node, kind, of, *_ = [*place.split("/"), "", ""]
        if kind == "b" and of == self._body.hex():
            return "bodies of false headers", BODY
        round = int(of) if of.isdecimal() and len(of) < 6 else self._rng.randrange(3, 200)
        lie = next(self._kinds)
        return lie, self._lie(lie, round, int(node) % NUM_NODES)

    def _lie(self, lie: str, round: int, node: int) -> bytes:
        rng = self._rng
        mine = Header(self._run, round, INTRUDER, Kind.COMPLETIONS, self._body, len(BODY))
        signed = seal(self._signer, mine).encode()
        if lie == "rubbish":
            return os.urandom(rng.randrange(1, 2000))
        if lie == "long values":
            return bytes(300_000)
        if lie == "old messages":
            return rng.choice(self._old)
        if lie == "cut envelopes":
            return signed[: rng.randrange(len(signed))]
        if lie == "bad signatures":
            at = rng.randrange(1, SIGNATURE_BYTES + 1)
            flipped = bytes([signed[-at] ^ 1])
            return signed[:-at] + flipped + signed[len(signed) - at + 1 :]
        signer, changes = {
            "other runs": (self._signer, {"run": os.urandom(32)}),
            "unknown keys": (self._stranger, {"node": node}),
            "in another's name": (
                self._signer, {"node": node if node != INTRUDER else rng.choice(HONEST)}
            ),
            "lengths beyond the limit": (self._signer, {"length": 2**31}),
        }[lie]  # fmt: skip
        return seal(signer, replace(mine, **changes)).encode()  # type: ignore[arg-type]


def strangers(swarm: TestSwarm, port: int, sent: Counter[str]) -> None:
    """Connections without a certificate of the swarm."""
    make_keys(swarm.root / "stranger", "stranger")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    folder = swarm.root / "stranger"
    context.load_cert_chain(folder / CERTIFICATE, folder / TLS_KEY)
    for i in range(_STRANGERS):
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as plain:
                plain.settimeout(5)
                if i % 2:
                    with context.wrap_socket(plain) as secure:
                        secure.sendall(os.urandom(1000))
                        if secure.recv(1):  # nobody answers a stranger
                            sent["STRANGERS LET IN"] += 1
                else:
                    plain.sendall(os.urandom(1000))
                    plain.recv(1000)
        except ConnectionRefusedError:
            return  # the node has ended
        except OSError:
            pass  # it closed the connection
        sent["strangers"] += 1


def compare(quiet: Attacked, attacked: Attacked, messages: int) -> list[str]:
    """What is wrong with a swarm that was attacked, beside one that was left alone."""
    problems = [*quiet.problems, *attacked.problems]
    if problems:
        return problems
    for node in HONEST:
        if any(INTRUDER in entry.headers for entry in attacked.entries[node]):
            problems.append(f"node {node} admitted a message of the intruder")
        pairs = zip(quiet.entries[0], attacked.entries[node], strict=True)
        if any(set(a.bodies.values()) != set(b.bodies.values()) for a, b in pairs):
            problems.append(f"node {node} has other messages than a swarm that was left alone")
        for name, weight in quiet.weights[0].items():
            if not np.array_equal(weight, attacked.weights[node][name]):
                problems.append(f"node {node} has other weights: {name}")
                break
        hostile = attacked.came[node] - quiet.came[node]
        if hostile < messages:
            problems.append(f"only {hostile} messages came to node {node}")
        if attacked.peaks[node] > MOST_MEMORY * quiet.peaks[node]:
            problems.append(f"node {node} took {attacked.peaks[node]} bytes of memory")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=int, default=100_000, help="to each node at least")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--keep", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = chosen.keep or Path(name)
        model = root / "model"
        save_random_qwen2(model, seed=1, hidden=32)
        runs = []
        for label, messages in (("quiet", 0), ("attacked", chosen.messages)):
            (root / label).mkdir(parents=True)
            began = time.monotonic()
            runs.append(play(root / label, model, chosen.rounds, messages))
            peaks = {n: round(peak / 1e6) for n, peak in runs[-1].peaks.items()}
            print(
                f"{label}: {time.monotonic() - began:.0f} s; most memory, MB: {peaks}; "
                f"replies that came: {runs[-1].came}, of which were read: {runs[-1].read}",
                flush=True,
            )
        for kind, count in sorted(runs[1].sent.items()):
            print(f"{count:8} {kind}")
        print(f"{sum(runs[1].sent.values()):8} in all")
        problems = compare(runs[0], runs[1], chosen.messages)
    print("; ".join(problems) or "no admission, the same messages and weights")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
