"""The exchange within one process: a round's messages, and nothing of another round."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from swarmproof.exchange import Channel, Memory, Session
from swarmproof.types import NodeId

NODES: tuple[NodeId, ...] = (0, 1, 2)


def opened(local: frozenset[NodeId] = frozenset(NODES)) -> Channel:
    return Memory().connect(Session("run", NODES, local, max_bytes=100))


def payloads(channel: Channel, round: int) -> Mapping[NodeId, bytes]:
    """What came in, whoever did not send being told as missing."""
    found = channel.gather(round, NODES, 0.0)
    assert dict(found.absent) == {n: "missing" for n in NODES if n not in found.payloads}
    assert found.evidence == ()
    return found.payloads


def test_every_message_of_a_round_is_gathered_by_node() -> None:
    channel = opened()
    channel.publish(0, 2, b"two")
    channel.publish(0, 1, b"one")
    assert list(payloads(channel, 0).items()) == [(1, b"one"), (2, b"two")]


def test_only_whose_messages_are_wanted_is_told_of() -> None:
    channel = opened()
    channel.publish(0, 2, b"two")
    found = channel.gather(0, (1,), 0.0)
    assert (dict(found.payloads), dict(found.absent)) == ({}, {1: "missing"})


def test_the_last_message_of_a_node_counts() -> None:
    channel = opened()
    channel.publish(0, 1, b"first")
    channel.publish(0, 1, b"second")
    assert payloads(channel, 0) == {1: b"second"}


def test_a_round_sees_nothing_of_another() -> None:
    channel = opened()
    channel.publish(0, 1, b"old")
    assert payloads(channel, 1) == {}
    channel.publish(1, 2, b"new")
    assert payloads(channel, 1) == {2: b"new"}
    assert payloads(channel, 0) == {}


def test_what_was_gathered_does_not_change_any_more() -> None:
    channel = opened()
    channel.publish(0, 1, b"one")
    gathered = payloads(channel, 0)
    assert isinstance(gathered, dict)
    gathered.clear()
    assert payloads(channel, 0) == {1: b"one"}


def test_nodes_of_another_process_are_out_of_its_reach() -> None:
    with pytest.raises(ValueError, match=r"reach node 0, .* use another exchange") as caught:
        opened(frozenset({1, 2}))
    assert "\n" not in str(caught.value)
