"""How bytes get from one node to another: a node serves values by key, and peers ask for them.

Pulled, not pushed: whoever comes late, or was away, asks again. Nothing here is trusted. A peer may
answer with anything, for any node, or not at all; envelopes say what counts, and the roster says
who should be there.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply to a question, or its end. A question may have several replies, and has one end."""

    node: int
    key: str
    value: bytes | None  # None: the end, or a reply that is too long
    oversized: bool = False

    @property
    def is_end(self) -> bool:
        return self.value is None and not self.oversized


Source = Callable[[str], bytes | None]


class Transport(ABC):
    """A node's connection to its peers. Used by one thread."""

    @abstractmethod
    def serve(self, key: str, value: bytes) -> None:
        """Answer questions of peers for `key` with `value`, from now on."""

    @abstractmethod
    def withdraw(self, key: str) -> None:
        """Answer them no more."""

    @abstractmethod
    def serve_from(self, source: Source) -> None:
        """Ask `source` for keys that are not served. It is called in any thread."""

    @abstractmethod
    def ask(self, node: int, key: str, limit: int, seconds: float) -> None:
        """Ask a peer for a value of at most `limit` bytes. Returns at once; see `answers`."""

    @abstractmethod
    def answers(self, seconds: float) -> list[Answer]:
        """The answers that came. Waits for the first one, at most `seconds`."""

    @abstractmethod
    def close(self) -> None:
        """Leave the network."""


class Values:
    """What a node serves. Read by other threads."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self.source: Source = lambda _: None

    def put(self, key: str, value: bytes) -> None:
        with self._lock:
            self._values[key] = value

    def remove(self, key: str) -> None:
        with self._lock:
            self._values.pop(key, None)

    def get(self, key: str) -> bytes | None:
        with self._lock:
            value = self._values.get(key)
        return self.source(key) if value is None else value

    def replies(self, key: str) -> Sequence[bytes]:
        """All that is sent in answer to a question."""
        value = self.get(key)
        return () if value is None else (value,)

    def close(self) -> None:
        """The node leaves. Questions that wait are still answered."""


# Seconds until an answer arrives, by asker, node and key. None: question or answer is lost.
Weather = Callable[[int, int, str], float | None]


class Loopback:
    """A network in memory, for tests and simulations of faults.

    Args:
        weather: delays and losses; called for each question.
    """

    def __init__(self, weather: Weather = lambda *_: 0.0) -> None:
        self.weather = weather
        self.values: dict[int, Values] = {}
        # Nodes that answer as they like: asker and key to a value.
        self.liars: dict[int, Callable[[int, str], bytes | None]] = {}

    def join(self, node: int) -> LoopbackTransport:
        """The connection of a node. A node that comes back serves nothing of before."""
        self.values[node] = Values()
        return LoopbackTransport(self, node)

    def look(self, asker: int, node: int, key: str) -> bytes | None:
        """What a node answers."""
        if node in self.liars:
            return self.liars[node](asker, key)
        return self.values[node].get(key) if node in self.values else None


class LoopbackTransport(Transport):
    def __init__(self, network: Loopback, node: int) -> None:
        self._network, self._node = network, node
        self._coming: list[tuple[float, int, Answer]] = []
        self._count = itertools.count()

    def serve(self, key: str, value: bytes) -> None:
        self._network.values[self._node].put(key, value)

    def withdraw(self, key: str) -> None:
        self._network.values[self._node].remove(key)

    def serve_from(self, source: Source) -> None:
        self._network.values[self._node].source = source

    def ask(self, node: int, key: str, limit: int, seconds: float) -> None:
        delay = self._network.weather(self._node, node, key)
        if delay is None or delay > seconds:
            self._later(seconds, Answer(node, key, None))
            return
        value = self._network.look(self._node, node, key)
        if value is not None:
            self._later(delay, reply(node, key, value, limit))
        self._later(delay, Answer(node, key, None))

    def _later(self, seconds: float, answer: Answer) -> None:
        heapq.heappush(self._coming, (time.monotonic() + seconds, next(self._count), answer))

    def answers(self, seconds: float) -> list[Answer]:
        end = time.monotonic() + seconds
        first = min(self._coming[0][0], end) if self._coming else end
        time.sleep(max(0.0, first - time.monotonic()))
        found = []
        while self._coming and self._coming[0][0] <= time.monotonic():
            found.append(heapq.heappop(self._coming)[2])
        return found

    def close(self) -> None:
        self._network.values.pop(self._node, None)


def reply(node: int, key: str, value: bytes, limit: int) -> Answer:
    """What a peer replied, without what is too long."""
    if len(value) > limit:
        return Answer(node, key, None, oversized=True)
    return Answer(node, key, value)
