"""A third party plays a finished swarm again from a node's archive, and believes nothing of it.

Signatures and agreement are checked for every round. Then all nodes are played here, from the
public settings alone: what each should have sent is compared with what it signed, and the records
that follow are written anew.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

from swarmproof.config import TrialConfig
from swarmproof.exchange import Channel, Gathered, wire
from swarmproof.exchange.net import archive
from swarmproof.exchange.net.agreement import RoundRules
from swarmproof.exchange.net.archive import AgreedRound, Archive
from swarmproof.exchange.net.envelope import EnvelopeError, Signed
from swarmproof.exchange.net.plugin import Net
from swarmproof.exchange.net.roster import Roster
from swarmproof.registry import build
from swarmproof.types import NodeId


@dataclass(slots=True)
class Conduct:
    """What an audit found about a node."""

    rounds: int = 0  # in which its message counts
    equivocated: int = 0
    completions: int = 0
    other_draws: int = 0  # completions that are not the draws of their slots
    other_weights: int = 0  # rounds in which it drew with other weights, by its own word


@dataclass(slots=True)
class Findings:
    """The result of an audit. `faults` are about the archive, `nodes` about those who sent."""

    rounds: int = 0
    faults: list[str] = field(default_factory=list)
    nodes: dict[NodeId, Conduct] = field(default_factory=dict)

    @property
    def sound(self) -> bool:
        """Whether every round is proved, and every node sent its draws and the right weights."""
        return not self.faults and not any(
            each.other_draws or each.other_weights or each.equivocated
            for each in self.nodes.values()
        )


class AuditChannel(Channel):
    """Takes what each node should have sent, and gathers what was agreed on."""

    def __init__(
        self,
        entries: Archive,
        rules: Callable[[int], RoundRules],
        quorum: int,
        run_id: str,
        found: Findings,
    ) -> None:
        self._entries, self._rules, self._run_id, self._found = entries, rules, run_id, found
        self._quorum = quorum
        self._weights: dict[NodeId, bytes] = {}
        self._drawn: dict[NodeId, bytes] = {}

    def describe(
        self,
        round: int,  # noqa: ARG002
        node: NodeId,
        *,
        slots: int,  # noqa: ARG002
        weights: Callable[[], bytes],
    ) -> None:
        self._weights[node] = weights()

    def publish(self, round: int, node: NodeId, payload: bytes) -> None:  # noqa: ARG002
        self._drawn[node] = payload

    def gather(self, round: int, senders: Collection[NodeId], deadline: float) -> Gathered:  # noqa: ARG002
        entry = self._entry(round)
        payloads = {}
        for node in senders:
            conduct = self._found.nodes.setdefault(node, Conduct())
            body = entry.bodies.get(int(node))
            conduct.equivocated += node in entry.equivocators
            if body is not None:
                payloads[node] = body
                self._compare(conduct, round, node, body, entry.headers[int(node)])
        absent = {n: entry.absent.get(int(n), "missing") for n in senders if n not in payloads}
        self._found.rounds += 1
        return Gathered(payloads, absent, tuple(entry.evidence))

    def _entry(self, round: int) -> AgreedRound:
        rules = self._rules(round)
        raw = self._entries.read(round)
        try:
            if raw is None:
                raise EnvelopeError("malformed", "the archive leaves it out")
            entry = archive.decode(raw, rules)
        except EnvelopeError as error:
            raise ValueError(f"round {round} of the archive: {error}") from None
        num_support = len(archive.supporters(entry, rules))
        if num_support < self._quorum:
            self._found.faults.append(
                f"round {round}: {num_support} nodes signed its outcome, and proof needs "
                f"{self._quorum}"
            )
        return entry

    def _compare(
        self, conduct: Conduct, round: int, node: NodeId, body: bytes, header: bytes
    ) -> None:
        conduct.rounds += 1
        conduct.other_weights += Signed.decode(header).header.weights != self._weights.get(node)
        sent, drawn = (self._texts(each, round, node) for each in (body, self._drawn[node]))
        conduct.completions += len(drawn)
        conduct.other_draws += sum(sent.get(slot) != value for slot, value in drawn.items())

    def _texts(self, payload: bytes, round: int, node: NodeId) -> dict[object, object]:
        message = wire.open_message(
            payload, node=node, round=round, run_id=self._run_id, limit=len(payload)
        )
        if not isinstance(message, wire.Opened):
            return {}
        return {(i.problem_id, i.index): (i.text, i.token_ids) for i in message.items}


def audit(config: TrialConfig, seed: int, roster: Roster, path: Path, into: Path) -> Findings:
    """Play a swarm again.

    Args:
        config: of the arm; its exchange is `net`.
        seed: of the trial.
        roster: the public keys.
        path: a node's archive.
        into: folder for the records that follow from the archive.

    Raises:
        ValueError: the archive is of another swarm, has no round yet, or something in it is not
            what nodes signed.
    """
    import torch

    from swarmproof.records.streams import TrialWriter
    from swarmproof.swarm.assembly import assemble
    from swarmproof.swarm.round import play_round

    if not path.is_file():
        raise ValueError(f"there is no archive {path}")
    net = build(Net, config.exchange)
    entries = Archive(path, read_only=True)
    if entries.last < 0:
        raise ValueError(f"{path} has no round yet")
    torch.set_num_threads(1)
    memory = {"name": "memory", "nonce": net.nonce}
    swarm = assemble(config.model_copy(update={"exchange": memory}), seed)
    terms = net.terms(config.swarm.nodes)
    run = roster.swarm_id(swarm.run_id, terms.faults, terms.quorum)
    limit = wire.max_bytes(
        config.batch.problems * config.batch.group_size // config.swarm.nodes,
        config.sampling.max_new_tokens,
    )
    found = Findings()
    channel = AuditChannel(
        entries,
        lambda round: RoundRules(run, round, roster, terms.faults, limit),
        terms.quorum,
        swarm.run_id,
        found,
    )
    swarm = replace(swarm, channel=channel)
    several = len(config.cohorts) > 1
    with TrialWriter(into, None, malicious=swarm.malicious, by_cohort=several) as writer:
        for round in range(entries.last + 1):
            for outcome in play_round(swarm, round):
                watch = outcome.watch
                writer.write(outcome.record, outcome.found, watch.seconds, watch.cpu)
    return found
