"""The exchange within one process: a round's messages, and nothing of another round."""

from __future__ import annotations

from swarmproof.exchange import Memory


def test_every_message_of_a_round_is_gathered_by_node() -> None:
    channel = Memory().connect()
    channel.publish(0, 2, b"two")
    channel.publish(0, 1, b"one")
    assert list(channel.gather(0).items()) == [(1, b"one"), (2, b"two")]


def test_the_last_message_of_a_node_counts() -> None:
    channel = Memory().connect()
    channel.publish(0, 1, b"first")
    channel.publish(0, 1, b"second")
    assert channel.gather(0) == {1: b"second"}


def test_a_round_sees_nothing_of_another() -> None:
    channel = Memory().connect()
    channel.publish(0, 1, b"old")
    assert channel.gather(1) == {}
    channel.publish(1, 2, b"new")
    assert channel.gather(1) == {2: b"new"}
    assert channel.gather(0) == {}


def test_what_was_gathered_does_not_change_any_more() -> None:
    channel = Memory().connect()
    channel.publish(0, 1, b"one")
    gathered = channel.gather(0)
    gathered.clear()
    assert channel.gather(0) == {1: b"one"}
