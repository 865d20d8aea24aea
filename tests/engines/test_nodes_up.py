"""A process for each node, over real sockets with mutual TLS: the bytes of the simulation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rounds import RECORD
from signing import roster_of
from swarmproof.config import TrialConfig
from swarmproof.engines import auditing, joining, nodes
from swarmproof.engines.events import Event, RoundDone
from swarmproof.engines.nodes import NodeTrials
from swarmproof.exchange.net.agreement import RoundRules
from swarmproof.exchange.net.archive import AgreedRound, Archive, decode, supporters
from swarmproof.exchange.net.envelope import Signed
from swarmproof.exchange.net.keys import Signer
from swarmproof.exchange.net.roster import Roster
from swarmproof.guard.inspection import Inspection
from swarmproof.records import merging
from swarmproof.records.streams import COMPLETIONS, ROUNDS, TrialWriter, read_rounds
from swarmproof.swarm.trial import Trial, run_trial
from swarms import trial_config

NUM_ROUNDS, SEED = 3, 5


def config_of(model: Path, other: Path, **exchange: Any) -> TrialConfig:
    """Two models, two honest nodes of the first, and an attacker."""
    return trial_config(
        model,
        rounds=NUM_ROUNDS,
        model={"dtype": "float32"},
        swarm={"nodes": 4, "malicious": 1, "models": [str(model), str(other)]},
        batch={"problems": 4, "group_size": 8},
        evaluation={"every": 2, "problems": 2},
        defenses=[{"name": "logit", "tolerance": 3.0}],
        exchange=exchange or {"name": "memory"},
    )


@pytest.fixture(scope="module")
def root(random_model: Path, foreign_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same trial by four processes, and by this one alone."""
    root = tmp_path_factory.mktemp("nodes")
    config = config_of(random_model, foreign_model, name="net", deadline=300.0, step=30.0)
    swarm = NodeTrials.of(Trial("e", "net", SEED, config, root / "net"), root / "nodes")
    told: list[Event] = []
    nodes.run_swarm(swarm, resume=False, on_event=told.append)
    done = [(event.trial.arm, event.record.round) for event in told if isinstance(event, RoundDone)]
    assert sorted(done) == [(f"net, node {n}", r) for n in range(4) for r in range(NUM_ROUNDS)]
    simulated = Trial("e", "net", SEED, config_of(random_model, foreign_model), root / "simulation")
    run_trial(simulated, resume=False)
    return root


def test_the_records_are_those_of_the_simulation_byte_for_byte(root: Path) -> None:
    records = read_rounds(root / "simulation")
    assert len(records) == 2 * NUM_ROUNDS
    assert sum(record.groups_learned for record in records) > 0
    for name in (ROUNDS, COMPLETIONS):
        assert (root / "net" / name).read_bytes() == (root / "simulation" / name).read_bytes()


def test_the_records_of_a_liar_stop_nobody_and_are_not_those_of_the_run(
    random_model: Path, tmp_path: Path
) -> None:
    """Nodes 0 and 1 have other records than 2 and 3, as if 0 and 1 had been left behind."""
    for liars, told in (([[0, "late"], [1, "flood"]], ""), ([[0, "late"]], "different things")):
        exchange = {"name": "net", "liars": liars}
        config = trial_config(random_model, swarm={"malicious": 0}, exchange=exchange)
        trial = Trial("e", "arm", 0, config, tmp_path / f"run-{len(liars)}")
        swarm = NodeTrials.of(trial, tmp_path / f"nodes-{len(liars)}")
        for node, each in enumerate(swarm.nodes):
            assert each.arm.endswith("(lies: late)") == (node == 0)
            with TrialWriter(each.folder, None, malicious=()) as writer:
                for round in range(1 if node < 2 else 2):
                    writer.write(replace(RECORD, round=round), Inspection([], []), {}, {})
        if told:
            with pytest.raises(ValueError, match=told):
                nodes.put_together(swarm)
        else:
            nodes.put_together(swarm)
            assert len(read_rounds(trial.folder)) == 2


def swarm_id(raw: bytes) -> bytes:
    headers = msgspec.msgpack.decode(raw, type=AgreedRound).headers
    return Signed.decode(headers[0]).header.run


def test_every_archive_proves_every_round_to_a_third_party(root: Path) -> None:
    here = root / "nodes" / "net" / "seed-5"
    signers = [Signer.open(here / f"node-{n}" / nodes.KEYS) for n in range(4)]
    roster = roster_of(signers)
    weights: dict[tuple[int, int], set[bytes]] = {}
    for node in range(4):
        archive = Archive(here / f"node-{node}" / joining.ARCHIVE)
        assert archive.last == NUM_ROUNDS - 1
        for round in range(NUM_ROUNDS):
            raw = archive.read(round)
            assert raw is not None
            run = swarm_id(raw)
            rules = RoundRules(run, round, roster, 1, 10**6)
            agreed = decode(raw, rules)
            assert len(supporters(agreed, rules)) >= 2
            for number, signed in agreed.headers.items():
                header = Signed.decode(signed).header
                assert header.slots == 8
                weights.setdefault((round, number), set()).add(header.weights)
    # Nodes 0 and 2 train the first model, and node 3 follows it; node 1 trains the other.
    for round in range(NUM_ROUNDS):
        first, other, again, liar = (weights[round, n] for n in range(4))
        assert first == again == liar != other
        assert len(first) == len(other) == 1
    assert weights[0, 0] != weights[1, 0]


def audited(root: Path, into: Path, archive: Path | None = None) -> auditing.Findings:
    here = root / "nodes" / "net" / "seed-5"
    membership = joining.Membership.read(here / joining.SWARM)
    return auditing.audit(
        membership.config.arms["net"],
        SEED,
        Roster.of(membership.roster),
        archive or here / "node-2" / joining.ARCHIVE,
        into,
    )


def test_a_third_party_gets_the_same_records_from_an_archive_alone(
    root: Path, tmp_path: Path
) -> None:
    found = audited(root, tmp_path / "records")
    assert (found.rounds, found.faults, found.sound) == (NUM_ROUNDS, [], True)
    assert {n: (c.rounds, c.completions) for n, c in found.nodes.items()} == dict.fromkeys(
        range(4), (NUM_ROUNDS, 8 * NUM_ROUNDS)
    )
    assert merging.differing([root / "simulation", tmp_path / "records"]) == []


def test_an_audit_of_another_run_or_of_a_changed_one_stops(root: Path, tmp_path: Path) -> None:
    path = root / "nodes" / "net" / "seed-5" / "node-1" / joining.ARCHIVE
    before = path.read_bytes()
    (tmp_path / "changed").write_bytes(before[:400] + b"x" + before[401:])
    with pytest.raises(ValueError, match="damaged at byte"):
        audited(root, tmp_path / "records", tmp_path / "changed")
    with pytest.raises(ValueError, match="there is no archive"):
        audited(root, tmp_path / "records", tmp_path / "none")
    assert not (tmp_path / "none").exists()
    assert path.read_bytes() == before
