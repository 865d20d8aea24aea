"""Who takes part: the public keys of all nodes, in the order of their numbers.

The roster comes from the operator, never from the network: a dead peer is only silence there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

KEY_BYTES = 32
_SWARM_TAG = b"swarmproof/swarm/1"


@dataclass(frozen=True)
class Roster:
    """Public Ed25519 keys, one for each node."""

    keys: tuple[bytes, ...]

    @classmethod
    def of(cls, keys: Sequence[str]) -> Roster:
        """A roster from keys in hexadecimal digits, as `swarmproof node init` prints them.

        Raises:
            ValueError: a key is none, or stands twice.
        """
        found: list[bytes] = []
        for node, text in enumerate(keys):
            try:
                key = bytes.fromhex(text)
            except ValueError:
                key = b""
            if len(key) != KEY_BYTES:
                raise ValueError(
                    f"the key of node {node}, {text[:20]!r}, is not {2 * KEY_BYTES} hexadecimal "
                    "digits; copy what `swarmproof node init` printed"
                )
            if key in found:
                raise ValueError(
                    f"nodes {found.index(key)} and {node} have the same key; make a key for each "
                    "with `swarmproof node init`"
                )
            found.append(key)
        return cls(tuple(found))

    def number(self, key: bytes) -> int:
        """The number of the node with this public key.

        Raises:
            ValueError: no node has it.
        """
        if key not in self.keys:
            raise ValueError(
                f"the key {key.hex()} is not in the roster; add it there, on all nodes, or use the "
                "key of a node that is in it"
            )
        return self.keys.index(key)

    def swarm_id(self, run_id: str, faults: int, quorum: int) -> bytes:
        """32 bytes that all nodes of a swarm share, and no other swarm.

        Args:
            run_id: of the exchange: config, data and models.
            faults: number of liars that the agreement is safe against.
            quorum: number of nodes that a round needs.
        """
        digest = hashlib.sha256(_SWARM_TAG)
        for part in (run_id.encode(), f"{faults},{quorum}".encode(), *self.keys):
            digest.update(len(part).to_bytes(8, "big") + part)
        return digest.digest()

    def verifies(self, node: int, signature: bytes, message: bytes) -> bool:
        """Whether the node signed the message."""
        try:
            self._public[node].verify(signature, message)
        except InvalidSignature:
            return False
        return True

    @cached_property
    def _public(self) -> tuple[Ed25519PublicKey, ...]:
        return tuple(map(Ed25519PublicKey.from_public_bytes, self.keys))
