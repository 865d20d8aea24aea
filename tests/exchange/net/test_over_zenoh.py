"""Zenoh: peers find one another through one of them, strangers are kept out, silence is silence."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import zenoh

from swarmproof.exchange.net import keys
from swarmproof.exchange.net.over_zenoh import Links, ZenohTransport
from swarmproof.exchange.net.transport import Answer

LARGEST = 1 << 20


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Net:
    """Some peers in this process; all but the first know the first alone."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.port = folder, free_port()
        for node in range(count + 1):  # the last one is a stranger
            keys.make_keys(folder / str(node), f"node-{node}")
        certificates = [(folder / str(n) / keys.CERTIFICATE).read_bytes() for n in range(count)]
        (folder / "all.pem").write_bytes(b"".join(certificates))
        self.peers = [self.join(node) for node in range(count)]

    def join(self, node: int, swarm: str = "ab", own: int | None = None) -> ZenohTransport:
        first = f"tls/127.0.0.1:{self.port}"
        listen = (first,) if node == 0 and own is None else (f"tls/127.0.0.1:{free_port()}",)
        links = Links(
            listen,
            () if listen == (first,) else (first,),
            self.folder / str(node if own is None else own),
            self.folder / "all.pem",
        )
        return ZenohTransport(swarm, node, links, LARGEST)


def ask(asker: ZenohTransport, node: int, key: str, limit: int = 100) -> list[Answer]:
    """All replies to one question."""
    asker.ask(node, key, limit, 2.0)
    found: list[Answer] = []
    while not found or not found[-1].is_end:
        found += asker.answers(5.0)
    return found[:-1]


def value(asker: ZenohTransport, node: int, key: str) -> bytes | None:
    """A reply, once the peers have found one another."""
    for _ in range(50):
        if found := ask(asker, node, key):
            return found[0].value
        asker.answers(0.1)
    return None


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    net = Net(tmp_path_factory.mktemp("zenoh"), 3)
    yield net
    for peer in net.peers:
        peer.close()


def test_peers_find_one_another_through_one_of_them(net: Net) -> None:
    for node, peer in enumerate(net.peers):
        peer.serve("k/x", b"of %d" % node)
    assert value(net.peers[2], 1, "k/x") == b"of 1"
    assert value(net.peers[1], 2, "k/x") == b"of 2"
    assert value(net.peers[1], 0, "k/x") == b"of 0"


def test_what_is_not_served_is_silence_at_once(net: Net) -> None:
    net.peers[0].serve("k/y", b"there")
    assert value(net.peers[1], 0, "k/y") == b"there"
    assert ask(net.peers[1], 0, "k/z") == []
    assert ask(net.peers[1], 7, "k/y") == []
    net.peers[0].withdraw("k/y")
    assert ask(net.peers[1], 0, "k/y") == []
    net.peers[0].serve_from(lambda key: key.encode() if key == "old" else None)
    assert value(net.peers[1], 0, "old") == b"old"


def test_a_value_above_the_limit_is_not_taken(net: Net) -> None:
    net.peers[0].serve("big", b"x" * 500_000)
    assert value(net.peers[1], 0, "k/x") is not None
    (found,) = ask(net.peers[1], 0, "big", limit=499_999)
    assert found == Answer(0, "big", None, oversized=True)
    (found,) = ask(net.peers[1], 0, "big", limit=500_000)
    assert found.value == b"x" * 500_000


def test_a_stranger_and_another_swarm_get_nothing(net: Net) -> None:
    net.peers[0].serve("k/x", b"of 0")
    stranger, other = net.join(5, own=3), net.join(5, swarm="cd", own=2)
    same = net.join(5, own=2)  # the control: a certificate and a swarm that fit
    try:
        assert value(same, 0, "k/x") == b"of 0"
        assert ask(stranger, 0, "k/x") == []
        assert ask(other, 0, "k/x") == []
    finally:
        for each in (stranger, other, same):
            each.close()


def test_an_impostor_among_the_peers_does_not_hide_the_node(net: Net) -> None:
    """TLS proves no sender. Both replies arrive, and the signature tells which is which."""
    impostor = net.join(0, own=2)
    try:
        net.peers[0].serve("k/w", b"honest")
        impostor.serve("k/w", b"forged")
        for _ in range(50):
            found = {answer.value for answer in ask(net.peers[1], 0, "k/w")}
            if len(found) == 2:
                break
        assert found == {b"honest", b"forged"}
    finally:
        impostor.close()


def test_a_flood_of_replies_does_not_hide_the_node(net: Net) -> None:
    """An impostor answers every question of everybody fifty times."""
    impostor = net.join(7, own=2)

    def flood(query: zenoh.Query) -> None:
        with query:
            for n in range(50):
                query.reply(query.key_expr, b"rubbish %d" % n)

    try:
        impostor._session.declare_queryable("swarmproof/ab/**", flood, complete=True)
        net.peers[0].serve("k/v", b"honest")
        for _ in range(50):
            if len(ask(net.peers[1], 0, "k/v")) == 2:
                break
        answers = [ask(net.peers[1], 0, "k/v") for _ in range(30)]
        assert all(b"honest" in {answer.value for answer in found} for found in answers)
        assert {len(found) for found in answers} == {2}
    finally:
        impostor.close()


def test_a_port_in_use_is_one_line(net: Net) -> None:
    links = Links((f"tls/127.0.0.1:{net.port}",), (), net.folder / "1", net.folder / "all.pem")
    with pytest.raises(ValueError, match=r"cannot join the network.*in use") as caught:
        ZenohTransport("ab", 1, links, LARGEST)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("links", "words"),
    [
        (Links(), "the node would be alone"),
        (Links(("tcp/0.0.0.0:7447",)), "open to anybody; use tls"),
        (Links(("tls/0.0.0.0:7447",)), r"needs exchange\.key and exchange\.certificates"),
        (Links(("10.0.0.2:7447",)), "is not like tls/HOST:PORT"),
        (Links(("tls/10.0.0.2",)), "is not like tls/HOST:PORT"),
        (Links((), ("udp/10.0.0.2:1",)), "is not like tls/HOST:PORT"),
    ],
)
def test_links_that_leave_a_node_alone_or_open_are_refused(links: Links, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        links.require()
    Links(("tcp/127.0.0.1:7447",), ("tcp/localhost:7448",)).require()
