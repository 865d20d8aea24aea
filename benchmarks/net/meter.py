"""Counts what the network costs inside a process: processor time, questions, bytes.

The methods of the channel and of the transport are wrapped. Processor time of a method is that of
the thread that calls it. All other threads of a node are the transport's, and are counted whole.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from swarmproof.exchange.folder import FolderChannel
from swarmproof.exchange.net.archive import Archive
from swarmproof.exchange.net.channel import NetChannel
from swarmproof.exchange.net.keys import Signer
from swarmproof.exchange.net.over_zenoh import ZenohTransport
from swarmproof.exchange.net.roster import Roster
from swarmproof.exchange.net.transport import Answer, LoopbackTransport

# Parts inside `describe`, `publish` and `gather`. They do not contain one another.
_PARTS = (
    (Signer, "sign", "sign"),
    (Signer, "_write", "remember what was signed"),
    (Roster, "verifies", "verify"),
    (Archive, "append", "archive"),
    (ZenohTransport, "ask", "ask"),
    (ZenohTransport, "answers", "answers"),
)


class Meter:
    """Running sums. Attach one to a process for good; `take` reads it."""

    def __init__(self) -> None:
        self._sums: Counter[str] = Counter()
        self._lock = threading.Lock()

    def attach(self) -> None:
        for channel in (NetChannel, FolderChannel):
            for name in ("describe", "publish", "gather"):
                self._time(channel, name, name)
        for owner, name, part in _PARTS:
            self._time(owner, name, f"of it: {part}")
        for transport in (ZenohTransport, LoopbackTransport):
            self._count(transport)

    def take(self) -> Counter[str]:
        with self._lock:
            return Counter(self._sums)

    def add(self, name: str, value: float) -> None:
        with self._lock:
            self._sums[name] += value  # type: ignore[assignment] # seconds too

    def _time(self, owner: type, name: str, label: str) -> None:
        real: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(real)
        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.thread_time()
            try:
                return real(*args, **kwargs)
            finally:
                self.add(label, time.thread_time() - began)

        setattr(owner, name, timed)

    def _count(self, transport: Any) -> None:
        ask, answers = transport.ask, transport.answers

        def counted_ask(own: Any, node: int, key: str, limit: int, seconds: float) -> None:
            self.add(f"questions {key[0]}", 1)
            self.add("question bytes", len(key))
            ask(own, node, key, limit, seconds)

        def counted_answers(own: Any, seconds: float) -> list[Answer]:
            found: list[Answer] = answers(own, seconds)
            for answer in found:
                if answer.value is not None:
                    self.add(f"replies {answer.key[0]}", 1)
                    self.add(f"bytes {answer.key[0]}", len(answer.value))
            return found

        transport.ask, transport.answers = counted_ask, counted_answers
