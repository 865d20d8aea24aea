"""A round over the network: meet, ask peers, drive the agreement by the clock.

The clock. A round starts when the last one was decided; honest nodes decide within moments of one
another. Step 1 ends at the latest `deadline` seconds after that, and each further step `step`
seconds later. A step ends early when all nodes that sent in the last round have spoken: more can
then not come from them. Whoever has all the views serves copies, so that a liar who speaks to some
nodes only does not keep the others waiting.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable

from swarmproof.exchange.net.agreement import Agreement, Decision, Relay
from swarmproof.exchange.net.asking import Asker
from swarmproof.exchange.net.envelope import SIGNED_BYTES, EnvelopeError, Signed
from swarmproof.exchange.net.outcomes import ASK, POLL, SAY_EVERY, Outcomes, log
from swarmproof.exchange.net.party import Party
from swarmproof.exchange.net.transport import Answer


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
        self.outcomes = Outcomes(party, asker, round, self._blame)
        self._hellos: dict[int, int] = {}
        self._turn = 0
        self._wanted_since: dict[bytes, float] = {}  # when a body was missing first, by its hash
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
            wait = min(POLL, max(0.0, end - now))
            for answer in self._asker.answers(wait):
                self._hear(machine, step, silent, answer)

    def _left_behind(self, now: float) -> bool:
        """Whether peers have decided a while ago. Just after them, the last words arrive here."""
        if self.outcomes.hinted() is None:
            return False
        self._noticed = now if self._noticed is None else self._noticed
        return now >= self._noticed + self._party.terms.step / 2

    def _ask_step(self, machine: Agreement, step: int, silent: Collection[int]) -> None:
        for node in silent:
            for asked in {node, self._other(node)}:
                copy = asked != node
                key, limit = self._key_of(machine, step, node, copy=copy)
                self._asker.want(asked, key, limit, ASK, slow=copy, anybody=copy)
        self._ask_bodies(machine)
        self.outcomes.ask(slow=True)
        self._turn += 1

    def _ask_bodies(self, machine: Agreement) -> None:
        now = time.monotonic()
        for header, holders in machine.wants():
            key = f"b/{header.body.hex()}"
            remote = [node for node in holders if node not in self._party.signers]
            for asked in {*remote[:1], *remote[self._turn % len(remote) :][:1]} if remote else ():
                self._asker.want(asked, key, header.length, ASK)
            # Between two nodes there may be no link. Then any other peer may have a copy.
            if now > self._wanted_since.setdefault(header.body, now) + ASK:
                other = self._other(header.node)
                self._asker.want(other, key, header.length, ASK, slow=True, anybody=True)

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
        if self.outcomes.hear(answer):
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
            # After the time in which honest nodes come, any statement of a peer is taken over.
            late = now - began >= patience + self._party.terms.step
            if self.outcomes.hinted() or (late and self.outcomes.offered()):
                return None
            if late:
                self.outcomes.ask_entries()
            if now - said >= SAY_EVERY:
                said = now
                log.warning(
                    "round %d: %d of %d nodes are here, and it needs %d; waiting for node %s. "
                    "Do they run, with the same swarm.toml and swarmproof, and is one reachable?",
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
            self._asker.want(node, f"y/{self.round}", SIGNED_BYTES, ASK)
        self.outcomes.ask()
        for answer in self._asker.answers(POLL):
            if self.outcomes.hear(answer) or answer.key != f"y/{self.round}":
                continue
            try:
                if answer.value is None:
                    raise EnvelopeError("oversized", "more bytes than a hello has")
                self._hellos[answer.node] = self._party.read_hello(
                    answer.value, self.round, answer.node
                )
            except EnvelopeError as error:
                self._blame(answer.node, error)
