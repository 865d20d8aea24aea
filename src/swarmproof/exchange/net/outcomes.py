"""How a round ends: nodes vote on what they decided, until a quorum of commits settles it.

What a node states is in `Ballot`; here the clock and the network drive it. In the first turn a node
votes for its own decision, or for what peers stated if it has none. In a later turn it votes as the
leader of that turn does. If the leader says nothing, or nothing that could be an outcome, it votes
for what most have voted for in the turn before.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable

from swarmproof.exchange.net import archive
from swarmproof.exchange.net.agreement import Decision
from swarmproof.exchange.net.archive import AgreedRound
from swarmproof.exchange.net.asking import Asker
from swarmproof.exchange.net.envelope import EnvelopeError
from swarmproof.exchange.net.party import STATED_BYTES, Party
from swarmproof.exchange.net.transport import Answer

log = logging.getLogger("swarmproof.net")
POLL = 0.05  # seconds between two looks at the clock
SAY_EVERY = 30.0  # seconds between two lines about waiting
ASK = 2.0  # seconds for an answer; then it is asked again

Settled = tuple[Decision, dict[int, bytes]]  # with the commits that settle it
Blame = Callable[[int, EnvelopeError], None]


class Outcomes:
    """The votes on one round.

    Args:
        party: keys and rules.
        asker: shared by all rounds.
        round: number of the round.
        blame: called with a peer whose answer was not used.
    """

    def __init__(self, party: Party, asker: Asker, round: int, blame: Blame) -> None:
        self._party, self._asker, self.round, self._blame = party, asker, round, blame
        self._rules = party.rules(round)
        self._ballot = party.ballot(round)
        self._decisions: dict[bytes, Decision] = {}  # what is known of them, by digest

    def ask(self, *, slow: bool = False) -> None:
        done = self._ballot.committed(self._ballot.cast.turn)  # no more is expected of them soon
        for node in self._party.remote:
            late = slow or node in done
            self._asker.want(node, f"o/{self.round}", self._party.votes_limit, ASK, slow=late)

    def ask_entries(self) -> None:
        """Ask for the messages of whoever voted."""
        for node in self._ballot.latest().keys() & {*self._party.remote}:
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
                for start in range(0, len(answer.value), STATED_BYTES):
                    self._note(answer.value[start : start + STATED_BYTES])
            else:
                entry = archive.decode(answer.value, self._rules)
                self._decisions[entry.decision().digest(self._rules)] = entry.decision()
                for statement in entry.outcomes.values():
                    self._note(statement)
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
        """The most stated outcome of peers that could be one."""
        return next((digest for digest, _ in self._counts() if self._could_be(digest)), None)

    def _could_be(self, digest: bytes) -> bool:
        """Whether the messages of an outcome are here, and a quorum of them counts."""
        known = self._decisions.get(digest)
        return known is not None and len(known.headers) >= self._party.terms.quorum

    def peers_decided(self, seconds: float) -> bool:
        """Whether peers have decided this round already; asks them for a moment."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.hinted() is None:
            self.ask()
            self._listen()
        return self.hinted() is not None

    def settle(self, decision: Decision | None) -> Settled:
        """Vote until an outcome is settled.

        Args:
            decision: this node's; None: it votes for what peers state.
        """
        own = self._own(decision)
        began = said = time.monotonic()
        enough: float | None = None  # when a quorum had voted in this turn
        while True:
            settled = self._ballot.settled()
            if settled and settled[0].digest in self._decisions:
                return self._end(own)
            turn, now = self._ballot.cast.turn, time.monotonic()
            wish = self._wish(own, now - began)
            known = wish if wish in self._decisions else b""
            if self._ballot.num_voted(turn) >= self._party.terms.quorum:
                enough = now if enough is None else enough
            expired = enough is not None and now - enough > self._patience(turn)
            if self._ballot.move(known, expired=expired):
                if self._ballot.cast.turn > turn:
                    began, enough = now, None
                self._send()
                continue
            if now - said >= SAY_EVERY:
                said = now
                log.warning("round %d: %s; waiting", self.round, self._told())
            if settled or known != wish:
                self.ask_entries()
            self.ask()
            self._listen()

    def see_off(self, peers: Collection[int], seconds: float) -> None:
        """Stay until these peers have committed, so that they can still ask this node."""
        end = time.monotonic() + seconds
        while {*peers} - self._ballot.committed() and time.monotonic() < end:
            self.ask()
            self._listen()

    def _own(self, decision: Decision | None) -> bytes | None:
        """The digest of this node's decision. What it stated before a restart is stated again."""
        if self._ballot.cast.vote:
            self._party.send_votes(self.round, self._ballot)
        if decision is None:
            return None
        own = decision.digest(self._rules)
        self._decisions[own] = decision
        return own

    def _end(self, own: bytes | None) -> Settled:
        """Commit to what is settled, for those who still count."""
        settled = self._ballot.settled()
        outcome = settled[0].digest
        cast = self._ballot.cast
        if (cast.commit_turn, cast.commit) != (settled[0].turn, outcome):
            self._ballot.commit(settled[0])
            self._party.send_votes(self.round, self._ballot)
        if own not in (None, outcome):
            log.warning("round %d: this node had another view, and takes over theirs", self.round)
        commits = {said.node: said.raw for said in self._ballot.settled()}
        self._serve(outcome, commits)
        return self._decisions[outcome], commits

    def _wish(self, own: bytes | None, waited: float) -> bytes:
        """The outcome to vote for if none is locked; empty: none yet."""
        turn = self._ballot.cast.turn
        hinted = self.hinted() or self.offered() or b""
        if turn == 0:
            return own or hinted
        leader = (self.round + turn) % len(self._party.nodes)
        led = self._ballot.vote_of(leader, turn)
        if self._could_be(led):
            return led
        # A leader may be silent, or lie: what it votes for may not exist, or leave nodes out.
        if leader not in self._party.signers and waited < ASK + self._party.terms.step:
            return b"" if led in self._decisions else led
        before = self._ballot.votes(turn - 1)
        most = sorted(before, key=lambda digest: (-before[digest], digest))
        return next(filter(self._could_be, most), own or hinted)

    def _patience(self, turn: int) -> float:
        """Seconds for a turn, from the vote of a quorum on, so that those behind come up.

        Later turns are longer, so that one is long enough in the end.
        """
        return ASK + (2 + min(turn, 100)) * self._party.terms.step

    def _send(self) -> None:
        self._party.send_votes(self.round, self._ballot)
        self._serve(self._ballot.cast.vote or self._ballot.cast.commit, {})

    def _serve(self, outcome: bytes, commits: dict[int, bytes]) -> None:
        """Whoever learns of an outcome from this node's vote can have the messages at once."""
        if outcome in self._decisions:
            entry = AgreedRound.of(self.round, self._decisions[outcome], commits, {})
            self._party.serve(self.round, f"a/{self.round}", archive.encode(entry))

    def _note(self, raw: bytes) -> None:
        said = archive.read_stated(raw, self._rules)
        if not self._ballot.hear(said):
            self._blame(
                said.node, EnvelopeError("equivocated", "it stated two outcomes of the round")
            )

    def _told(self) -> str:
        """What nodes stated last, for people."""
        stated = Counter(d for each in self._ballot.latest().values() for d in each)
        counts = sorted(stated.values())
        return (
            f"{' and '.join(map(str, counts)) or 'no'} nodes stated an outcome in turn "
            f"{self._ballot.cast.turn}, and it needs {self._party.terms.quorum} equal ones"
        )

    def _counts(self) -> Iterable[tuple[bytes, int]]:
        """How many peers stated each outcome last; the most stated one first."""
        counts = Counter(
            digest
            for node, stated in self._ballot.latest().items()
            if node not in self._party.signers
            for digest in stated
        )
        return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))

    def _listen(self) -> None:
        for answer in self._asker.answers(POLL):
            self.hear(answer)
