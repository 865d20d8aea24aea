"""Keys: secret, locked while in use, and never used for two messages of one round."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography import x509

from signing import RUN
from swarmproof.exchange.net import keys
from swarmproof.exchange.net.ballot import Cast
from swarmproof.exchange.net.envelope import NOTHING
from swarmproof.exchange.net.keys import Signer, make_keys
from swarmproof.exchange.net.roster import Roster

A, B = b"a" * 32, b"b" * 32


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_keys(tmp_path / "node", "ann")
    return tmp_path / "node"


def test_a_key_signs_for_the_public_key_that_was_told(tmp_path: Path) -> None:
    told = make_keys(tmp_path / "node", "ann")
    signer = Signer.open(tmp_path / "node")
    assert signer.public.hex() == told
    roster = Roster.of([told])
    assert roster.verifies(0, signer.sign(b"text"), b"text")
    assert not roster.verifies(0, signer.sign(b"text"), b"test")


def test_secrets_are_for_their_owner_only(folder: Path) -> None:
    assert {p.name: p.stat().st_mode & 0o777 for p in folder.iterdir() if p.suffix == ".key"} == {
        keys.KEY: 0o600,
        keys.TLS_KEY: 0o600,
    }
    certificate = x509.load_pem_x509_certificate((folder / keys.CERTIFICATE).read_bytes())
    assert "CN=ann" in certificate.subject.rfc4514_string()
    (folder / keys.KEY).chmod(0o640)
    with pytest.raises(ValueError, match=r"others can read .*chmod 600"):
        Signer.open(folder)


def test_a_key_is_not_written_over(folder: Path) -> None:
    before = (folder / keys.KEY).read_bytes()
    with pytest.raises(ValueError, match="exists; choose another folder"):
        make_keys(folder, "bob")
    assert (folder / keys.KEY).read_bytes() == before


def test_a_key_that_is_in_use_is_refused_until_it_is_free(folder: Path) -> None:
    first = Signer.open(folder)
    with pytest.raises(ValueError, match=r"node\.key is in use by another process"):
        Signer.open(folder)
    first.close()
    Signer.open(folder).close()


def test_a_round_is_signed_once_also_after_a_restart(folder: Path) -> None:
    signer = Signer.open(folder)
    signer.note(RUN, 4, A)
    signer.note(RUN, 4, A)  # a node that resumes sends the same again
    signer.close()
    again = Signer.open(folder)
    assert again.last_round(RUN) == 4
    assert again.previous(RUN, 4) == NOTHING
    assert again.previous(RUN, 5) == A
    with pytest.raises(ValueError, match=r"already signed round 4.*round 4 now; put back"):
        again.note(RUN, 4, B)
    with pytest.raises(ValueError, match=r"already signed round 4.*round 3 now"):
        again.note(RUN, 3, B)
    again.note(RUN, 5, B)
    again.note(bytes(32), 0, B)  # another run
    assert again.last_round(RUN) == 5
    assert again.previous(RUN, 5) == A


def test_what_was_stated_of_an_outcome_is_kept_over_a_restart(folder: Path) -> None:
    signer = Signer.open(folder)
    assert signer.stated(RUN, 3) == Cast()
    signer.note(RUN, 3, A)
    cast = Cast(2, A, 1, B, 1, B)
    signer.state(RUN, 3, cast)
    signer.note(RUN, 4, B)
    signer.close()
    again = Signer.open(folder)
    assert again.stated(RUN, 3) == cast
    assert again.stated(RUN, 4) == Cast()
    assert again.stated(bytes(32), 3) == Cast()
    assert again.last_round(RUN) == 4
    again.close()


@pytest.mark.parametrize(
    "content", ["", "[]", '{"run": 3}', '{"run": {"round": 1, "digest": "x", "previous": "y"}}']
)
def test_a_damaged_memory_stops_the_node(folder: Path, content: str) -> None:
    signer = Signer.open(folder)
    signer.note(RUN, 1, A)
    signer.close()
    (folder / "signed.json").write_text(content)
    with pytest.raises(ValueError, match="damaged"):
        Signer.open(folder)
    row = {"round": 1, "digest": A.hex(), "previous": NOTHING.hex()}
    (folder / "signed.json").write_text(json.dumps({RUN.hex(): row}))
    assert Signer.open(folder).last_round(RUN) == 1


@pytest.mark.parametrize("content", [b"", b"x", b"-----BEGIN PRIVATE KEY-----\n"])
def test_what_is_no_key_is_one_line(folder: Path, content: bytes) -> None:
    (folder / keys.KEY).write_bytes(content)
    with pytest.raises(ValueError, match="holds no Ed25519 key") as caught:
        Signer.open(folder)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="swarmproof node init"):
        Signer.open(folder / "none")


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["aa" * 32, "bb"], "the key of node 1, 'bb', is not 64 hexadecimal digits"),
        (["xx" * 32], "the key of node 0"),
        (["aa" * 32, "bb" * 32, "aa" * 32], "nodes 0 and 2 have the same key"),
    ],
)
def test_a_roster_that_does_not_fit_is_one_line(texts: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        Roster.of(texts)
    assert "\n" not in str(caught.value)


def test_a_roster_numbers_keys_and_names_the_swarm() -> None:
    roster = Roster.of(["aa" * 32, "bb" * 32])
    assert roster.number(bytes.fromhex("bb" * 32)) == 1
    with pytest.raises(ValueError, match="not in the roster; add it"):
        roster.number(bytes(32))
    other = Roster.of(["bb" * 32, "aa" * 32])
    ids = {
        roster.swarm_id("run", 1, 3),
        roster.swarm_id("other", 1, 3),
        roster.swarm_id("run", 2, 3),
        roster.swarm_id("run", 1, 2),
        other.swarm_id("run", 1, 3),
    }
    assert len(ids) == 5
