"""The check before a run: what stops the run, in one line, and that the check always ends."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from judges.asking import KEY, always, back_end, judge, probing, request
from servers import Body, Handler, Reply, says, scripted
from swarmproof import registry
from swarmproof.defenses import Judge
from swarmproof.judges import OpenAI

ODDS = [("yes", {"yes": -0.1, "no": -2.4})]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@contextlib.contextmanager
def dripping(start: bytes) -> Iterator[str]:
    """The address of a server that answers any request with `start` and then a byte at a time."""
    closing = threading.Event()

    def drip(client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.recv(65536)
            client.sendall(start)
            while not closing.wait(0.02):
                client.sendall(b"a")

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=drip, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        closing.set()
        listener.shutdown(socket.SHUT_RDWR)


def test_a_working_server_passes_with_one_short_request_for_each_check() -> None:
    with scripted(always(says("yes", ODDS))) as server:
        back_end(server).require()
        assert len(server.asked) == 1
        back_end(server).require_logprobs()
    assert all(map(probing, server.asked))
    assert len(server.asked) == 2


def test_a_server_that_is_not_there_is_one_line() -> None:
    with scripted(always(says("yes"))) as server:
        pass
    with pytest.raises(ValueError, match=rf"{server.url}.* cannot be reached .*start its server"):
        back_end(server).require()


@pytest.mark.parametrize(
    ("reply", "remedy"),
    [
        ((401, b"", {}), "set OPENAI_API_KEY"),
        ((404, b"", {}), "check base_url"),
        ((400, b"no such model", {}), "answers 400: no such model; check the server"),
        ((503, b"loading", {}), "answers 503: loading; check the server"),
        ((200, b"<html>", {}), "sends no chat completion"),
        (says(""), "writes nothing in its first 4 tokens.*switch thinking off"),
    ],
)
def test_a_server_that_cannot_judge_is_one_line(reply: Reply, remedy: str) -> None:
    with scripted(always(reply)) as server, pytest.raises(ValueError, match=remedy) as caught:
        back_end(server).require()
    assert str(caught.value).isprintable()
    assert "--resume" not in str(caught.value)


def test_a_server_that_never_returns_log_probabilities_is_told_before_the_run() -> None:
    with scripted(always(says("yes"))) as server:
        back_end(server).require()
        with pytest.raises(
            ValueError, match='no log-probabilities of yes and no; set decision = "s'
        ):
            back_end(server).require_logprobs()
        table: dict[str, Any] = {"name": "judge", "model": back_end(server)}
        scored = registry.build(Judge, {**table, "decision": "scored"})
        sampled = registry.build(Judge, {**table, "decision": "sampled"})
        sampled.require()
        with pytest.raises(ValueError, match="no log-probabilities"):
            scored.require()
    with pytest.raises(ValueError, match=r"logprobs = 0.*set logprobs = 20"):
        back_end(server, logprobs=0).require_logprobs()


def test_one_answer_without_log_probabilities_does_not_fail_the_check() -> None:
    def answer(_: Handler, __: Body, number: int) -> Reply:
        return says("yes", ODDS if number == 1 else None)

    with scripted(answer) as server:
        back_end(server).require_logprobs()
    assert len(server.asked) == 2


def test_a_completion_for_which_none_are_returned_is_a_judgement_without_them() -> None:
    def answer(_: Handler, body: Body, __: int) -> Reply:
        return says("yes", None if "quiet" in body["messages"][0]["content"] else ODDS)

    with scripted(answer) as server:
        asked = [request(text, criticism=None) for text in ("good", "quiet")]
        good, quiet = judge(server, *asked)
        assert good.logprob_yes == pytest.approx(-0.1)
        assert (quiet.logprob_yes, quiet.logprob_no, quiet.fault) == (None, None, "")


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 200 OK\r\n\r\n"])
@pytest.mark.parametrize("check", [OpenAI.require, OpenAI.require_logprobs])
def test_a_server_that_drips_cannot_hold_the_check(
    check: Callable[[OpenAI], None], start: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each read is in time, so that only a bound on the whole request helps."""
    monkeypatch.setattr("swarmproof.judges.chat._SECONDS_TO_GREET", 0.5)
    with dripping(start) as url:
        began = time.monotonic()
        with pytest.raises(ValueError, match=rf"{url}.*(cannot be reached|does not answer)"):
            check(OpenAI(base_url=url, timeout=0.5, retries=50, backoff=0))
        assert time.monotonic() - began < 5
