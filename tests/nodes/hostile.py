"""Hostile messages at the port of a node that plays: what is admitted, and what they cost.

python tests/nodes/hostile.py --messages 100000

Three of four nodes play. The fourth has a real key and certificate, and sends no message of its
own. It answers every question of theirs, in the name of every node, with rubbish, cut envelopes,
broken signatures, other runs, keys that nobody knows, old messages and lengths beyond the limit. It
asks and sends what nobody wants. Strangers without its certificate come to the port as well. Then
the honest nodes must have the weights and the messages of a swarm that was left alone, and the
memory that they took is compared with that swarm's.
"""

from __future__ import annotations

import argparse
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
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from safetensors.numpy import load_file

from models import save_random_qwen2
from nodes.process import LOG, TestSwarm
from swarmproof.exchange.net.archive import AgreedRound
from swarmproof.exchange.net.envelope import SIGNATURE_BYTES, Header, Kind
from swarmproof.exchange.net.keys import CERTIFICATE, TLS_KEY, Signer, make_keys
from swarmproof.exchange.net.messages import seal
from swarms import trial_config

NUM_NODES, INTRUDER = 4, 3
HONEST = (0, 1, 2)
DEADLINE, STEP = 30.0, 1.0
REPLIES = 25  # to each question
SECONDS_OF_ATTACK = 300.0
_STRANGERS = 200


@dataclass
class Attacked:
    """A swarm that was played."""

    peaks: dict[int, int] = field(default_factory=dict)  # node -> most resident memory in bytes
    problems: list[str] = field(default_factory=list)
    entries: dict[int, list[AgreedRound]] = field(default_factory=dict)
    weights: dict[int, dict[str, Any]] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def play(root: Path, model: Path, rounds: int, messages: int) -> Attacked:
    """Play a swarm of three honest nodes, and send `messages` to it in the meantime."""
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
                target=intrude, args=(swarm, run, messages, ports[0], queue), daemon=True
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
    elif messages:
        found.problems.append("the nodes had ended before the first message")
    for node, process in processes.items():
        if process.exitcode != 0:
            found.problems.append(f"node {node}: {process.exitcode}; {root}/node-{node}/{LOG}")
            process.kill()
            continue
        found.entries[node] = swarm.entries(node)
        found.weights[node] = load_file(swarm.trial_folder(node) / "checkpoint.safetensors")
    return found


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


def intrude(swarm: TestSwarm, run: bytes, messages: int, port: int, queue: Any) -> None:
    """Send at least so many messages, and tell how many of each kind."""
    import zenoh

    from swarmproof.exchange.net import over_zenoh

    certificates = swarm.folder(0) / "certificates.pem"
    links = over_zenoh.Links(
        (), tuple(swarm.endpoints[n] for n in HONEST), swarm.keys(INTRUDER), certificates
    )
    session = zenoh.open(over_zenoh._config(links, 2**20))
    sent: Counter[str] = Counter()
    lies = hostile(swarm, run)
    rng = random.Random(0)

    def reply(query: Any) -> None:
        with query:
            for _ in range(REPLIES):
                kind, value = next(lies)
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
    while sum(sent.values()) < messages and time.monotonic() < end:
        key = f"swarmproof/{run.hex()}/{rng.randrange(4)}/{rng.choice(keys)}"
        if rng.random() < 0.5:
            session.put(key, os.urandom(rng.choice((10, 1000, 60_000))))
            sent["values that nobody wants"] += 1
        else:
            session.get(key, zenoh.handlers.Callback(ignore), payload=os.urandom(500), timeout=1.0)
            sent["questions"] += 1
        if sent["questions"] % 100 == 0:
            time.sleep(0.01)
    knocking.join(30)
    mine.undeclare()  # type: ignore[no-untyped-call]
    session.close()  # type: ignore[no-untyped-call]
    queue.put(sent)


def hostile(swarm: TestSwarm, run: bytes) -> Iterator[tuple[str, bytes]]:
    """Endless messages, none of which may count: each with its kind."""
    signer, stranger = Signer.open(swarm.keys(INTRUDER)), Signer.new()
    old = [raw for entry in swarm.entries(0) for raw in entry.headers.values()]
    rng = random.Random(1)
    while True:
        round, node = rng.randrange(3, 200), rng.randrange(NUM_NODES)
        digest = os.urandom(32)
        true = Header(run, round, node, Kind.COMPLETIONS, digest, 100)
        signed = seal(signer, true).encode()
        yield "rubbish", os.urandom(rng.randrange(1, 2000))
        yield "cut envelopes", signed[: rng.randrange(len(signed))]
        at = rng.randrange(SIGNATURE_BYTES)
        yield (
            "bad signatures",
            signed[: -1 - at] + bytes([signed[-1 - at] ^ 1]) + signed[len(signed) - at :],
        )
        other = Header(os.urandom(32), round, INTRUDER, Kind.COMPLETIONS, digest, 100)
        yield "other runs", seal(signer, other).encode()
        yield "unknown keys", seal(stranger, true).encode()
        foreign = Header(run, round, rng.choice(HONEST), Kind.COMPLETIONS, digest, 100)
        yield "in another's name", seal(signer, foreign).encode()
        yield "old messages", rng.choice(old)
        long = Header(run, round, INTRUDER, Kind.COMPLETIONS, digest, 2**31)
        yield "lengths beyond the limit", seal(signer, long).encode()
        yield "long values", bytes(300_000)


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


def compare(quiet: Attacked, attacked: Attacked) -> list[str]:
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
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=int, default=100_000)
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
                f"{label}: {time.monotonic() - began:.0f} s; most memory, MB: {peaks}", flush=True
            )
        for kind, count in sorted(runs[1].sent.items()):
            print(f"{count:8} {kind}")
        print(f"{sum(runs[1].sent.values()):8} in all")
        problems = [*runs[0].problems, *runs[1].problems] or compare(*runs)
    print("; ".join(problems) or "no admission, the same messages and weights")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
