"""The agreement alone, without network and clock: what one of many honest nodes does in a round.

All nodes are honest and on time. Then every view has every header, and one node's work shows that
of all. Signatures of relayers are not checked for headers that count already, so those in the views
of the others are made up; the signature of each view is real, and checked.
"""

from __future__ import annotations

import hashlib
import resource
import time
from collections.abc import Iterator
from typing import Any

from swarmproof.exchange.net import messages
from swarmproof.exchange.net.agreement import Agreement, Relay
from swarmproof.exchange.net.archive import Archive
from swarmproof.exchange.net.envelope import SIGNATURE_BYTES, Header, Kind, Signed
from swarmproof.exchange.net.keys import Signer
from swarmproof.exchange.net.messages import seal
from swarmproof.exchange.net.party import STATED_BYTES, Party, Terms, enough
from swarmproof.exchange.net.roster import Roster
from swarmproof.exchange.net.transport import Loopback

_FAULTS, _ROUND, _BODY = 1, 0, 1000  # bytes of a body


def play(num_nodes: int) -> dict[str, Any]:
    """A round of node 0 among `num_nodes`, two steps: its processor seconds, bytes, messages."""
    signers = [Signer.new() for _ in range(num_nodes)]
    roster = Roster(tuple(signer.public for signer in signers))
    terms = Terms(_FAULTS, enough(num_nodes, _FAULTS), 1.0)
    run = roster.swarm_id("benchmark", _FAULTS, terms.quorum)
    party = Party(
        run, roster, terms, _BODY, {0: signers[0]}, Loopback().join(0), Archive(None)
    )  # fmt: skip
    bodies = [b"%d;" % node * (_BODY // (len(str(node)) + 1)) for node in range(num_nodes)]
    sent = [_header(run, node, signers[node], body) for node, body in enumerate(bodies)]
    machine = Agreement(party.rules(_ROUND), party.signers)
    spent: dict[str, float] = {}
    began = time.process_time()
    machine.send(sent[0], bodies[0])
    for node in party.remote:
        machine.receive(Relay(party.read_header(sent[node].encode(), _ROUND, node), {}))
    spent["headers"] = time.process_time() - began
    began = time.process_time()
    for body in bodies[1:]:
        assert machine.give(body)
    spent["bodies"] = time.process_time() - began
    began = time.process_time()
    own = machine.advance()
    party.send_view(_ROUND, 0, 2, own)
    spent["sign and send a view"] = time.process_time() - began
    assert len(own) == num_nodes
    view_bytes, spent["views"] = 0, 0.0
    for node, view in _views(party, signers, sent):
        view_bytes += len(view)
        began = time.process_time()
        for relay in party.read_view(view, _ROUND, 0, 2, node):
            machine.receive(relay)
        spent["views"] += time.process_time() - began
    began = time.process_time()
    decision = machine.decide()
    decision.digest(party.rules(_ROUND))
    spent["decide"] = time.process_time() - began
    assert len(decision.headers) == num_nodes
    others = num_nodes - 1
    return {
        "nodes": num_nodes,
        "messages": 5 * others,  # header, body, view, vote and commit of each other node
        "bytes": {
            "headers": others * len(sent[0].encode()),
            "views": view_bytes,
            "outcomes": others * 3 * STATED_BYTES,  # a vote, then the vote with the commit
        },
        "seconds": {"all": sum(spent.values()), **spent},
        "process_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _header(run: bytes, node: int, signer: Signer, body: bytes) -> Signed:
    digest = hashlib.sha256(body).digest()
    return seal(signer, Header(run, _ROUND, node, Kind.COMPLETIONS, digest, len(body)))


def _views(party: Party, signers: list[Signer], sent: list[Signed]) -> Iterator[tuple[int, bytes]]:
    signature = bytes(SIGNATURE_BYTES)
    for node in party.remote:
        relays = [Relay(s, {node: signature} if s.header.node != node else {}) for s in sent]
        yield node, messages.message(
            signers[node], Kind.VIEW, messages.encode_view(relays),
            run=party.run, round=_ROUND, node=node, step=2,
        )  # fmt: skip
