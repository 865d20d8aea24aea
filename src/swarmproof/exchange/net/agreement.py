"""One view: which messages count in a round. A pure state machine, without network and clock.

Authenticated broadcast (Dolev and Strong, SIAM J. Comput. 12(4), 1983), one for each sender, all at
once. It takes `faults` + 1 steps. In step 1 each node sends its own header. A header counts in step
k if it has k distinct signatures, the sender's among them. A node that counts a header before the
last step signs it, and sends it to all in the next step. A node that signs a header holds its body,
or holds another header of the same sender that counts.

If at most `faults` nodes lie, and what an honest node sends in a step arrives in that step, then

- all honest nodes decide on the same set of messages, and
- the message of an honest node is in the set.

A sender with two headers that count is out for everybody, and the two are the proof. No majority is
needed, because signatures cannot be forged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from swarmproof.exchange.net.envelope import (
    SIGNED_BYTES,
    EnvelopeError,
    Expected,
    Header,
    Kind,
    Signed,
    expected_of,
    relay_bytes,
    verify,
)
from swarmproof.exchange.net.keys import Signer
from swarmproof.exchange.net.roster import Roster

_OUTCOME_TAG = b"swarmproof/outcome/1"


@dataclass(frozen=True, slots=True)
class Relay:
    """A header, and the nodes that signed it after its sender."""

    signed: Signed
    signatures: Mapping[int, bytes]


@dataclass(frozen=True, slots=True)
class RoundRules:
    """What all nodes know of a round beforehand."""

    run: bytes
    round: int
    roster: Roster
    faults: int  # liars that the agreement is safe against
    limit: int  # largest body

    def expected(self, node: int) -> Expected:
        return Expected(self.run, self.round, node, Kind.COMPLETIONS)


@dataclass(frozen=True, slots=True)
class Decision:
    """What counts in a round. All honest nodes have the same `headers` and `equivocators`."""

    headers: Mapping[int, Signed]  # by sender
    bodies: Mapping[int, bytes]
    equivocators: frozenset[int]
    late: frozenset[int]  # senders of headers that do not count, as this node saw it
    evidence: tuple[bytes, ...]  # see `guilty`

    def digest(self, rules: RoundRules) -> bytes:
        """A hash of what all honest nodes share."""
        digest = hashlib.sha256(_OUTCOME_TAG + rules.run + rules.round.to_bytes(8, "big"))
        for node in range(len(rules.roster.keys)):
            if node in self.headers:
                digest.update(b"\1" + self.headers[node].digest)
            else:
                digest.update(b"\2" if node in self.equivocators else b"\0")
        return digest.digest()


@dataclass(slots=True)
class _Seen:
    """A header with a valid signature of its sender."""

    signed: Signed
    signatures: dict[int, bytes] = field(default_factory=dict)  # without the sender's
    counts: bool = False
    withheld: bool = False  # it could have counted in a step, with its body


class Agreement:
    """One node's part in one attempt at a round.

    Args:
        rules: of the round.
        signers: the nodes that this process plays; they act as one.
        attempt: number of the attempt.
    """

    def __init__(self, rules: RoundRules, signers: Mapping[int, Signer], attempt: int = 0) -> None:
        self.rules, self.attempt, self.step = rules, attempt, 1
        self._signers = signers
        self._seen: dict[int, dict[bytes, _Seen]] = {}  # by sender and digest
        self._bodies: dict[bytes, bytes] = {}
        self._to_relay: list[_Seen] = []

    def send(self, signed: Signed, body: bytes) -> None:
        """This node's own message, in step 1."""
        self._bodies[signed.header.body] = body
        self.receive(Relay(signed, {}))

    def receive(self, relay: Relay) -> None:
        """A header that arrived in this step.

        Raises:
            EnvelopeError: the header is not its sender's for this round. Signatures of others that
                are wrong are left out without an error.
        """
        signed = relay.signed
        sender, digest = signed.header.node, signed.digest
        known = self._seen.get(sender, {}).get(digest)
        if self._num_counting(sender) >= 2:
            return  # out already
        if known is None:
            verify(signed, self.rules.expected(sender), self.rules.roster, self.rules.limit)
            known = _Seen(signed)
            self._seen.setdefault(sender, {})[digest] = known
        if not known.counts:
            self._add(known, relay.signatures)
            self._count(sender)

    def give(self, body: bytes) -> bool:
        """A body; whether it was asked for. Others are left out."""
        digest = hashlib.sha256(body).digest()
        # Headers of several senders may announce one body: a liar can copy another's hash.
        headers = [seen.signed.header for seen in self._wanted()]
        fitting = [h.node for h in headers if h.body == digest and h.length == len(body)]
        if fitting:
            self._bodies[digest] = body
        for node in fitting:
            self._count(node)
        return bool(fitting)

    def wants(self) -> list[tuple[Header, tuple[int, ...]]]:
        """Headers whose bodies are missing, each with the nodes that should have the body."""
        return [(s.signed.header, (s.signed.header.node, *s.signatures)) for s in self._wanted()]

    def advance(self) -> list[Relay]:
        """End this step; return what this node sends in the next one."""
        assert self.step <= self.rules.faults, "the last step ends with `decide`"
        self._note_withheld()
        relays = []
        for seen in self._to_relay:
            text = relay_bytes(seen.signed.digest, self.attempt)
            own = {
                n: s.sign(text) for n, s in self._signers.items() if n != seen.signed.header.node
            }
            seen.signatures |= own
            relays.append(Relay(seen.signed, dict(seen.signatures)))
        self._to_relay = []
        self.step += 1
        return relays

    def decide(self) -> Decision:
        """The outcome, after the last step."""
        self._note_withheld()
        withheld = {
            sender
            for sender, of in self._seen.items()
            if any(seen.withheld for seen in of.values())
        }
        counting = {
            sender: [seen.signed for seen in of.values() if seen.counts]
            for sender, of in self._seen.items()
        }
        headers = {sender: found[0] for sender, found in counting.items() if len(found) == 1}
        pairs = [list(of.values())[:2] for _, of in sorted(self._seen.items()) if len(of) > 1]
        return Decision(
            headers=dict(sorted(headers.items())),
            bodies={sender: self._bodies[found.header.body] for sender, found in headers.items()},
            equivocators=frozenset(sender for sender, found in counting.items() if len(found) > 1),
            late=frozenset(sender for sender, found in counting.items() if not found) - withheld,
            evidence=tuple(b"".join(s.signed.encode() for s in pair) for pair in pairs),
        )

    def _add(self, seen: _Seen, signatures: Mapping[int, bytes]) -> None:
        text = relay_bytes(seen.signed.digest, self.attempt)
        num_nodes = len(self.rules.roster.keys)
        for node, signature in signatures.items():
            new = node not in seen.signatures and node != seen.signed.header.node
            if new and 0 <= node < num_nodes and self.rules.roster.verifies(node, signature, text):
                seen.signatures[node] = signature

    def _count(self, sender: int) -> None:
        """Count the sender's headers that can be counted, at most two."""
        able = [s for s in self._seen[sender].values() if s.counts or self._signed_enough(s)]
        for seen in able:
            held = self._holds(seen.signed.header)
            full = self._num_counting(sender) >= 2
            if not seen.counts and not full and (held or len(able) > 1):
                seen.counts = True
                self._to_relay.append(seen)

    def _note_withheld(self) -> None:
        for seen in self._wanted():
            seen.withheld = True

    def _holds(self, header: Header) -> bool:
        body = self._bodies.get(header.body)
        return body is not None and len(body) == header.length

    def _signed_enough(self, seen: _Seen) -> bool:
        return 1 + len(seen.signatures) >= self.step

    def _num_counting(self, sender: int) -> int:
        return sum(seen.counts for seen in self._seen.get(sender, {}).values())

    def _wanted(self) -> Iterable[_Seen]:
        for of in self._seen.values():
            for seen in of.values():
                missing = not self._holds(seen.signed.header)
                if missing and not seen.counts and self._signed_enough(seen):
                    yield seen


def guilty(evidence: bytes, roster: Roster, limit: int) -> int:
    """The node that a proof of equivocation convicts. Anybody who has the roster can check it.

    Args:
        evidence: two signed headers, one after the other.
        roster: of the swarm.
        limit: largest body.

    Raises:
        EnvelopeError: it proves nothing.
    """
    one, other = map(Signed.decode, (evidence[:SIGNED_BYTES], evidence[SIGNED_BYTES:]))
    if one.digest == other.digest:
        raise EnvelopeError("malformed", "the same header twice")
    if one.header.kind != Kind.COMPLETIONS:
        raise EnvelopeError("malformed", "a node may sign several messages of this kind")
    expected = expected_of(one.header)
    for signed in (one, other):
        verify(signed, expected, roster, limit)
    return one.header.node
