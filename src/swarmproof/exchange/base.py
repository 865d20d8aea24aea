"""What an exchange is: bytes out, everybody's bytes in."""

from __future__ import annotations

from abc import ABC, abstractmethod

from swarmproof.registry import Plugin
from swarmproof.types import NodeId


class Exchange(Plugin):
    """Parameters of an all-gather; `connect` opens it."""

    @abstractmethod
    def connect(self) -> Channel:
        """Open the exchange."""


class Channel(ABC):
    """An open exchange. It vouches for who sent a message, and for nothing in it."""

    @abstractmethod
    def publish(self, round: int, node: NodeId, payload: bytes) -> None:
        """Send a node's message of a round to all nodes."""

    @abstractmethod
    def gather(self, round: int) -> dict[NodeId, bytes]:
        """The messages of all nodes that published in this round."""
