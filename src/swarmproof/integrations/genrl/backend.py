"""GenRL's communication over the exchange `net`: signed, of limited size, and with a deadline.

A stage of GenRL is a round of the exchange. What a peer sends counts for that peer and that round
only, and is read by `codec`, never unpickled. A message that is malformed costs its sender its own
payloads. With a `PayloadFilter`, only payloads that pass arrive.

GenRL catches ordinary exceptions and goes on without the swarm. What is wrong on this node, such as
a full disk, therefore raises `GuardFailedError`.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from swarmproof.config import read_toml, validate
from swarmproof.config.settings import Table
from swarmproof.engines.joining import MAX_SWARM_FILE, SwarmMember
from swarmproof.exchange.base import Gathered, Session
from swarmproof.exchange.net.plugin import Net, require_installed
from swarmproof.integrations.configured import GuardFailedError, missing
from swarmproof.integrations.genrl import codec
from swarmproof.integrations.genrl.filter import PayloadFilter

try:
    from genrl.communication import Communication
except ImportError as error:
    if error.name != "genrl":
        raise
    raise missing("genrl", "gensyn-genrl", "pip install gensyn-genrl") from None

log = logging.getLogger("swarmproof.genrl")
Played = Future[tuple[int, Gathered]]  # the round's number, and what came
_ARCHIVE, _CERTIFICATES = "genrl.archive", "certificates.pem"


class SwarmOfGames(Table):
    """What all nodes of a GenRL swarm share."""

    name: Annotated[str, Field(min_length=1, max_length=64, description="of the swarm")]
    max_bytes: Annotated[
        int, Field(ge=1024, le=2**28, description="of a node's message in a stage")
    ] = 2**20
    exchange: dict[str, Any] = Field(default={}, description="parameters of the exchange `net`")
    nodes: Annotated[tuple[SwarmMember, ...], Field(min_length=2, description="in an order")]

    @classmethod
    def read(cls, path: Path) -> SwarmOfGames:
        """Read the file.

        Raises:
            ValueError: one line with the remedy.
        """
        table = read_toml(path, "a swarm's file", MAX_SWARM_FILE)
        try:
            return validate(cls, table)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    @property
    def run_id(self) -> str:
        text = f"genrl {codec.VERSION} {self.max_bytes} {self.name}"
        return hashlib.sha256(text.encode()).hexdigest()


def _node(
    shared: SwarmOfGames, folder: Path, listen: Sequence[str], connect: Sequence[str]
) -> tuple[Net, str, tuple[str, ...]]:
    """The exchange, this node's id, and the ids of all nodes."""
    from swarmproof.exchange.net.keys import Signer, require_certificates
    from swarmproof.exchange.net.roster import Roster

    roster = Roster.of([member.key for member in shared.nodes])
    signer = Signer.open(folder)
    try:
        number = roster.number(signer.public)
    finally:
        signer.close()
    if any(endpoint.startswith("tls/") for endpoint in (*listen, *connect)):
        require_certificates([member.certificate for member in shared.nodes], number, folder)
    certificates = folder / _CERTIFICATES
    try:
        certificates.write_text("\n".join(member.certificate for member in shared.nodes))
    except OSError as error:
        raise ValueError(f"cannot write {certificates}: {error.strerror}") from None
    ids = tuple(key.hex() for key in roster.keys)
    own = {
        "roster": ids,
        "key": folder,
        "certificates": certificates,
        "archive": folder / _ARCHIVE,
        "listen": list(listen),
        "peers": list(connect),
    }
    net = validate(Net, {**shared.exchange, **own})
    net.require(len(shared.nodes))
    return net, ids[number], ids


class SignedBackend(Communication):  # type: ignore[misc]
    """A node of a GenRL swarm. Its id, as that of its peers, is its public key.

    GenRL's `Communication.create` fills these parameters by their names.

    Args:
        swarm: the file that all nodes share, see docs/guard-adapters.md.
        key: folder of this node's keys, made by `swarmproof node init`. The archive of what was
            agreed on is kept there, too.
        listen: where this node listens, such as `tls/0.0.0.0:7447`.
        connect: where some peers listen.
        payload_filter: looks at all payloads of a stage; those that it refuses do not arrive.

    Raises:
        ValueError: the settings do not fit, the key is in use, the network cannot be joined.
    """

    def __init__(
        self,
        swarm: str | Path | None = None,
        key: str | Path | None = None,
        listen: Sequence[str] = (),
        connect: Sequence[str] = (),
        payload_filter: PayloadFilter | None = None,
    ) -> None:
        require_installed()
        if swarm is None or key is None:
            raise ValueError(
                "SignedBackend needs `swarm`, the file that all nodes share, and `key`, the folder "
                "of `swarmproof node init`"
            )
        self._filter = payload_filter
        shared, folder = SwarmOfGames.read(Path(swarm)), Path(key)
        self._max_bytes = shared.max_bytes
        self._net, self._id, nodes = _node(shared, folder, listen, connect)
        session = Session(shared.run_id, nodes, frozenset({self._id}), shared.max_bytes)
        self._nodes = nodes
        terms = self._net.terms(len(nodes))
        # Nodes meet, and play a round; see `exchange.net.rounds`.
        self.patience = 2 * self._net.deadline + (terms.faults + 2) * terms.step
        self._channel = self._net.connect(session)
        self._round = self._channel.next_round
        self._playing: Played | None = None
        self.absent: Mapping[str, str] = {}

    def get_id(self) -> str:
        return self._id

    def all_gather_object(self, obj: Any, *_: Any, **__: Any) -> dict[str, codec.Sent]:
        """Send this node's payloads of a stage, and return what arrived of all nodes.

        Returns after `patience` seconds at most. If the stage is not decided by then, only this
        node's own payloads are returned. The stage is then still played in the background, and the
        next call returns what comes of it, unless it was decided before that call.

        Args:
            obj: lists of payloads by the id of their question.
            _: not used, and neither are keywords; other back ends take a group here.

        Returns:
            the payloads by node and question, this node's own among them as they are.

        Raises:
            GuardFailedError: `obj` cannot be sent, the exchange failed, or the guard did.
        """
        end = time.monotonic() + self.patience
        body = self._body(obj)
        self._wait(time.monotonic())  # a stage that was decided too late is over
        if self._playing is None:
            self._playing = _in_background(self._play, body)
        played = self._wait(end)
        if played is None:
            log.warning("no stage was decided in %.0f s; going on alone", self.patience)
            self.absent = dict.fromkeys(self._peers, "undecided")
            return {self._id: obj}
        return {**self._read(*played), self._id: obj}

    def put(self, obj: Any, sub_key: bytes = b"") -> None:  # noqa: ARG002 - GenRL's signature
        """Not carried: says so."""
        log.warning("SignedBackend carries stages only; what was put under %r is dropped", sub_key)

    def get(self, sub_key: bytes = b"") -> dict[str, Any]:
        """Nothing, as nothing is carried: says so."""
        log.warning("SignedBackend carries stages only; there is nothing under %r", sub_key)
        return {}

    def close(self) -> None:
        """Leave the swarm, after a while in which peers may still ask."""
        if self._wait(time.monotonic() + self._net.stay) is None and self._playing is not None:
            log.warning("leaving before a stage was decided")
            self._channel.leave()  # which ends the thread, too
        else:
            self._channel.close()

    @property
    def _peers(self) -> list[str]:
        return [node for node in self._nodes if node != self._id]

    def _body(self, obj: Any) -> bytes:
        try:
            body = codec.encode(obj)
        except ValueError as error:
            raise GuardFailedError(f"swarmproof: this stage cannot be sent: {error}") from None
        if len(body) > self._max_bytes:
            raise GuardFailedError(
                f"swarmproof: this stage has {len(body)} bytes, more than {self._max_bytes}; set a "
                "larger max_bytes in the swarm's file, on all nodes"
            )
        return body

    def _wait(self, end: float) -> tuple[int, Gathered] | None:
        """The stage that is played, if it is decided in time."""
        if self._playing is None:
            return None
        wait([self._playing], max(0.0, end - time.monotonic()))
        if not self._playing.done():
            return None
        played, self._playing = self._playing, None
        if error := played.exception():
            raise GuardFailedError(f"swarmproof: the exchange failed: {error}") from error
        return played.result()

    def _play(self, body: bytes) -> tuple[int, Gathered]:
        """Play rounds until one in which this node took part."""
        while True:
            round = self._round
            self._channel.publish(round, self._id, body)
            gathered = self._channel.gather(round, self._nodes, self._net.deadline)
            self._round += 1
            if self._id in gathered.payloads or not self._channel.behind:
                return round, gathered

    def _read(self, round: int, gathered: Gathered) -> dict[str, codec.Sent]:
        """The payloads that are well-formed and pass."""
        absent = {str(node): reason for node, reason in gathered.absent.items()}
        read: dict[str, codec.Sent] = {}
        for node, body in gathered.payloads.items():
            try:
                read[str(node)] = codec.decode(body)
            except ValueError as error:
                log.warning("round %d: node %s: %s", round, node, error)
                absent[str(node)] = "malformed"
        for node, reason in gathered.absent.items():
            log.warning("round %d: nothing of node %s: %s", round, node, reason)
        self.absent = absent
        return read if self._filter is None else self._filter(read, step=round)


def _in_background(play: Callable[[bytes], tuple[int, Gathered]], body: bytes) -> Played:
    """A thread that does not keep the process from ending, as one of a pool would."""
    played: Played = Future()

    def run() -> None:
        try:
            played.set_result(play(body))
        except BaseException as error:  # noqa: BLE001 - raised again by who waits
            played.set_exception(error)

    threading.Thread(target=run, name="swarmproof-genrl", daemon=True).start()
    return played
