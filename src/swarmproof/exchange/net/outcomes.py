"""How a round ends: nodes state what they decided, and enough equal statements settle it.

A node states one outcome of a round, never two, also after a restart (`Signer.state`). An outcome
is settled once `quorum` nodes stated it. Two sets of more than half of the nodes and half of the
liars have an honest node in common, so with the default quorum no two outcomes are settled,
whatever the network does. A node that could not decide by itself states what peers stated.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable

from swarmproof.exchange.net import archive
from swarmproof.exchange.net.agreement import Decision
from swarmproof.exchange.net.archive import AgreedRound
from swarmproof.exchange.net.asking import Asker
from swarmproof.exchange.net.envelope import EnvelopeError
from swarmproof.exchange.net.party import OUTCOME_LIMIT, Party
from swarmproof.exchange.net.transport import Answer

log = logging.getLogger("swarmproof.net")
POLL = 0.05  # seconds between two looks at the clock
SAY_EVERY = 30.0  # seconds between two lines about waiting
ASK = 2.0  # seconds for an answer; then it is asked again
_MAX_STATED = 2  # outcomes of one node that are kept; an honest node states one

Settled = tuple[Decision, dict[int, bytes]]  # with the statements that settle it
Blame = Callable[[int, EnvelopeError], None]


class Outcomes:
    """The statements about one round.

    Args:
        party: keys and rules.
        asker: shared by all rounds.
        round: number of the round.
        blame: called with a peer whose answer was not used.
    """

    def __init__(self, party: Party, asker: Asker, round: int, blame: Blame) -> None:
        self._party, self._asker, self.round, self._blame = party, asker, round, blame
        self._rules = party.rules(round)
        self._stated: dict[bytes, dict[int, bytes]] = {}  # digest -> node -> statement
        self._decisions: dict[bytes, Decision] = {}  # what is known of them, by digest

    def ask(self, *, slow: bool = False) -> None:
        for node in self._party.remote:
            self._asker.want(node, f"o/{self.round}", OUTCOME_LIMIT, ASK, slow=slow)

    def ask_entries(self) -> None:
        """Ask for the messages of whoever stated an outcome."""
        for node in self._heard() & {*self._party.remote}:
            limit = archive.entry_limit(self._rules)
            self._asker.want(node, f"a/{self.round}", limit, 10 * ASK)

    def hear(self, answer: Answer) -> bool:
        """Take in an answer; whether it was about the outcome."""
        if answer.key not in (f"o/{self.round}", f"a/{self.round}"):
            return False
        try:
            if answer.value is None:
                raise EnvelopeError("oversized", f"more bytes than {answer.key} may have")
            if answer.key[0] == "o":
                self._note(answer.node, answer.value)
            else:
                entry = archive.decode(answer.value, self._rules)
                self._decisions[entry.decision().digest(self._rules)] = entry.decision()
                for node, statement in entry.outcomes.items():
                    self._note(node, statement)
        except EnvelopeError as error:
            self._blame(answer.node, error)
        return True

    def hinted(self) -> bytes | None:
        """An outcome that at least one honest peer stated."""
        for digest, count in self._counts():
            if count > self._party.terms.faults:
                return digest
        return None

    def offered(self) -> bytes | None:
        """The most stated outcome of peers that could be one: `quorum` messages count in it."""
        for digest, _ in self._counts():
            known = self._decisions.get(digest)
            if known is not None and len(known.headers) >= self._party.terms.quorum:
                return digest
        return None

    def peers_decided(self, seconds: float) -> bool:
        """Whether peers have decided this round already; asks them for a moment."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.hinted() is None:
            self.ask()
            self._listen()
        return self.hinted() is not None

    def settle(self, attempt: int, decision: Decision | None) -> Settled:
        """State an outcome, and wait until one is settled.

        Args:
            attempt: that the decision was made in.
            decision: this node's; None: it takes over what peers stated.
        """
        own = None if decision is None else self._state(attempt, decision)
        said = time.monotonic()
        while True:
            settled = self._settled()
            wanted = settled or (self.hinted() or self.offered() if own is None else None)
            if wanted in self._decisions:
                if settled is None:
                    own = self._state(attempt, self._decisions[wanted])
                    continue
                if own not in (None, settled):
                    log.warning(
                        "round %d: this node had another view, and takes over theirs", self.round
                    )
                return self._decisions[settled], dict(self._stated[settled])
            if time.monotonic() - said >= SAY_EVERY:
                said = time.monotonic()
                log.warning(
                    "round %d: %s nodes stated an outcome, and it needs %d equal ones; waiting",
                    self.round,
                    " and ".join(str(len(of)) for of in self._stated.values()) or "no",
                    self._party.terms.quorum,
                )  # fmt: skip
            if wanted is not None:
                self.ask_entries()
            self.ask()
            self._listen()

    def see_off(self, peers: Collection[int], seconds: float) -> None:
        """Stay until these peers have stated the outcome, so that they can still ask this node."""
        end = time.monotonic() + seconds
        while {*peers} - self._heard() and time.monotonic() < end:
            self.ask()
            self._listen()

    def _state(self, attempt: int, decision: Decision) -> bytes:
        """State an outcome, or again the one that was stated before; returns its digest."""
        digest = decision.digest(self._rules)
        self._decisions[digest] = decision
        own = self._party.send_outcome(self.round, attempt, digest)
        for node, (stated, statement) in own.items():
            self._stated.setdefault(stated, {})[node] = statement
        statements = {node: statement for node, (_, statement) in own.items()}
        # Whoever learns the outcome from these statements can have the messages at once.
        entry = AgreedRound.of(self.round, decision, statements, {})
        self._party.serve(self.round, f"a/{self.round}", archive.encode(entry))
        return next(iter(own.values()))[0]

    def _note(self, node: int, statement: bytes) -> None:
        digest = archive.read_outcome(statement, node, self._rules)
        before = [d for d, nodes in self._stated.items() if node in nodes and d != digest]
        if before:
            error = EnvelopeError("equivocated", "it stated two outcomes of the round")
            self._blame(node, error)
        if len(before) < _MAX_STATED:
            self._stated.setdefault(digest, {})[node] = statement

    def _settled(self) -> bytes | None:
        for digest, nodes in self._stated.items():
            if len(nodes) >= self._party.terms.quorum:
                return digest
        return None

    def _counts(self) -> Iterable[tuple[bytes, int]]:
        """How many peers stated each outcome; the most stated one first."""
        counts = [
            (digest, len(nodes.keys() - self._party.signers.keys()))
            for digest, nodes in self._stated.items()
        ]
        return sorted(counts, key=lambda pair: (-pair[1], pair[0]))

    def _heard(self) -> set[int]:
        return {node for nodes in self._stated.values() for node in nodes}

    def _listen(self) -> None:
        for answer in self._asker.answers(POLL):
            self.hear(answer)
