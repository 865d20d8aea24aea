"""A node's keys: Ed25519 to sign with, and a TLS certificate to be let in with.

A key that signs two messages for one round looks like a liar to everybody. Honest operators do
that by starting one key twice, or by starting it with an old archive. So a key is locked while it
is used, and remembers beside itself the last round that it signed in each run.
"""

from __future__ import annotations

import datetime
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID
from msgspec import structs

from swarmproof.exchange.net.ballot import Cast
from swarmproof.exchange.net.envelope import NOTHING

KEY, TLS_KEY, CERTIFICATE = "node.key", "tls.key", "tls.crt"
_SIGNED = "signed.json"
_YEARS = 10


_Hash = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
_Outcome = Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{64})?$")]


class _Last(msgspec.Struct, frozen=True):
    """The last header that a key signed in a run, and what it stated of the last outcome."""

    round: int
    digest: _Hash
    previous: _Hash
    stated_round: int = -1
    turn: int = 0
    vote: _Outcome = ""
    commit_turn: int = -1
    commit: _Outcome = ""
    lock_turn: int = -1
    lock: _Outcome = ""


_FIRST = _Last(-1, NOTHING.hex(), NOTHING.hex())


class Signer:
    """Signs for one node. Without a folder: a key for one process, which forgets it."""

    def __init__(self, key: Ed25519PrivateKey, folder: Path | None = None) -> None:
        self._key, self._folder = key, folder
        self._lock: int | None = None
        self._signed: dict[str, _Last] = {}

    @classmethod
    def new(cls) -> Signer:
        """A signer with a fresh key in memory."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def open(cls, folder: Path) -> Signer:
        """The signer of a folder that `make_keys` made, locked for this process until `close`.

        Raises:
            ValueError: no key, or the key is in use, readable by others, or damaged.
        """
        path = folder / KEY
        try:
            raw, mode = path.read_bytes(), path.stat().st_mode
        except OSError as error:
            raise ValueError(
                f"cannot read {path}: {error.strerror}; make a key with `swarmproof node init "
                f"{folder}`"
            ) from None
        if mode & 0o077:
            raise ValueError(f"others can read {path}; run `chmod 600 {path}`")
        try:
            key = serialization.load_pem_private_key(raw, None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError(  # noqa: TRY004 - the mistake is in a file
                f"{path} holds no Ed25519 key; put back the file of `node init`"
            )
        signer = cls(key, folder)
        signer._take(path)
        return signer

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""
        return self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """The signature of a message, 64 bytes; the same each time."""
        return self._key.sign(message)

    def previous(self, run: bytes, round: int) -> bytes:
        """Hash of the last header that this key signed in a round before this one."""
        last = self._signed.get(run.hex())
        if last is None:
            return NOTHING
        return bytes.fromhex(last.previous if last.round == round else last.digest)

    def last_round(self, run: bytes) -> int:
        """The last round that this key signed a message in; -1 if none."""
        last = self._signed.get(run.hex())
        return -1 if last is None else last.round

    def note(self, run: bytes, round: int, digest: bytes) -> None:
        """Remember that this key signs this header, on disk, before anybody can see it.

        Raises:
            ValueError: it has signed another header for this round, or a later round.
            OSError: the folder cannot be written.
        """
        last = self._signed.get(run.hex())
        if last is not None and (last.round, last.digest) == (round, digest.hex()):
            return
        if last is not None and last.round >= round:
            raise ValueError(
                f"this key has already signed round {last.round}, and would sign round {round} "
                "now; put back the node's newest archive and checkpoint, or make a new key"
            )
        self._write(run, structs.replace(
            last or _FIRST,
            round=round, digest=digest.hex(), previous=self.previous(run, round).hex(),
        ))  # fmt: skip

    def stated(self, run: bytes, round: int) -> Cast:
        """What this key has stated of the outcome of a round, also before a restart."""
        last = self._signed.get(run.hex(), _FIRST)
        if last.stated_round != round:
            return Cast()
        vote, commit, lock = map(bytes.fromhex, (last.vote, last.commit, last.lock))
        return Cast(last.turn, vote, last.commit_turn, commit, last.lock_turn, lock)

    def state(self, run: bytes, round: int, cast: Cast) -> None:
        """Remember on disk what this key states of an outcome, before anybody can see it.

        Raises:
            OSError: the folder cannot be written.
        """
        last = self._signed.get(run.hex(), _FIRST)
        self._write(run, structs.replace(
            last,
            stated_round=round, turn=cast.turn, vote=cast.vote.hex(),
            commit_turn=cast.commit_turn, commit=cast.commit.hex(),
            lock_turn=cast.lock_turn, lock=cast.lock.hex(),
        ))  # fmt: skip

    def _write(self, run: bytes, last: _Last) -> None:
        self._signed[run.hex()] = last
        if self._folder is not None:
            _replace(self._folder / _SIGNED, msgspec.json.encode(self._signed))

    def close(self) -> None:
        """Let another process use the key."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _take(self, path: Path) -> None:
        self._lock = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._signed = _read_signed(path.with_name(_SIGNED))
        except BlockingIOError:
            self.close()
            raise ValueError(
                f"{path} is in use by another process; stop it, or give each node a key of its own"
            ) from None
        except ValueError:
            self.close()
            raise


def make_keys(folder: Path, name: str) -> str:
    """Make a node's keys in a folder; return the public key in hexadecimal digits.

    Args:
        folder: made if missing.
        name: the common name in the certificate.

    Raises:
        ValueError: the folder has a key already.
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if (folder / KEY).exists():
        raise ValueError(f"{folder / KEY} exists; choose another folder, or keep using this key")
    signing, tls = Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(tls.public_key())
        .serial_number(x509.random_serial_number())
        # A day early, for peers whose clocks are behind.
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365 * _YEARS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("swarmproof")]), critical=False)
        .sign(tls, hashes.SHA256())
    )
    _secret(folder / TLS_KEY, _pem(tls))
    (folder / CERTIFICATE).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    _secret(folder / KEY, _pem(signing))
    return signing.public_key().public_bytes_raw().hex()


def require_certificates(certificates: Sequence[str], node: int, folder: Path) -> None:
    """Check what would keep nodes out, which TLS does in silence.

    Args:
        certificates: of all nodes, in PEM, by number.
        node: number of this node.
        folder: of its keys.

    Raises:
        ValueError: one is missing, damaged or not valid now, or this node's is another one.
        OSError: this node's cannot be read.
    """
    now = datetime.datetime.now(datetime.UTC)
    read = [_certificate(text, number) for number, text in enumerate(certificates)]
    for number, each in enumerate(read):
        begin, end = each.not_valid_before_utc, each.not_valid_after_utc
        if not begin <= now <= end:
            raise ValueError(
                f"the certificate of node {number} is valid from {begin:%Y-%m-%d} to "
                f"{end:%Y-%m-%d}, and this machine's clock says {now:%Y-%m-%d}; set the clock, or "
                "make new keys"
            )
    if _certificate((folder / CERTIFICATE).read_text(errors="replace"), node) != read[node]:
        raise ValueError(
            f"the certificate of node {node} in the swarm's file is not {folder / CERTIFICATE}; "
            "all nodes need what `swarmproof node init` printed with this key"
        )


def _certificate(text: str, node: int) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(text.encode())
    except ValueError:
        raise ValueError(
            f"the certificate of node {node} is {'not whole' if text else 'missing'}; copy what "
            "`swarmproof node init` printed"
        ) from None


def _pem(key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _secret(path: Path, content: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123
        file.write(content)


def _replace(path: Path, content: bytes) -> None:
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _read_signed(path: Path) -> dict[str, _Last]:
    if not path.exists():
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, _Last])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ValueError(
            f"{path} is damaged, so it is unknown what this key has signed; make a new key"
        ) from None
