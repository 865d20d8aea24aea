"""Questions that are asked again until they are answered. Knows no meaning of a key or a value."""

from __future__ import annotations

import time

from swarmproof.exchange.net.transport import Answer, Transport

_FIRST, _LONGEST = 0.02, 0.25  # seconds between two questions for one value
_GROWTH = 1.5


class Asker:
    """Asks peers, never twice at once for the same value, and ever more slowly."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._open: set[tuple[int, str]] = set()
        # When to ask again, and how long to wait after that.
        self._next: dict[tuple[int, str], tuple[float, float]] = {}

    def want(self, node: int, key: str, limit: int, seconds: float, *, slow: bool = False) -> None:
        """Ask now, unless the question is open or was asked a moment ago."""
        question, now = (node, key), time.monotonic()
        due, pause = self._next.get(question, (0.0, _LONGEST if slow else _FIRST))
        if question not in self._open and now >= due:
            self._open.add(question)
            self._next[question] = now + pause, min(_LONGEST, pause * _GROWTH)
            self._transport.ask(node, key, limit, max(seconds, 0.05))

    def answers(self, seconds: float) -> list[Answer]:
        """The replies that came, at most `seconds` from now."""
        found = self._transport.answers(seconds)
        self._open -= {(answer.node, answer.key) for answer in found if answer.is_end}
        return [answer for answer in found if not answer.is_end]

    def forget(self) -> None:
        """Ask anew at once; for a new round."""
        self._next = {question: self._next[question] for question in self._open}
