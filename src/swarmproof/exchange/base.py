"""What an exchange is: bytes out, everybody's bytes in, and a reason for whoever is absent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import Field

from swarmproof.registry import Kind, Plugin
from swarmproof.types import NodeId

# Why nothing was gathered from a node. A network adds reasons of its own.
Absence = Literal["missing", "late", "oversized", "unreadable"]


@dataclass(frozen=True, slots=True)
class Session:
    """What an exchange is told when it is opened."""

    # Hash of all that the nodes must share. Messages of another run are refused by `wire`.
    run_id: str
    nodes: tuple[NodeId, ...]  # all of the swarm
    local: frozenset[NodeId]  # those that this process plays
    max_bytes: int  # no message of a round is larger


@dataclass(frozen=True, slots=True)
class Gathered:
    """What came in for a round."""

    payloads: Mapping[NodeId, bytes]
    absent: Mapping[NodeId, str]  # whoever sent nothing usable, and why: an `Absence`
    # What proves a fault of a peer to a third party, such as two signed messages for one round.
    evidence: tuple[bytes, ...] = ()


class Exchange(Plugin):
    """Parameters of an all-gather; `connect` opens it."""

    kind: ClassVar[Kind] = "exchange"

    deadline: float = Field(
        default=600.0, gt=0, le=86_400, description="seconds to wait for the messages of a round"
    )
    nonce: str = Field(
        default="",
        max_length=64,
        description="told to all nodes of a run: tells it from others with the same settings",
    )

    @abstractmethod
    def connect(self, session: Session) -> Channel:
        """Open the exchange.

        Raises:
            ValueError: it cannot be opened; one line with the remedy.
        """


class Channel(ABC):
    """An open exchange. It vouches for who sent a message, and for nothing in it."""

    @abstractmethod
    def publish(self, round: int, node: NodeId, payload: bytes) -> None:
        """Send a local node's message of a round to all nodes."""

    @abstractmethod
    def gather(self, round: int, senders: Collection[NodeId], deadline: float) -> Gathered:
        """The messages of a round.

        Args:
            round: which one.
            senders: whose messages are wanted; each is in `payloads` or in `absent`.
            deadline: seconds to wait for them at most.
        """

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Release what the channel holds. It is not used afterwards."""
