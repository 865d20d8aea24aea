"""A round over the network: ask peers, drive the agreement by the clock, compare outcomes.

The clock. A round starts when the last one was decided; honest nodes decide within moments of one
another. Step 1 ends at the latest `deadline` seconds after that, and each further step `step`
seconds later. A step ends early when all nodes that sent in the last round have spoken: more can
then not come from them. Whoever has all the views serves copies, so that a liar who speaks to some
nodes only does not keep the others waiting.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Collection, Iterable

from swarmproof.exchange.net import archive
from swarmproof.exchange.net.agreement import Agreement, Decision, Relay
from swarmproof.exchange.net.archive import AgreedRound
from swarmproof.exchange.net.asking import Asker
from swarmproof.exchange.net.envelope import SIGNED_BYTES, EnvelopeError, Signed
from swarmproof.exchange.net.party import OUTCOME_LIMIT, Party
from swarmproof.exchange.net.transport import Answer

log = logging.getLogger("swarmproof.net")
_POLL = 0.05
_SAY_EVERY = 30.0  # seconds between two lines about waiting
_ASK = 2.0  # seconds for an answer; then it is asked again


class Conversation:
    """One round of one process.

    Args:
        party: keys and rules.
        asker: shared by all rounds.
        round: number of the round.
        own: this process's messages, by node.
        awaited: nodes that a step waits for; of the others it takes what comes.
    """

    def __init__(
        self,
        party: Party,
        asker: Asker,
        round: int,
        own: Iterable[tuple[Signed, bytes]],
        awaited: Collection[int],
    ) -> None:
        self._party, self._asker, self.round = party, asker, round
        self._rules = party.rules(round)
        self._own, self._awaited = list(own), frozenset(awaited)
        self.faults: dict[int, str] = {}  # why a node's answer was not used
        self._outcomes: dict[int, tuple[bytes, bytes]] = {}  # node -> digest and statement
        self._hellos: dict[int, int] = {}
        self._turn = 0
        self._noticed: float | None = None  # when peers were seen to have decided

    # An attempt -----------------------------------------------------------------------------------

    def attempt(self, number: int, start: float, deadline: float) -> Decision | None:
        """Play the steps of an attempt; None if peers have decided the round meanwhile."""
        machine = Agreement(self._rules, self._party.signers, number)
        for signed, body in self._own:
            machine.send(signed, body)
        last = self._party.terms.faults + 1
        for step in range(1, last + 1):
            end = start + deadline + (step - 1) * self._party.terms.step
            if not self._play_step(machine, step, end):
                return None
            if step < last:
                relays = machine.advance()
                self._party.send_view(self.round, number, step + 1, relays)
        return machine.decide()

    def _play_step(self, machine: Agreement, step: int, end: float) -> bool:
        """Listen until all have spoken or time is up; False if peers have decided already."""
        silent = set(self._party.remote)
        # Bodies, and in step 1 nodes that are not awaited, get some time after the others spoke.
        grace = end
        while True:
            now = time.monotonic()
            pending = silent & self._awaited if step > 1 else silent
            if not silent & self._awaited and grace == end:
                grace = min(end, now + self._party.terms.step / 2)
            if now >= grace or not (pending or machine.wants()):
                # Whoever spoke is in step with this node, and its next words must be heard.
                self._awaited = frozenset(self._party.remote) - silent
                return True
            if self._left_behind(now):
                return False
            self._ask_step(machine, step, silent)
            wait = min(_POLL, max(0.0, end - now))
            for answer in self._asker.answers(wait):
                self._hear(machine, step, silent, answer)

    def _left_behind(self, now: float) -> bool:
        """Whether peers have decided a while ago. Just after them, the last words arrive here."""
        if self._decided_elsewhere() is None:
            return False
        self._noticed = now if self._noticed is None else self._noticed
        return now >= self._noticed + self._party.terms.step / 2

    def _ask_step(self, machine: Agreement, step: int, silent: Collection[int]) -> None:
        party = self._party
        for node in silent:
            for asked in {node, self._other(node)}:
                key, limit = self._key_of(machine, step, node, copy=asked != node)
                self._asker.want(asked, key, limit, _ASK, slow=asked != node)
        for header, holders in machine.wants():
            remote = [node for node in holders if node not in party.signers]
            for asked in {*remote[:1], *remote[self._turn % len(remote) :][:1]} if remote else ():
                self._asker.want(asked, f"b/{header.body.hex()}", header.length, _ASK)
        for node in party.remote:
            self._asker.want(node, f"o/{self.round}", OUTCOME_LIMIT, _ASK, slow=True)
        self._turn += 1

    def _key_of(self, machine: Agreement, step: int, node: int, *, copy: bool) -> tuple[str, int]:
        """Where a node's words in a step are served, and how long they may be."""
        if step == 1:
            return f"h/{self.round}/{node}" if copy else f"h/{self.round}", SIGNED_BYTES
        key = f"v/{self.round}/{machine.attempt}/{step}/{node}"
        return key, self._party.view_limit

    def _other(self, node: int) -> int:
        """A peer that may have a copy of a node's words; another one each time."""
        others = [other for other in self._party.remote if other != node]
        return others[self._turn % len(others)] if others else node

    def _hear(self, machine: Agreement, step: int, silent: set[int], answer: Answer) -> None:
        """Take in an answer. What is wrong is held against the peer that gave it."""
        if self._hear_outcome(answer):
            return
        kind, *rest = answer.key.split("/")
        try:
            if answer.value is None:
                raise EnvelopeError("oversized", f"more bytes than {answer.key} may have")
            if kind == "b" and machine.give(answer.value):
                self._party.serve(self.round, answer.key, answer.value)
            elif kind == "h" and int(rest[0]) == self.round:
                of = int(rest[1]) if len(rest) > 1 else answer.node
                signed = self._party.read_header(answer.value, self.round, of)
                machine.receive(Relay(signed, {}))
                if step == 1:
                    self._heard(silent, of, f"h/{self.round}/{of}", answer.value)
            elif kind == "v" and answer.key.startswith(f"v/{self.round}/{machine.attempt}/{step}/"):
                self._hear_view(machine, step, silent, int(rest[-1]), answer.key, answer.value)
        except EnvelopeError as error:
            self._blame(answer.node, error)

    def _hear_view(
        self, machine: Agreement, step: int, silent: set[int], of: int, key: str, value: bytes
    ) -> None:
        view = self._party.read_view(value, self.round, machine.attempt, step, of)
        if of in silent:  # each node's view counts once
            self._heard(silent, of, key, value)
            for relay in view:
                machine.receive(relay)

    def _heard(self, silent: set[int], node: int, key: str, value: bytes) -> None:
        """A node has spoken in this step; others may get its words from here."""
        if node in silent:
            silent.discard(node)
            self._party.serve(self.round, key, value)

    def _blame(self, node: int, error: EnvelopeError) -> None:
        if node not in self.faults:
            log.warning("round %d: node %d: %s", self.round, node, error)
        self.faults.setdefault(node, error.fault)

    # Outcomes -------------------------------------------------------------------------------------

    def _hear_outcome(self, answer: Answer) -> bool:
        if answer.key != f"o/{self.round}":
            return False
        try:
            if answer.value is None:
                raise EnvelopeError("oversized", "more bytes than an outcome has")
            digest = archive.read_outcome(answer.value, answer.node, self._rules)
            self._outcomes[answer.node] = digest, answer.value
        except EnvelopeError as error:
            self._blame(answer.node, error)
        return True

    def _decided_elsewhere(self) -> bytes | None:
        """The outcome that enough peers have stated for one of them to be honest."""
        counts = Counter(digest for digest, _ in self._outcomes.values())
        for digest, count in counts.items():
            if count > self._party.terms.faults:
                return digest
        return None

    def confirm(self, attempt: int, decision: Decision) -> tuple[Decision, dict[int, bytes]]:
        """Compare a decision with that of the peers; theirs, if enough of them agree on another.

        Returns:
            the decision, and signed statements about it.
        """
        digest = decision.digest(self._rules)
        own = self._party.send_outcome(self.round, attempt, digest)
        # Whoever learns the outcome from these statements can have the messages at once.
        early = AgreedRound.of(self.round, decision, own, {})
        self._party.serve(self.round, f"a/{self.round}", archive.encode(early))
        end = time.monotonic() + self._party.terms.step
        while self._party.remote and self._decided_elsewhere() is None:
            if time.monotonic() >= end:
                log.warning("round %d: its outcome is not confirmed by peers", self.round)
                break
            self._ask_outcomes()
        if self._decided_elsewhere() not in (None, digest):
            log.warning("round %d: this node had another view, and takes over theirs", self.round)
            return self.take_over()
        return decision, own | self._statements(digest)

    def _statements(self, digest: bytes) -> dict[int, bytes]:
        return {node: said for node, (of, said) in self._outcomes.items() if of == digest}

    def _ask_outcomes(self) -> None:
        for node in self._party.remote:
            self._asker.want(node, f"o/{self.round}", OUTCOME_LIMIT, _ASK)
        for answer in self._asker.answers(_POLL):
            self._hear_outcome(answer)

    def fetch(self) -> AgreedRound:
        """The entry of the round, from anybody's archive, that enough peers have stated."""
        wanted = self._decided_elsewhere()
        limit = archive.entry_limit(self._rules)
        while True:
            for node in self._party.remote:
                self._asker.want(node, f"a/{self.round}", limit, 10 * _ASK)
            for answer in self._asker.answers(_POLL):
                if answer.key != f"a/{self.round}" or answer.value is None:
                    continue
                try:
                    entry = archive.decode(answer.value, self._rules)
                except EnvelopeError as error:
                    self._blame(answer.node, error)
                    continue
                if entry.decision().digest(self._rules) == wanted:
                    return entry

    def peers_decided(self, seconds: float) -> bool:
        """Whether peers have decided this round already; asks them for a moment."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self._decided_elsewhere() is None:
            self._ask_outcomes()
        return self._decided_elsewhere() is not None

    def take_over(self) -> tuple[Decision, dict[int, bytes]]:
        """The outcome that the peers have decided, and statements about it."""
        entry = self.fetch()
        digest = entry.decision().digest(self._rules)
        own = self._party.send_outcome(self.round, 0, digest)
        theirs = {n: entry.outcomes[n] for n in archive.supporters(entry, self._rules)}
        return entry.decision(), theirs | own | self._statements(digest)

    def see_off(self, peers: Collection[int], seconds: float) -> None:
        """Stay until these peers have stated the outcome, so that they can still ask this node."""
        end = time.monotonic() + seconds
        while {*peers} - self._outcomes.keys() and time.monotonic() < end:
            self._ask_outcomes()

    # Meeting --------------------------------------------------------------------------------------

    def meet(self, attempt: int, patience: float) -> int | None:
        """Wait until enough nodes are ready for an attempt at this round.

        Args:
            attempt: the first that this node is ready for.
            patience: seconds to wait for all nodes; after that a quorum is enough.

        Returns:
            the number of the attempt; None if peers have decided the round meanwhile.
        """
        began = said = time.monotonic()
        ready = -1
        while True:
            attempt = max(attempt, self._called_for())
            if attempt != ready:
                self._party.send_hello(self.round, ready := attempt)
            here = [node for node, theirs in self._hellos.items() if theirs >= attempt]
            num_here = len(here) + len(self._party.signers)
            now = time.monotonic()
            enough = num_here >= self._party.terms.quorum and now - began >= patience
            if enough or num_here == len(self._party.nodes):
                self._awaited = frozenset(here)
                return attempt
            if self._decided_elsewhere() is not None:
                return None
            if now - said >= _SAY_EVERY:
                said = now
                log.warning(
                    "round %d: %d of %d nodes are here, and it needs %d; waiting for node %s",
                    self.round, num_here, len(self._party.nodes), self._party.terms.quorum,
                    ", ".join(str(n) for n in self._party.remote if n not in here),
                )  # fmt: skip
            self._ask_hellos()

    def _called_for(self) -> int:
        """The highest attempt that at least one honest peer is ready for."""
        theirs = sorted(self._hellos.values(), reverse=True)
        return theirs[self._party.terms.faults] if len(theirs) > self._party.terms.faults else 0

    def _ask_hellos(self) -> None:
        for node in self._party.remote:
            self._asker.want(node, f"y/{self.round}", SIGNED_BYTES, _ASK)
            self._asker.want(node, f"o/{self.round}", OUTCOME_LIMIT, _ASK)
        for answer in self._asker.answers(_POLL):
            if self._hear_outcome(answer) or answer.key != f"y/{self.round}":
                continue
            try:
                if answer.value is None:
                    raise EnvelopeError("oversized", "more bytes than a hello has")
                self._hellos[answer.node] = self._party.read_hello(
                    answer.value, self.round, answer.node
                )
            except EnvelopeError as error:
                self._blame(answer.node, error)
