"""The exchange interface: bytes out, all nodes' bytes in, and a reason for each absent node."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import Field

from swarmproof.registry import Kind, Plugin
from swarmproof.types import NodeId

# Reasons why nothing was gathered from a node. A network exchange adds its own reasons.
Absence = Literal["missing", "late", "oversized", "unreadable"]


@dataclass(frozen=True, slots=True)
class Session:
    """The data that an exchange is given when it is opened."""

    # Hash of everything that the nodes must share. `wire` refuses messages of another run.
    run_id: str
    nodes: tuple[NodeId, ...]  # all nodes of the swarm
    local: frozenset[NodeId]  # the nodes that this process runs
    max_bytes: int  # largest size of a message


@dataclass(frozen=True, slots=True)
class Gathered:
    """The messages received for a round."""

    payloads: Mapping[NodeId, bytes]
    absent: Mapping[NodeId, str]  # nodes that sent nothing usable, and why: an `Absence`
    # Proof of a peer's fault for a third party, such as two signed messages for one round.
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
        description="the same for all nodes of a run; distinguishes runs with equal settings",
    )

    @abstractmethod
    def connect(self, session: Session) -> Channel:
        """Open the exchange.

        Raises:
            ValueError: it cannot be opened; one line with the remedy.
        """


class Channel(ABC):
    """An open exchange. It guarantees the sender of a message, but nothing about its content."""

    def describe(  # noqa: B027 - most send nothing beside the message
        self, round: int, node: NodeId, *, slots: int, weights: Callable[[], bytes]
    ) -> None:
        """What a local node may say about its message of a round, before it publishes it.

        Args:
            round: number of the round.
            node: the node.
            slots: number of completions in the message.
            weights: computes the fingerprint, 32 bytes, of the weights that drew them.
        """

    @abstractmethod
    def publish(self, round: int, node: NodeId, payload: bytes) -> None:
        """Send a local node's message of a round to all nodes."""

    @abstractmethod
    def gather(self, round: int, senders: Collection[NodeId], deadline: float) -> Gathered:
        """The messages of a round.

        Args:
            round: number of the round.
            senders: nodes whose messages are wanted; each is in `payloads` or in `absent`.
            deadline: maximum number of seconds to wait.
        """

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Release the channel's resources. It is not used afterwards."""
