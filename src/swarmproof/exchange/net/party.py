"""What a process knows of its swarm, and how it reads what peers answer. No loops, no waiting.

Keys of values, all below a node's own prefix:

    h/ROUND            the node's signed header      h/ROUND/OF        a copy of another node's
    v/ROUND/ATTEMPT/STEP/OF   the view of a node     b/HASH            a body
    o/ROUND            its votes on the outcome      y/ROUND           it is ready for an attempt
    a/ROUND            the entry of its archive
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from swarmproof.exchange.net import archive, envelope, messages
from swarmproof.exchange.net.agreement import Relay, RoundRules
from swarmproof.exchange.net.archive import Archive
from swarmproof.exchange.net.ballot import Ballot
from swarmproof.exchange.net.envelope import SIGNED_BYTES, EnvelopeError, Expected, Kind, Signed
from swarmproof.exchange.net.keys import Signer
from swarmproof.exchange.net.messages import OUTCOME_BYTES
from swarmproof.exchange.net.roster import Roster
from swarmproof.exchange.net.transport import Transport

STATED_BYTES = SIGNED_BYTES + OUTCOME_BYTES
_KEPT = 2  # rounds whose values are served besides the archive


@dataclass(frozen=True, slots=True)
class Terms:
    """The operator's settings, equal on all nodes."""

    faults: int  # nodes that may lie
    quorum: int  # messages that a round needs, and equal statements that its outcome needs
    step: float  # seconds for a relaying step

    def require(self, num_nodes: int) -> None:
        """Check that they fit a swarm.

        Raises:
            ValueError: one line with the remedy.
        """
        if self.faults > num_nodes - 2:
            raise ValueError(
                f"exchange.faults is {self.faults} of {num_nodes} nodes, and a node that was away "
                f"needs {self.faults + 1} others to prove an outcome; set exchange.faults = "
                f"{max(0, num_nodes - 2)}, or have more nodes"
            )
        if not 1 <= self.quorum <= num_nodes:
            raise ValueError(f"exchange.quorum is {self.quorum}; the swarm has {num_nodes} nodes")


def enough(num_nodes: int, faults: int) -> int:
    """The default quorum: two such sets of nodes have one in common that is honest.

    With a third of the nodes or more as liars that cannot be had without their help; then it is
    the number of honest nodes.
    """
    return min(num_nodes - faults, (num_nodes + faults) // 2 + 1)


class Party:
    """The nodes of this process in their swarm: keys, what they serve, what they check."""

    def __init__(
        self,
        run: bytes,
        roster: Roster,
        terms: Terms,
        limit: int,
        signers: Mapping[int, Signer],
        transport: Transport,
        entries: Archive,
    ) -> None:
        self.run, self.roster, self.terms, self.limit = run, roster, terms, limit
        self.signers, self.transport, self.entries = signers, transport, entries
        self.nodes = range(len(roster.keys))
        self.remote = tuple(node for node in self.nodes if node not in signers)
        self._served: deque[tuple[int, list[str]]] = deque()
        transport.serve_from(self._from_archive)

    def rules(self, round: int) -> RoundRules:
        return RoundRules(self.run, round, self.roster, self.terms.faults, self.limit)

    # What this process sends ----------------------------------------------------------------------

    def serve(self, round: int, key: str, value: bytes) -> None:
        """Serve a value until the swarm is some rounds ahead of its round."""
        if not self._served or self._served[-1][0] < round:
            self._served.append((round, []))
            while len(self._served) > _KEPT:
                for old in self._served.popleft()[1]:
                    self.transport.withdraw(old)
        self._served[-1][1].append(key)
        self.transport.serve(key, value)

    def send_view(self, round: int, attempt: int, step: int, relays: list[Relay]) -> None:
        """Serve the view of every node of this process. They act as one, so it is the same."""
        body = messages.encode_view(relays)
        for node in self.signers:
            value = self._message(node, Kind.VIEW, body, round, attempt, step)
            self.serve(round, f"v/{round}/{attempt}/{step}/{node}", value)

    def send_hello(self, round: int, attempt: int) -> None:
        for node in self.signers:
            value = self._message(node, Kind.HELLO, b"", round, attempt)
            self.serve(round, f"y/{round}", value)

    def ballot(self, round: int) -> Ballot:
        """The votes on a round, with what this process stated before a restart."""
        cast = next(iter(self.signers.values())).stated(self.run, round)
        return Ballot(self.terms.quorum, self.terms.faults, self.signers.keys(), cast)

    def send_votes(self, round: int, ballot: Ballot) -> None:
        """State what this process votes for and has committed to, and hear it as well.

        A node that votes for what it has locked shows why, to those that have locked another.
        """
        cast, said = ballot.cast, []
        for node, signer in self.signers.items():
            signer.state(self.run, round, cast)
            said = [
                archive.read_stated(self._message(node, kind, of, round, turn), self.rules(round))
                for kind, turn, of in (
                    (Kind.VOTE, cast.turn, cast.vote),
                    (Kind.OUTCOME, cast.commit_turn, cast.commit),
                )
                if of
            ]
            for each in said:
                ballot.hear(each)
        shown = [*said, *(ballot.proof if cast.turn > 0 else ())]
        self.serve(round, f"o/{round}", b"".join(each.raw for each in shown))

    @property
    def votes_limit(self) -> int:
        """The longest `o/ROUND`: a vote, a commit, and the votes behind a lock."""
        return STATED_BYTES * (2 + len(self.nodes))

    def _message(
        self, node: int, kind: Kind, body: bytes, round: int, attempt: int, step: int = 0
    ) -> bytes:
        return messages.message(
            self.signers[node], kind, body,
            run=self.run, round=round, node=node, attempt=attempt, step=step,
        )  # fmt: skip

    # What peers send ------------------------------------------------------------------------------

    def read_header(self, value: bytes, round: int, node: int) -> Signed:
        """A node's header of a round.

        Raises:
            EnvelopeError: it is not.
        """
        signed = Signed.decode(value)
        envelope.verify(signed, self.rules(round).expected(node), self.roster, self.limit)
        return signed

    def read_view(
        self, value: bytes, round: int, attempt: int, step: int, node: int
    ) -> list[Relay]:
        """A node's view of a step; the headers in it are not checked yet.

        Raises:
            EnvelopeError: it is not.
        """
        expected = Expected(self.run, round, node, Kind.VIEW, attempt, step)
        limit = self.view_limit - SIGNED_BYTES
        _, body = envelope.open_message(value, expected, self.roster, limit)
        return messages.decode_view(body, len(self.nodes))

    def read_hello(self, value: bytes, round: int, node: int) -> int:
        """The attempt that a node is ready for.

        Raises:
            EnvelopeError: it is not that node's.
        """
        attempt = Signed.decode(value).header.attempt
        expected = Expected(self.run, round, node, Kind.HELLO, attempt)
        envelope.open_message(value, expected, self.roster, 0)
        return attempt

    @property
    def view_limit(self) -> int:
        return SIGNED_BYTES + messages.view_limit(len(self.nodes), self.terms.faults)

    def _from_archive(self, key: str) -> bytes | None:
        """Old entries and outcomes, for nodes that were away. Called in any thread."""
        kind, _, number = key.partition("/")
        if kind not in ("a", "o") or not number.isdecimal() or len(number) > 18:
            return None
        raw = self.entries.read(int(number))
        if raw is None or kind == "a":
            return raw
        try:
            outcomes = archive.decode(raw, self.rules(int(number))).outcomes
        except EnvelopeError:
            return None
        return next((outcomes[node] for node in self.signers if node in outcomes), None)
