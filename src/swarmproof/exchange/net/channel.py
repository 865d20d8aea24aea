"""The exchange `net`, opened: signed messages, one view of each round, an archive."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Mapping

from swarmproof.exchange.base import Channel, Gathered, Session
from swarmproof.exchange.net import archive
from swarmproof.exchange.net.agreement import Decision
from swarmproof.exchange.net.archive import AgreedRound, Archive
from swarmproof.exchange.net.asking import Asker
from swarmproof.exchange.net.envelope import NOTHING, EnvelopeError, Header, Kind, Signed
from swarmproof.exchange.net.keys import Signer
from swarmproof.exchange.net.messages import seal
from swarmproof.exchange.net.outcomes import log
from swarmproof.exchange.net.party import Party, Terms
from swarmproof.exchange.net.roster import Roster
from swarmproof.exchange.net.rounds import Conversation
from swarmproof.exchange.net.transport import Transport
from swarmproof.types import NodeId

_LINGER = 0.3  # seconds in which peers may still ask, after all have decided


class NetChannel(Channel):
    """A process's part in a swarm over a network.

    Args:
        session: of the run.
        roster: the keys of `session.nodes`, in their order.
        terms: of the agreement.
        signers: the keys of the local nodes, by number.
        transport: to the peers.
        entries: this process's archive; rounds in it are not played again.
        stay: seconds after the last round in which peers that are behind may still ask.

    Raises:
        ValueError: a key has signed later rounds than the archive holds.
    """

    def __init__(
        self,
        session: Session,
        roster: Roster,
        terms: Terms,
        signers: Mapping[int, Signer],
        transport: Transport,
        entries: Archive,
        stay: float,
    ) -> None:
        self._stay = stay
        self._ids = dict(enumerate(session.nodes))
        self._numbers = {node: number for number, node in self._ids.items()}
        run = roster.swarm_id(session.run_id, terms.faults, terms.quorum)
        _require_archive(run, signers, entries)
        self._party = Party(
            run, roster, terms, session.max_bytes, signers, transport, entries
        )  # fmt: skip
        self._asker = Asker(transport, len(self._party.remote))
        self._described: dict[int, tuple[int, bytes]] = {}
        self._own: dict[int, tuple[Signed, bytes]] = {}
        self._own_round = -1
        self._awaited = frozenset(self._party.nodes)
        # When the last round was decided here; None before the first one of this process.
        self._began: float | None = None
        self._behind = False
        self._alike: frozenset[int] | None = None  # nodes that drew with this node's weights
        self._last: Conversation | None = None

    @property
    def next_round(self) -> int:
        """The first round that is not in the archive."""
        return self._party.entries.last + 1

    @property
    def behind(self) -> bool:
        """Whether peers decided the last round that was gathered, without this process."""
        return self._behind

    def describe(
        self, round: int, node: NodeId, *, slots: int, weights: Callable[[], bytes]
    ) -> None:
        if round > self._party.entries.last:
            self._described[self._numbers[node]] = slots, weights()

    def publish(self, round: int, node: NodeId, payload: bytes) -> None:
        """Sign a message and serve it to the peers. A round in the archive is not sent again.

        Raises:
            ValueError: the key has signed another message of this round, or a later one.
        """
        if round <= self._party.entries.last:
            return
        if round != self._own_round:
            self._own_round, self._own = round, {}
        number = self._numbers[node]
        signer, run = self._party.signers[number], self._party.run
        slots, weights = self._described.get(number, (0, NOTHING))
        signed = seal(
            signer,
            Header(
                run, round, number, Kind.COMPLETIONS, hashlib.sha256(payload).digest(),
                len(payload), weights=weights, slots=slots, previous=signer.previous(run, round),
            ),
        )  # fmt: skip
        signer.note(run, round, signed.digest)
        self._own[number] = signed, payload
        self._party.serve(round, f"b/{signed.header.body.hex()}", payload)
        for key in (f"h/{round}", f"h/{round}/{number}"):
            self._party.serve(round, key, signed.encode())

    def gather(self, round: int, senders: Collection[NodeId], deadline: float) -> Gathered:
        raw = self._party.entries.read(round)
        if raw is None:
            entry = self._agree(round, deadline)
            self._party.entries.append(round, archive.encode(entry))
        else:
            entry = self._remembered(raw, round)
        wanted = {self._numbers[node]: node for node in senders}
        return Gathered(
            payloads={id: entry.bodies[n] for n, id in wanted.items() if n in entry.bodies},
            absent={id: entry.absent[n] for n, id in wanted.items() if n not in entry.bodies},
            evidence=tuple(entry.evidence),
        )

    def close(self) -> None:
        """Leave, once all peers know the last outcome, or after a while."""
        if self._last is not None and self._party.remote:
            self._last.outcomes.see_off(self._party.remote, self._stay)
            time.sleep(_LINGER)
        self.leave()

    def leave(self) -> None:
        """Leave at once. A round that another thread gathers ends with an error."""
        self._party.transport.close()
        for signer in self._party.signers.values():
            signer.close()

    def _agree(self, round: int, deadline: float) -> AgreedRound:
        own = self._own.values() if self._own_round == round else ()
        talk = Conversation(self._party, self._asker, round, own, self._awaited)
        self._asker.forget()
        self._last = talk
        decision, outcomes = self._decide(talk, deadline)
        self._began = time.monotonic()
        self._awaited = frozenset(decision.headers)
        self._compare_weights(round, decision)
        return AgreedRound.of(round, decision, outcomes, self._absent(talk, decision))

    def _compare_weights(self, round: int, decision: Decision) -> None:
        """Say so when a node that had this node's weights has others now. Nothing else follows."""
        own = {weights for _, weights in self._described.values()}
        theirs = {node: signed.header.weights for node, signed in decision.headers.items()}
        alike = frozenset(node for node, weights in theirs.items() if weights in own)
        for node in sorted((self._alike or frozenset()) & theirs.keys() - alike):
            log.warning(
                "round %d: node %d drew with other weights than this node, and had the same before",
                round, node,
            )  # fmt: skip
        away = (self._alike or frozenset()) - theirs.keys()
        self._alike = alike | away

    def _decide(self, talk: Conversation, deadline: float) -> tuple[Decision, Mapping[int, bytes]]:
        """What counts in a round, and signed statements about it."""
        attempt, patience = 0, deadline
        now = time.monotonic()
        alone = not self._party.remote
        # A node that starts, or is late, knows no common start. It meets the others for one.
        meeting = self._began is None or now >= self._began + deadline
        start = now if self._began is None else self._began
        if self._behind and talk.outcomes.peers_decided(_LINGER):
            return talk.outcomes.settle(None)
        while True:
            if meeting and not alone:
                met = talk.meet(attempt, patience)
                if met is None:
                    self._behind = True
                    return talk.outcomes.settle(None)
                attempt, start = met, time.monotonic()
            decision = talk.attempt(attempt, start, deadline)
            if decision is None:
                self._behind = True
                return talk.outcomes.settle(None)
            if alone or len(decision.headers) >= self._party.terms.quorum:
                self._behind = False
                return talk.outcomes.settle(decision)
            log.warning(
                "round %d: messages of %d nodes count, and it needs %d; waiting for the others",
                talk.round, len(decision.headers), self._party.terms.quorum,
            )  # fmt: skip
            attempt, patience, meeting = attempt + 1, 0.0, True

    def _absent(self, talk: Conversation, decision: Decision) -> dict[int, str]:
        absent = {}
        for node in self._party.nodes:
            if node in decision.equivocators:
                absent[node] = "equivocated"
            elif node not in decision.headers:
                late = "late" if node in decision.late else "missing"
                absent[node] = talk.faults.get(node, late)
        return absent

    def _remembered(self, raw: bytes, round: int) -> AgreedRound:
        try:
            return archive.decode(raw, self._party.rules(round))
        except EnvelopeError as error:
            raise ValueError(
                f"the node's archive is of another swarm, or damaged: round {round}: {error}; put "
                "back its own, or name another file in exchange.archive"
            ) from None


def _require_archive(run: bytes, signers: Mapping[int, Signer], entries: Archive) -> None:
    for signer in signers.values():
        # The last round may have been signed, and not be decided yet.
        if signer.last_round(run) > entries.last + 1:
            raise ValueError(
                f"this key has signed round {signer.last_round(run)} of this run, and the archive "
                f"ends with round {entries.last}; put back the newest archive of this node, or "
                "make a new key"
            )
