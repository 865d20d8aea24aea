"""The exchange through a shared folder: bytes as they are, late ones waited for, reasons told."""

from __future__ import annotations

import re
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarmproof.exchange import Channel, Folder, Session
from swarmproof.types import NodeId

NODES: tuple[NodeId, ...] = (0, 1, 2)
MAX_BYTES = 64


def opened(folder: Path, *local: NodeId, run_id: str = "run") -> Channel:
    """What one process of the swarm sees."""
    return Folder(path=folder).connect(Session(run_id, NODES, frozenset(local), MAX_BYTES))


def placed(folder: Path, round: int, node: NodeId) -> Path:
    """Where a message lies, for what no channel would do to it."""
    opened(folder, node).publish(round, node, b"")
    (path,) = folder.rglob(f"*{round}/{node}.msg")
    return path


@settings(max_examples=30)
@given(
    sent=st.dictionaries(st.sampled_from(NODES), st.binary(max_size=MAX_BYTES), min_size=1),
    round=st.integers(0, 10**9),
)
def test_bytes_arrive_as_they_were_sent(sent: dict[NodeId, bytes], round: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        for node, payload in sent.items():
            opened(Path(name), node).publish(round, node, payload)
        found = opened(Path(name), 0).gather(round, NODES, 0.0)
    # In the order in which they were asked for, whoever came first.
    assert list(found.payloads.items()) == [(n, sent[n]) for n in NODES if n in sent]
    assert dict(found.absent) == {n: "late" for n in NODES if n not in sent}
    assert found.evidence == ()


def test_a_round_or_a_run_sees_nothing_of_another(tmp_path: Path) -> None:
    opened(tmp_path, 0).publish(3, 0, b"of round 3")
    assert opened(tmp_path, 1).gather(4, (0,), 0.0).payloads == {}
    assert opened(tmp_path, 1, run_id="other").gather(3, (0,), 0.0).payloads == {}
    assert opened(tmp_path, 1).gather(3, (0,), 0.0).payloads == {0: b"of round 3"}


def test_a_late_message_is_waited_for_and_no_longer_than_the_last_one(tmp_path: Path) -> None:
    mine = opened(tmp_path, 0)
    mine.publish(0, 0, b"here")
    slow = threading.Timer(0.3, opened(tmp_path, 1).publish, (0, 1, b"late, in time"))
    began = time.monotonic()
    slow.start()
    found = mine.gather(0, (0, 1), 60.0)
    assert 0.3 <= time.monotonic() - began < 30
    assert (found.payloads, found.absent) == ({0: b"here", 1: b"late, in time"}, {})


def test_whoever_comes_after_the_deadline_is_late(tmp_path: Path) -> None:
    mine = opened(tmp_path, 0)
    mine.publish(0, 0, b"here")
    began = time.monotonic()
    found = mine.gather(0, NODES, 0.2)
    assert 0.2 <= time.monotonic() - began < 30
    assert (found.payloads, found.absent) == ({0: b"here"}, {1: "late", 2: "late"})


@pytest.mark.parametrize("size", [MAX_BYTES, MAX_BYTES + 1, 10**6])
def test_a_message_above_the_limit_is_told_as_oversized(tmp_path: Path, size: int) -> None:
    opened(tmp_path, 1).publish(0, 1, b"x" * size)
    found = opened(tmp_path, 0).gather(0, (1,), 60.0)
    if size <= MAX_BYTES:
        assert (len(found.payloads[1]), found.absent) == (size, {})
    else:
        assert (found.payloads, found.absent) == ({}, {1: "oversized"})


def test_what_cannot_be_read_is_told_and_costs_the_others_nothing(tmp_path: Path) -> None:
    path = placed(tmp_path, 0, 1)
    path.unlink()
    path.mkdir()
    opened(tmp_path, 2).publish(0, 2, b"two")
    began = time.monotonic()
    found = opened(tmp_path, 0).gather(0, (1, 2), 60.0)
    assert time.monotonic() - began < 30, "there is nothing to wait for"
    assert (found.payloads, found.absent) == ({2: b"two"}, {1: "unreadable"})


def test_a_message_that_is_being_written_is_not_there_yet(tmp_path: Path) -> None:
    path = placed(tmp_path, 0, 1)
    path.unlink()
    path.with_suffix(".77.part").write_bytes(b"half a mess")
    assert opened(tmp_path, 0).gather(0, (1,), 0.0).absent == {1: "late"}


def test_a_resumed_node_may_send_the_same_bytes_again(tmp_path: Path) -> None:
    for _ in range(2):
        opened(tmp_path, 1).publish(0, 1, b"the same")
    assert opened(tmp_path, 0).gather(0, (1,), 0.0).payloads == {1: b"the same"}


def test_it_does_not_write_over_another_message(tmp_path: Path) -> None:
    opened(tmp_path, 1).publish(0, 1, b"of a run before")
    with pytest.raises(ValueError, match=r"exchange\.path.*exchange\.nonce") as caught:
        opened(tmp_path, 1).publish(0, 1, b"of this one")
    assert re.search(r"1\.msg holds another message of node 1", str(caught.value))
    assert "\n" not in str(caught.value)
    assert opened(tmp_path, 0).gather(0, (1,), 0.0).payloads == {1: b"of a run before"}


def test_nothing_is_left_behind_but_the_messages(tmp_path: Path) -> None:
    opened(tmp_path, 1).publish(0, 1, b"one")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["1.msg"]


def test_a_folder_that_cannot_be_written_is_one_line_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match=r"exchange\.path: cannot write .* another") as caught:
        opened(tmp_path / "file", 0)
    assert "\n" not in str(caught.value)
