"""Questions that are asked again until they are answered. Knows no meaning of a key or a value."""

from __future__ import annotations

import math
import time

from swarmproof.exchange.net.transport import Answer, Transport

# Seconds between two questions for one value: the first pause, and the longest with few peers.
_PAUSES = 0.02, 0.25
_SLOW_PAUSES = 0.25, 1.0
_GROWTH = 1.5
# Questions a second, in the end, of a node that waits for all of its peers; but a step of the
# agreement must not pass between two of them.
_RATE = 32.0
_LONGEST = 2.0
_ANYBODY = -1


class Asker:
    """Asks peers, never twice at once for the same value, and ever more slowly."""

    def __init__(self, transport: Transport, num_peers: int) -> None:
        self._transport = transport
        self._longest = min(num_peers / _RATE, _LONGEST)
        # Until when an answer may come. A transport that never ends a question is not waited for.
        self._open: dict[tuple[int, str], float] = {}
        # When it was asked last, and how long to wait after that.
        self._paces: dict[tuple[int, str], tuple[float, float]] = {}

    def want(
        self,
        node: int,
        key: str,
        limit: int,
        seconds: float,
        *,
        slow: bool = False,
        anybody: bool = False,
    ) -> None:
        """Ask now, unless the question is open or was asked a moment ago.

        Args:
            node: the peer.
            key: of the value.
            limit: bytes of the largest answer.
            seconds: for the answer.
            slow: with longer pauses.
            anybody: another peer is asked each time, and one pause counts for all of them.
        """
        question, now = (node, key), time.monotonic()
        paced = (_ANYBODY, key) if anybody else question
        first, longest = _SLOW_PAUSES if slow else _PAUSES
        longest = max(longest, self._longest)
        asked, pause = self._paces.get(paced, (-math.inf, first / _GROWTH))
        # A question that was slow may be asked in haste later.
        is_open = self._open.get(question, -math.inf) > now
        if not is_open and now >= asked + min(longest, pause):
            seconds = max(seconds, 0.05)
            self._open[question] = now + seconds + _LONGEST
            self._paces[paced] = now, min(longest, pause * _GROWTH)
            self._transport.ask(node, key, limit, seconds)

    def answers(self, seconds: float) -> list[Answer]:
        """The replies that came, at most `seconds` from now."""
        found = self._transport.answers(seconds)
        for answer in found:
            if answer.is_end:
                self._open.pop((answer.node, answer.key), None)
        return [answer for answer in found if not answer.is_end]

    def forget(self) -> None:
        """Ask anew at once; for a new round."""
        still = self._open.keys() & self._paces.keys()
        self._paces = {paced: self._paces[paced] for paced in still}
