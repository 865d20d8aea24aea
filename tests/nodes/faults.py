"""Swarms of real processes with faults that a seed draws: kill -9, partitions, liars.

python tests/nodes/faults.py --seeds 30      (root on Linux: each node gets a network namespace)

Each run has four nodes, one of which lies. Nodes are killed and started again, and the network is
cut in two and healed. Then these are checked:

- no honest node crashed, and all of them played all rounds;
- they agreed on the same messages in every round, and have the same weights at the end;
- no message of an honest node that came in time is missing;
- every honest archive names the liar with the reason that fits its kind, unless its
  only fault is to be late, and all of its messages came in time after all;
- no honest node is accused: its messages are at most late or missing.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from safetensors.numpy import load_file

from models import save_random_qwen2
from nodes.process import LOG, TestSwarm, small_config
from swarmproof.exchange.net.agreement import guilty
from swarmproof.exchange.net.envelope import EnvelopeError
from swarmproof.exchange.net.liars import LIARS, Liar
from swarmproof.records.streams import read_rounds

NUM_NODES, NUM_ROUNDS = 4, 12
DEADLINE, STEP, STAY = 4.0, 1.0, 12.0
PATIENCE = 150.0  # seconds for a run
PORT = 7447


class Returning(Liar):
    """Tells no lie; this harness stops it, puts back its state of rounds ago, and starts it."""

    expected = frozenset({"missing", "late"})
    only_time = True


# In this order a seed draws the same kind as in the runs that docs/nodes.md tells of.
*_FIRST, _LAST = LIARS
KINDS: dict[str, type[Liar]] = {
    **{kind: LIARS[kind] for kind in _FIRST},
    "old-state": Returning,
    _LAST: LIARS[_LAST],
}


@dataclass
class Plan:
    """What happens in a run: all of it drawn from the seed."""

    seed: int
    kind: str
    liar: int
    # In order: when (after this round of any node, and so many seconds more), what, for how long.
    events: list[tuple[int, float, str, tuple[int, ...], float]]

    @classmethod
    def draw(cls, seed: int, *, partitions: bool = True) -> Plan:
        rng = random.Random(seed)
        kind = list(KINDS)[seed % len(KINDS)]
        liar = rng.randrange(NUM_NODES)
        events = []
        rounds = sorted(rng.sample(range(NUM_ROUNDS - 2), 2))
        whats = rng.sample(["kill", "cut"], 2) if partitions else ["kill", "kill"]
        for round, what in zip(rounds, whats, strict=True):
            size = rng.choice((1, 2)) if what == "cut" else 1
            nodes = tuple(sorted(rng.sample(range(NUM_NODES), size)))
            events.append((round, rng.random(), what, nodes, rng.uniform(0.5, 5.0)))
        if kind == "old-state":
            events = [(1, rng.random(), "save", (liar,), 0.0), *events]
            events.append((NUM_ROUNDS // 2, 0.0, "put back", (liar,), 1.0))
            events.sort()
        return cls(seed, kind, liar, events)

    @property
    def honest(self) -> list[int]:
        return [node for node in range(NUM_NODES) if node != self.liar]


@dataclass
class Network:
    """A namespace for each node, on one of two bridges; nodes on different bridges are cut off."""

    tag: str
    names: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for bridge in "ab":
            _ip(f"link add {self.tag}{bridge} type bridge")
            _ip(f"link set {self.tag}{bridge} up")
        for node in range(NUM_NODES):
            name, port = f"{self.tag}n{node}", f"{self.tag}v{node}"
            _ip(f"netns add {name}")
            self.names.append(name)
            _ip(f"link add {port} type veth peer name eth0 netns {name}")
            _ip(f"link set {port} master {self.tag}a up")
            _ip(f"-n {name} addr add 10.77.0.{node + 1}/24 dev eth0")
            _ip(f"-n {name} link set eth0 up")
            _ip(f"-n {name} link set lo up")

    def cut(self, nodes: Sequence[int]) -> None:
        for node in nodes:
            _ip(f"link set {self.tag}v{node} master {self.tag}b")

    def heal(self) -> None:
        for node in range(NUM_NODES):
            _ip(f"link set {self.tag}v{node} master {self.tag}a")

    def close(self) -> None:
        for name in self.names:
            _ip(f"netns del {name}")
        for bridge in "ab":
            _ip(f"link del {self.tag}{bridge}")


def _ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True)


@contextmanager
def network(tag: str) -> Iterator[Network]:
    made = Network(tag)
    try:
        yield made
    finally:
        made.close()


@dataclass
class Report:
    """What a run came to."""

    plan: Plan
    seconds: float
    problems: list[str] = field(default_factory=list)
    named: dict[int, set[str]] = field(default_factory=dict)  # reasons, by honest node
    in_time: int = 0  # messages of honest nodes that had to count
    counted: int = 0  # messages of honest nodes that count
    faults: list[tuple[float, float]] = field(default_factory=list)


def swarm_of(root: Path, model: Path, endpoints: list[str], namespaces: list[str]) -> TestSwarm:
    config = small_config(model, NUM_ROUNDS, deadline=DEADLINE, step=STEP, stay=STAY)
    return TestSwarm(root, config, endpoints, namespaces)


def play(plan: Plan, swarm: TestSwarm, net: Network | None) -> Report:
    """Play a run to its end, or until patience ends."""
    report, began = Report(plan, 0.0), time.monotonic()
    for node in range(NUM_NODES):
        swarm.start(node, plan.kind if node == plan.liar else "")
    healing: list[tuple[float, str, int]] = []
    events = list(plan.events)
    due: float | None = None
    while time.monotonic() - began < PATIENCE:
        now = time.monotonic()
        for when, what, node in [h for h in healing if h[0] <= now]:
            healing.remove((when, what, node))
            if what == "heal" and net is not None:
                net.heal()
            else:
                swarm.start(node, plan.kind if node == plan.liar else "")
            report.faults[-1] = report.faults[-1][0], time.time()
        if events and not healing:
            round, delay, what, nodes, length = events[0]
            if due is None and _furthest(swarm, plan) >= round:
                due = now + delay
            if due is not None and now >= due:
                events.pop(0)
                due = None
                healing += _fault(swarm, net, what, nodes, now + length)
                if what != "save":
                    report.faults.append((time.time(), float("inf")))
        if not events and not healing and _all_done(swarm, plan):
            break
        for node in plan.honest:
            process = swarm.running.get(node)
            if process is not None and process.exitcode not in (None, 0):
                report.problems.append(f"node {node} crashed; see {swarm.root}/node-{node}/{LOG}")
                swarm.running.pop(node)
        time.sleep(0.02)
    else:
        report.problems.append("the honest nodes did not play all rounds")
    for node in plan.honest:  # those that stay must end by themselves
        process = swarm.running.get(node)
        if process is not None and not report.problems:
            process.join(STAY + 10)
            if process.exitcode != 0:
                report.problems.append(f"node {node} did not end well: {process.exitcode}")
    for node in list(swarm.running):
        swarm.kill(node)
    report.seconds = time.monotonic() - began
    return report


def _furthest(swarm: TestSwarm, plan: Plan) -> int:
    decided = [
        line["round"] for n in plan.honest for line in swarm.journal(n) if line["what"] == "decided"
    ]
    return max(decided, default=-1)


def _all_done(swarm: TestSwarm, plan: Plan) -> bool:
    return all(
        any((line["what"], line["round"]) == ("closing", NUM_ROUNDS - 1) for line in journal)
        for journal in map(swarm.journal, plan.honest)
    )


def _fault(
    swarm: TestSwarm, net: Network | None, what: str, nodes: Sequence[int], end: float
) -> list[tuple[float, str, int]]:
    home, saved = (swarm.root / name for name in (f"node-{nodes[0]}", "saved"))
    if what == "save":
        shutil.copytree(home, saved)
        return []
    if what == "cut" and net is not None:
        net.cut(nodes)
        return [(end, "heal", -1)]
    if nodes[0] in swarm.running:
        swarm.kill(nodes[0])
    if what == "put back":
        shutil.rmtree(home)
        shutil.copytree(saved, home)
    return [(end, "start", nodes[0])]


def examine(swarm: TestSwarm, report: Report) -> None:
    """Compare what the honest nodes kept."""
    plan, problems = report.plan, report.problems
    if problems:
        return
    entries = {node: swarm.entries(node) for node in plan.honest}
    first = plan.honest[0]
    for round in range(NUM_ROUNDS):
        rules = swarm.rules(round, first)
        if len({entries[n][round].decision().digest(rules) for n in plan.honest}) > 1:
            problems.append(f"round {round}: the nodes agreed on different messages")
    weights = {n: load_file(swarm.trial_folder(n) / "checkpoint.safetensors") for n in plan.honest}
    for node in plan.honest:
        if any(not np.array_equal(weights[node][k], w) for k, w in weights[first].items()):
            problems.append(f"nodes {first} and {node} have different weights")
    for node in plan.honest:
        report.named[node] = _named(swarm, plan.liar, node)
        # Whose only fault is the time has told no lie if each of its messages came in time.
        told_none = KINDS[plan.kind].only_time and all(
            plan.liar in entry.headers for entry in entries[node]
        )
        if not told_none and not report.named[node] & KINDS[plan.kind].expected:
            problems.append(
                f"node {node} does not name the liar: {report.named[node] or 'nothing'}"
            )
        problems += _accused(swarm, plan, node)
    _look_for_lost(swarm, report)


def _accused(swarm: TestSwarm, plan: Plan, node: int) -> list[str]:
    """What a node's archive says against honest nodes."""
    found = []
    for entry in swarm.entries(node):
        against = {
            each: why for each, why in entry.absent.items() if why not in ("late", "missing")
        }
        against |= dict.fromkeys(entry.equivocators, "equivocated")
        for proof in entry.evidence:
            # A proof that does not hold is an error: no honest node keeps one.
            against[guilty(proof, swarm.rules(entry.round, node).roster, 10**7)] = "proof"
        found += [
            f"round {entry.round}: node {node} accuses node {each}: {why}"
            for each, why in against.items()
            if each in plan.honest
        ]
    return found


def _named(swarm: TestSwarm, liar: int, node: int) -> set[str]:
    """The reasons for which a node's archive, records and log name the liar."""
    found = set()
    for entry in swarm.entries(node):
        if liar in entry.absent:
            found.add(entry.absent[liar])
        for proof in entry.evidence:
            try:
                if guilty(proof, swarm.rules(entry.round, node).roster, 10**7) == liar:
                    found.add("proof")
            except EnvelopeError:
                found.add("no proof")
    for record in read_rounds(swarm.trial_folder(node)):
        if record.by_node.get(str(liar), {}).get("malformed"):
            found.add("other slots")
    log = (swarm.root / f"node-{node}" / LOG).read_text()
    if f"node {liar}: equivocated: it stated two outcomes" in log:
        found.add("two outcomes")
    return found


def _look_for_lost(swarm: TestSwarm, report: Report) -> None:
    """Messages of honest nodes that came in time, and do not count.

    In time: the node's last message counts, so that the others wait for it; it published before
    the deadline; and nobody was cut off or down between that and the last decision.
    """
    honest = report.plan.honest
    entries = swarm.entries(honest[0])
    told: dict[tuple[str, int], dict[int, float]] = {}
    for node in honest:
        for line in swarm.journal(node):
            told.setdefault((line["what"], line["round"]), {}).setdefault(node, line["time"])
    for round in range(1, NUM_ROUNDS):
        began, ended = told.get(("decided", round - 1), {}), told.get(("decided", round), {})
        for node in honest:
            counts = node in entries[round].headers
            report.counted += counts
            published = told.get(("published", round), {}).get(node)
            if published is None or len(began) < 3 or len(ended) < 3:
                continue
            start, end = min(began.values()), max(ended.values())
            calm = all(to + DEADLINE < start or since > end for since, to in report.faults)
            awaited = node in entries[round - 1].headers
            if awaited and calm and published < start + DEADLINE:
                report.in_time += 1
                if not counts:
                    report.problems.append(f"round {round}: the message of node {node} is lost")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="keep the folders of all runs here")
    chosen = parser.parse_args()
    failed = in_time = counted = 0
    with tempfile.TemporaryDirectory() as name, network("spf") as net:
        root = chosen.keep or Path(name)
        model = root / "model"
        if not model.exists():
            save_random_qwen2(model, seed=1, hidden=32)
        for seed in range(chosen.first, chosen.first + chosen.seeds):
            plan, home = Plan.draw(seed), root / f"run-{seed}"
            home.mkdir(parents=True)
            endpoints = [f"tls/10.77.0.{n + 1}:{PORT}" for n in range(NUM_NODES)]
            swarm = swarm_of(home, model, endpoints, net.names)
            net.heal()
            report = play(plan, swarm, net)
            examine(swarm, report)
            failed += bool(report.problems)
            in_time += report.in_time
            counted += report.counted
            happened = ", ".join(
                f"{what} {' '.join(map(str, nodes))} in round {round + 1} for {length:.1f} s"
                for round, _, what, nodes, length in plan.events
            )
            print(
                f"seed {seed}: node {plan.liar} {plan.kind}; {happened}; {report.seconds:.0f} s; "
                f"in time {report.in_time}, counted {report.counted}; named "
                f"{sorted(set().union(*report.named.values()))}: "
                f"{'; '.join(report.problems) or 'well'}",
                flush=True,
            )
    print(
        f"{chosen.seeds} runs, {failed} with problems; {in_time} messages in time, {counted} count"
    )
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
