"""Questions that are asked again until they are answered. Knows no meaning of a key or a value."""

from __future__ import annotations

import math
import time

from swarmproof.exchange.net.transport import Answer, Transport

# Seconds between two questions for one value: the first pause, and the longest.
_PAUSES = 0.02, 0.25
_SLOW_PAUSES = 0.25, 1.0
_GROWTH = 1.5
_ANYBODY = -1


class Asker:
    """Asks peers, never twice at once for the same value, and ever more slowly."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._open: set[tuple[int, str]] = set()
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
        asked, pause = self._paces.get(paced, (-math.inf, first / _GROWTH))
        # A question that was slow may be asked in haste later.
        if question not in self._open and now >= asked + min(longest, pause):
            self._open.add(question)
            self._paces[paced] = now, min(longest, pause * _GROWTH)
            self._transport.ask(node, key, limit, max(seconds, 0.05))

    def answers(self, seconds: float) -> list[Answer]:
        """The replies that came, at most `seconds` from now."""
        found = self._transport.answers(seconds)
        self._open -= {(answer.node, answer.key) for answer in found if answer.is_end}
        return [answer for answer in found if not answer.is_end]

    def forget(self) -> None:
        """Ask anew at once; for a new round."""
        self._paces = {paced: self._paces[paced] for paced in self._open & self._paces.keys()}
