"""All nodes in one process: the simulation's exchange. It carries bytes all the same."""

from __future__ import annotations

from swarmproof.exchange.base import Channel, Exchange
from swarmproof.registry import register
from swarmproof.types import NodeId


@register("exchange", "memory")
class Memory(Exchange):
    """Messages are held in memory until their round is gathered."""

    def connect(self) -> MemoryChannel:
        return MemoryChannel()


class MemoryChannel(Channel):
    def __init__(self) -> None:
        self._round = -1
        self._messages: dict[NodeId, bytes] = {}

    def publish(self, round: int, node: NodeId, payload: bytes) -> None:
        if round != self._round:
            self._round, self._messages = round, {}
        self._messages[node] = payload

    def gather(self, round: int) -> dict[NodeId, bytes]:
        return dict(sorted(self._messages.items())) if round == self._round else {}
