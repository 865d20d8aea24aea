"""The archive: whole frames only, nothing in the middle can be changed, and hostile entries."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signing import RUN, header_of, roster_of, signed, signers
from swarmproof.exchange.net import archive
from swarmproof.exchange.net.agreement import RoundRules
from swarmproof.exchange.net.archive import AgreedRound, Archive
from swarmproof.exchange.net.envelope import EnvelopeError, Kind
from swarmproof.exchange.net.messages import message

KEYS = signers(4)
RULES = RoundRules(RUN, 3, roster_of(KEYS), 1, 100)


def agreed(nodes: tuple[int, ...] = (0, 1, 2), **changes: Any) -> AgreedRound:
    """Round 3, in which the messages of some nodes count."""
    plain = AgreedRound(
        round=3,
        headers={n: signed(KEYS[n], header_of(n)).encode() for n in nodes},
        bodies=dict.fromkeys(nodes, b"body"),
        equivocators=[],
        evidence=[],
        outcomes={},
    )
    return msgspec.structs.replace(plain, **changes)


def statement(node: int, digest: bytes, **changes: Any) -> bytes:
    at: dict[str, Any] = {"run": RUN, "round": 3, "node": node, "kind": Kind.OUTCOME, **changes}
    return message(KEYS[node], at.pop("kind"), digest, **at)


def pair(node: int) -> bytes:
    return b"".join(signed(KEYS[node], header_of(node, body)).encode() for body in (b"a", b"b"))


def read(entry: AgreedRound) -> AgreedRound:
    return archive.decode(archive.encode(entry), RULES)


def test_an_agreed_round_comes_back_and_counts_those_who_state_it() -> None:
    digest = agreed().decision().digest(RULES)
    said = {0: statement(0, digest), 1: statement(1, bytes(32)), 2: statement(2, digest)}
    found = read(agreed(outcomes=said))
    assert found == agreed(outcomes=said)
    assert archive.supporters(found, RULES) == {0, 2}
    said[3] = statement(3, digest, attempt=4)  # of another turn
    assert archive.supporters(read(agreed(outcomes=said)), RULES) == {0, 2}
    assert read(agreed((0, 1), equivocators=[3], evidence=[pair(3)])).equivocators == [3]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"round": 4}, "replayed"),
        ({"bodies": {0: b"body", 1: b"body", 2: b"ydob"}}, "malformed"),
        ({"bodies": {0: b"body", 1: b"body"}}, "malformed"),
        ({"headers": {}}, "malformed"),
        ({"headers": {n: signed(KEYS[0], header_of(0)).encode() for n in range(3)}}, "replayed"),
        ({"headers": {n: signed(KEYS[3], header_of(n)).encode() for n in range(3)}}, "signature"),
        ({"equivocators": [3]}, "malformed"),  # without a proof
        ({"equivocators": [3], "evidence": [pair(2)]}, "malformed"),
        ({"equivocators": [2], "evidence": [pair(2)]}, "malformed"),  # and counts
        ({"evidence": [pair(3)[:-1]]}, "malformed"),
        ({"outcomes": {0: statement(1, bytes(32))}}, "malformed"),
        (
            {"outcomes": {0: message(KEYS[0], Kind.VOTE, bytes(32), run=RUN, round=3, node=0)}},
            "malformed",
        ),
        ({"outcomes": {0: statement(0, bytes(32), round=2)}}, "replayed"),
        ({"outcomes": {0: statement(0, b"short")}}, "malformed"),
        ({"outcomes": {0: b""}}, "malformed"),
    ],
)
def test_what_nodes_did_not_sign_is_refused(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(EnvelopeError, match=fault):
        read(agreed(**changes))


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(raw: bytes) -> None:
    with pytest.raises(EnvelopeError):
        archive.decode(raw, RULES)


def test_the_digest_of_an_outcome_tells_who_counts_who_is_out_and_in_which_run_and_round() -> None:
    entries = [agreed(), agreed((0, 1)), agreed((0, 1), equivocators=[2]), agreed((0, 1, 3))]
    other_run = RoundRules(bytes(32), 3, RULES.roster, 1, 100)
    other_round = RoundRules(RUN, 4, RULES.roster, 1, 100)
    digests = [entry.decision().digest(RULES) for entry in entries]
    digests += [agreed().decision().digest(rules) for rules in (other_run, other_round)]
    assert len(set(digests)) == 6
    # What a node saw for itself is not in it.
    assert agreed(absent={3: "late"}).decision().digest(RULES) == digests[0]


def filled(path: Path, rounds: int = 3) -> Archive:
    found = Archive(path)
    for round in range(rounds):
        found.append(round, archive.encode(agreed(round=round)))
    return found


def test_rounds_are_there_after_a_restart(tmp_path: Path) -> None:
    filled(tmp_path / "a")
    again = Archive(tmp_path / "a")
    assert again.last == 2
    assert [again.read(n) for n in range(4)] == [
        *(archive.encode(agreed(round=n)) for n in range(3)), None,
    ]  # fmt: skip
    again.append(3, b"\x81\xa5round\x03")
    assert Archive(tmp_path / "a").last == 3


@pytest.mark.parametrize("cut", [1, 40, 200])
def test_a_half_written_round_is_cut_off_and_written_again(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a"
    filled(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    again = Archive(path)
    assert again.last == 1
    again.append(2, archive.encode(agreed(round=2)))
    assert path.read_bytes() == whole


def test_a_full_disk_adds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a"
    found, entry = filled(path), archive.encode(agreed(round=3))
    whole = path.read_bytes()
    _, hard = before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 100, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            found.append(3, entry)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == whole
    found.append(3, entry)
    assert Archive(path).read(3) == entry


def test_nothing_in_the_middle_can_be_changed_or_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a"
    filled(path)
    whole, frame = path.read_bytes(), (path.stat().st_size - 21) // 3
    for damaged in (
        whole[:100] + bytes([whole[100] ^ 1]) + whole[101:],
        whole[: 21 + frame] + whole[21 + 2 * frame :],
        whole[21:],
        b"another file",
    ):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"damaged|not an archive") as caught:
            Archive(path)
        assert "\n" not in str(caught.value)


def test_without_a_file_the_last_rounds_are_kept(tmp_path: Path) -> None:
    found = Archive(None)
    for round in range(9):
        found.append(round, b"%d" % round)
    assert (found.last, found.read(8), found.read(0)) == (8, b"8", None)
    assert list(tmp_path.iterdir()) == []
