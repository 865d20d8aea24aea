"""Signed messages under GenRL: real nodes over Zenoh on loopback, liars among them."""

from __future__ import annotations

import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from trainers import ALSO_GOOD, GOOD, POISON, WRONG, package, page_snippets

package("genrl")
pytest.importorskip("zenoh")

from genrl.communication import Communication

from genrl_games import Drawn, game, stage
from judging import Breaks
from swarmproof import Guard
from swarmproof.exchange.net import keys
from swarmproof.exchange.net.keys import Signer
from swarmproof.integrations.configured import GuardFailedError
from swarmproof.integrations.genrl import PayloadFilter, SignedBackend

QUESTIONS = ("What is 3 + 4?", "And 4 + 3?", "7 + 0?", "0 + 7?")
HONEST = [GOOD, ALSO_GOOD, WRONG, GOOD]
POISONED = [GOOD, POISON, WRONG, GOOD]
EQUATIONS = ({"name": "equations", "mode": "refuse"},)


def own(node: int, actions: Sequence[str] = HONEST) -> Any:
    """What a node sends."""
    return stage((QUESTIONS[node], actions))


class Swarm:
    """The file and the keys of a swarm; nodes find one another through node 0."""

    def __init__(self, folder: Path, num: int, **exchange: float) -> None:
        self.folder, self.num = folder, num
        self.ids = [keys.make_keys(folder / str(n), f"node-{n}") for n in range(num)]
        settings = {"deadline": 20.0, "step": 1.0, "stay": 0.5, **exchange}
        members = "".join(
            f'[[nodes]]\nkey = "{id}"\ncertificate = """\n'
            f'{(folder / str(n) / keys.CERTIFICATE).read_text()}"""\n'
            for n, id in enumerate(self.ids)
        )
        table = ", ".join(f"{key} = {value}" for key, value in settings.items())
        self.file = folder / "swarm.toml"
        self.file.write_text(
            f'name = "test"\nmax_bytes = 4096\nexchange = {{ {table} }}\n{members}'
        )
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.first = f"tls/127.0.0.1:{found.getsockname()[1]}"
        self.open: dict[int, SignedBackend] = {}

    def links(self, node: int) -> dict[str, Any]:
        where = {"listen": [self.first]} if node == 0 else {
            "listen": ["tls/127.0.0.1:0"], "connect": [self.first],
        }  # fmt: skip
        return {"swarm": self.file, "key": self.folder / str(node), **where}

    def join(self, node: int, kind: type[SignedBackend] = SignedBackend, **more: Any) -> Any:
        self.open[node] = kind(**self.links(node), **more)
        return self.open[node]

    def gather(self, *nodes: int, sent: Callable[[int], Any] = own) -> list[dict[str, Any]]:
        """A stage of all these nodes; what each of them got."""
        with ThreadPoolExecutor(len(nodes)) as pool:
            return list(pool.map(lambda n: self.open[n].all_gather_object(sent(n)), nodes))

    def of(self, *nodes: int) -> dict[str, Any]:
        return {self.ids[n]: own(n) for n in nodes}

    def close(self) -> None:
        with ThreadPoolExecutor(self.num) as pool:
            list(pool.map(SignedBackend.close, self.open.values()))


@pytest.fixture
def swarm(tmp_path: Path) -> Iterator[Callable[..., Swarm]]:
    made: list[Swarm] = []

    def make(num: int, **exchange: float) -> Swarm:
        made.append(Swarm(tmp_path, num, **exchange))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_two_nodes_gather_what_both_sent(swarm: Callable[..., Swarm]) -> None:
    two = swarm(2, faults=0)
    assert [two.join(n).get_id() for n in range(2)] == two.ids
    for _ in range(3):
        assert two.gather(0, 1) == [two.of(0, 1)] * 2
        assert two.open[0].absent == {}


class Garbage(SignedBackend):
    def _body(self, obj: Any) -> bytes:  # noqa: ARG002
        return b"\xc1 no message"


class Pickled(SignedBackend):
    def _body(self, obj: Any) -> bytes:
        return pickle.dumps(obj)


class Oversized(SignedBackend):
    def _body(self, obj: Any) -> bytes:  # noqa: ARG002
        return bytes(4097)


class Forger(SignedBackend):
    """Signs with a key that is not in the roster."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for signer in self._channel._party.signers.values():
            signer._key = Signer.new()._key


@pytest.mark.parametrize(
    ("liar", "reasons"),
    [
        (Garbage, {"malformed"}),
        (Pickled, {"malformed"}),
        (Oversized, {"oversized"}),
        (Forger, {"bad signature"}),
    ],
)
def test_a_bad_payload_costs_nobody_elses(
    swarm: Callable[..., Swarm], liar: type[SignedBackend], reasons: set[str]
) -> None:
    # Whose header does not count is silent for the others, who wait for it until the deadline.
    four = swarm(4, deadline=3.0 if liar in (Forger, Oversized) else 20.0)
    for node in range(3):
        four.join(node)
    bad = four.join(3, liar)

    def lie() -> None:
        with suppress(GuardFailedError):  # its own checks find it, too
            bad.all_gather_object(own(3))

    liar_thread = threading.Thread(target=lie)
    liar_thread.start()
    assert four.gather(0, 1, 2) == [four.of(0, 1, 2)] * 3
    liar_thread.join()
    for node in range(3):
        absent = four.open[node].absent
        assert absent.keys() == {four.ids[3]}
        assert {*absent.values()} <= reasons


def test_who_is_late_misses_the_stage_and_is_in_the_next(swarm: Callable[..., Swarm]) -> None:
    four = swarm(4, deadline=3.0, step=0.5)
    for node in range(4):
        four.join(node)
    assert four.gather(0, 1, 2, 3) == [four.of(0, 1, 2, 3)] * 4
    began = time.monotonic()
    assert four.gather(0, 1, 2) == [four.of(0, 1, 2)] * 3
    assert time.monotonic() - began < 3.0 + 2 * 0.5 + 2.0
    assert four.open[0].absent == {four.ids[3]: "missing"}
    # It took no part in the last stage. What it sends now is in the next one, as all nodes see it.
    assert four.gather(0, 1, 2, 3) == [four.of(0, 1, 2, 3)] * 4


def test_a_node_goes_on_after_a_restart(swarm: Callable[..., Swarm]) -> None:
    three = swarm(3, deadline=3.0, step=0.5, quorum=2)
    for node in range(3):
        three.join(node)
    three.gather(0, 1, 2)
    three.open.pop(2).close()
    for _ in range(2):
        assert three.gather(0, 1) == [three.of(0, 1)] * 2
    three.join(2)
    assert three.gather(0, 1, 2) == [three.of(0, 1, 2)] * 3


def test_without_a_quorum_it_returns_in_time_and_goes_on_with_the_swarm(
    swarm: Callable[..., Swarm], caplog: pytest.LogCaptureFixture
) -> None:
    three = swarm(3, deadline=1.0, step=0.5)
    alone = three.join(0)
    began = time.monotonic()
    assert alone.all_gather_object(own(0)) == three.of(0)
    assert time.monotonic() - began < alone.patience + 1.0
    assert {*alone.absent.values()} == {"undecided"}
    assert "going on alone" in caplog.text
    three.join(1), three.join(2)
    for _ in range(20):
        if three.gather(0, 1, 2) == [three.of(0, 1, 2)] * 3:
            break
    else:
        pytest.fail("the nodes did not meet")


def test_only_payloads_that_pass_the_guard_arrive(swarm: Callable[..., Swarm]) -> None:
    three = swarm(3)

    def rewards(told: Any) -> list[float]:
        return [float(text.endswith("7.")) for text in told.actions]

    three.join(0, payload_filter=PayloadFilter(Guard(EQUATIONS), rewards))
    three.join(1), three.join(2)
    sent = {0: own(0, POISONED), 1: own(1), 2: {**own(2, POISONED), **own(3)}}
    found = three.gather(0, 1, 2, sent=sent.__getitem__)
    # A node's own payloads stay as they are. Of node 2 the poisoned one is missing.
    assert found[0] == {three.ids[0]: sent[0], three.ids[1]: sent[1], three.ids[2]: own(3)}
    assert found[1] == {id: sent[n] for n, id in enumerate(three.ids)}
    three.open[0]._filter = PayloadFilter(Guard([Breaks()]), rewards)
    with pytest.raises(GuardFailedError):
        three.gather(1, 2, 0)


def test_genrls_own_game_over_signed_messages(
    swarm: Callable[..., Swarm], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its manager, made by its own `Communication.create`; one node sends garbage."""
    four = swarm(4)
    monkeypatch.setattr(Communication, "_BACKEND_CLS", None)
    Communication.set_backend(SignedBackend)
    trainers = [Drawn(HONEST) for _ in range(3)]
    games = [game(t, QUESTIONS[n], 2, **four.links(n)) for n, t in enumerate(trainers)]
    four.open |= {n: each.communication for n, each in enumerate(games)}
    bad = four.join(3, Garbage)
    with ThreadPoolExecutor(4) as pool:
        played = [pool.submit(each.run_game) for each in games]
        played.append(pool.submit(lambda: [bad.all_gather_object(own(3)) for _ in range(2)]))
        for each in played:
            each.result()
    trees = {id: {key: p[0].actions for key, p in own(n).items()} for n, id in enumerate(four.ids)}
    del trees[four.ids[3]]
    assert [trainer.trees for trainer in trainers] == [[trees] * 2] * 3


@pytest.mark.parametrize(
    ("obj", "words"),
    [
        ({"id": [object()]}, "this stage cannot be sent: it has something else"),
        (stage((QUESTIONS[0], ["x" * 5000])), "more than 4096; set a larger max_bytes"),
    ],
)
def test_what_this_node_cannot_send_stops_it(
    swarm: Callable[..., Swarm], obj: Any, words: str
) -> None:
    node = swarm(2, faults=0).join(0)
    with pytest.raises(GuardFailedError, match=words):
        node.all_gather_object(obj)


def test_a_failing_exchange_is_no_exception_that_genrl_forgets(
    swarm: Callable[..., Swarm], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = swarm(2, faults=0).join(0)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(node._channel, "publish", full)
    with pytest.raises(GuardFailedError, match=r"the exchange failed: .*No space left"):
        node.all_gather_object(own(0))


def test_put_and_get_say_that_they_carry_nothing(
    swarm: Callable[..., Swarm], caplog: pytest.LogCaptureFixture
) -> None:
    node = swarm(2, faults=0).join(0)
    node.put([], sub_key=b"solver")
    assert node.get(sub_key=b"proposer") == {}
    assert "is dropped" in caplog.text
    assert "there is nothing under b'proposer'" in caplog.text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda _: {"swarm": None}, "needs `swarm`"),
        (lambda s: {"swarm": s.folder / "none.toml"}, "cannot read .*none.toml"),
        (lambda s: {"key": s.folder / "none"}, "make a key with `swarmproof node init"),
        (lambda _: {"listen": (), "connect": ()}, "the node would be alone"),
        (lambda _: {"listen": ["tcp/0.0.0.0:1"]}, "open to anybody"),
        (lambda s: s.file.write_text("name = 3\n") and {}, "swarm.toml: .*name"),
        (lambda s: s.file.write_text("[[nodes") and {}, "is not valid TOML"),
        (
            lambda s: (
                s.file.write_text(s.file.read_text().replace("faults = 0", "faults = 1")) and {}
            ),
            "set exchange.faults = 0",
        ),
        (
            lambda s: s.file.write_text(s.file.read_text().replace(s.ids[0], "0" * 64)) and {},
            "is not in the roster",
        ),
        # TLS would keep all peers out, in silence.
        (
            lambda s: s.file.write_text(s.file.read_text().replace("BEGIN CERT", "CERT")) and {},
            "the certificate of node 0 is not whole",
        ),
    ],
)
def test_wrong_settings_are_one_line(
    swarm: Callable[..., Swarm], change: Callable[[Swarm], dict[str, Any]], words: str
) -> None:
    two = swarm(2, faults=0)
    with pytest.raises(ValueError, match=words) as caught:
        SignedBackend(**two.links(0) | change(two))
    assert "\n" not in str(caught.value)
    with suppress(FileNotFoundError):
        Signer.open(two.folder / "0").close()  # the key was let go


def test_the_snippets_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Communication, "_BACKEND_CLS", None)
    (file,) = page_snippets("GenRL", "toml")
    _, code = page_snippets("GenRL", "python")
    head, _, member = file.partition("[[nodes]]")
    for name in ("ann", "bob", "cat"):
        key = keys.make_keys(tmp_path / name, name)
        certificate = (tmp_path / name / keys.CERTIFICATE).read_text()
        head += "[[nodes]]" + member.replace("…", key, 1).replace("…\n", certificate)
    (tmp_path / "swarm.toml").write_text(head)
    names: dict[str, Any] = {}
    exec(code.replace("0.0.0.0:7447", "127.0.0.1:0").replace("10.0.0.2", "127.0.0.1"), names)
    assert names["backend"].get_id() in head
    assert names["backend"].patience == 2 * 600.0 + 3 * 5.0
    names["backend"].close()
