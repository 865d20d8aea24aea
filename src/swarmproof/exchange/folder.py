"""Nodes in several processes that share a folder, with one file for each message.

For trying out a swarm of processes on one machine, or on a shared file system. The file name
identifies the sender, so anyone who can write to the folder can impersonate any node. It is for
nodes that trust the machine, not for the open internet. Nodes do not agree on which messages were
late: a node whose deadline passes before a message arrives continues without it, and from then on
its weights differ.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from pathlib import Path

from pydantic import Field

from swarmproof.exchange.base import Channel, Exchange, Gathered, Session
from swarmproof.registry import register
from swarmproof.types import NodeId

_POLL_SECONDS = 0.02


@register("exchange", "folder")
class Folder(Exchange):
    """Messages are files in a folder that all processes of the swarm share."""

    path: Path = Field(
        default=Path("exchange"), description="the shared folder; each run has its own part of it"
    )

    def connect(self, session: Session) -> FolderChannel:
        """Open this run's part of the folder.

        Raises:
            ValueError: the folder cannot be written.
        """
        root = self.path / session.run_id
        try:
            root.mkdir(parents=True, exist_ok=True)
            probe = root / f".{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise ValueError(
                f"exchange.path: cannot write to {root}: {error.strerror}; choose another folder"
            ) from None
        return FolderChannel(root, session)


class FolderChannel(Channel):
    """Files `ROUND/NODE.msg`. Each is written to a temporary file and then renamed."""

    def __init__(self, root: Path, session: Session) -> None:
        self._root, self._session = root, session

    def publish(self, round: int, node: NodeId, payload: bytes) -> None:
        """Send a message. A resumed node may send the same message again.

        Raises:
            ValueError: another run has left a different message under this name.
        """
        place = self._place(round, node)
        place.parent.mkdir(exist_ok=True)
        if place.exists() and place.read_bytes() != payload:
            raise ValueError(
                f"{place} holds another message of node {node}, so another run used this folder; "
                "choose another exchange.path, or another exchange.nonce for all nodes"
            )
        part = place.with_suffix(f".{os.getpid()}.part")
        part.write_bytes(payload)
        part.replace(place)

    def gather(self, round: int, senders: Collection[NodeId], deadline: float) -> Gathered:
        end = time.monotonic() + deadline
        payloads: dict[NodeId, bytes] = {}
        absent: dict[NodeId, str] = {}
        waiting = list(senders)
        while waiting:
            for node in list(waiting):
                found = self._read(round, node)
                if found is None:
                    continue
                waiting.remove(node)
                if isinstance(found, bytes):
                    payloads[node] = found
                else:
                    absent[node] = found
            if not waiting:
                break
            if time.monotonic() >= end:
                absent |= dict.fromkeys(waiting, "late")
                break
            time.sleep(_POLL_SECONDS)
        return Gathered({node: payloads[node] for node in senders if node in payloads}, absent)

    def _place(self, round: int, node: NodeId) -> Path:
        return self._root / f"{round:08}" / f"{node}.msg"

    def _read(self, round: int, node: NodeId) -> bytes | str | None:
        """The message, or the reason why it cannot be used, or None if it has not arrived yet."""
        limit = self._session.max_bytes
        try:
            # Read at most one byte above the limit, because a peer wrote the file.
            with self._place(round, node).open("rb") as file:
                found = file.read(limit + 1)
        except FileNotFoundError:
            return None
        except OSError:
            return "unreadable"
        return found if len(found) <= limit else "oversized"
