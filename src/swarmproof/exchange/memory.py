"""All nodes in one process: the exchange of the simulation. It still carries bytes."""

from __future__ import annotations

from collections.abc import Collection

from swarmproof.exchange.base import Channel, Exchange, Gathered, Session
from swarmproof.registry import register
from swarmproof.types import NodeId


@register("exchange", "memory")
class Memory(Exchange):
    """Messages are held in memory until their round is gathered."""

    def connect(self, session: Session) -> MemoryChannel:
        """Open it.

        Raises:
            ValueError: some nodes run in other processes, which this exchange cannot reach.
        """
        if elsewhere := [node for node in session.nodes if node not in session.local]:
            raise ValueError(
                f"the exchange 'memory' cannot reach node {elsewhere[0]}, which another process "
                "plays; use another exchange, such as 'folder'"
            )
        return MemoryChannel()


class MemoryChannel(Channel):
    def __init__(self) -> None:
        self._round = -1
        self._messages: dict[NodeId, bytes] = {}

    def publish(self, round: int, node: NodeId, payload: bytes) -> None:
        if round != self._round:
            self._round, self._messages = round, {}
        self._messages[node] = payload

    def gather(self, round: int, senders: Collection[NodeId], deadline: float) -> Gathered:  # noqa: ARG002
        messages = self._messages if round == self._round else {}
        return Gathered(
            payloads={node: messages[node] for node in senders if node in messages},
            absent={node: "missing" for node in senders if node not in messages},
        )
