"""Servers that fail, and hostile ones: what stops a run, and what is one completion's verdict."""

from __future__ import annotations

import gzip
import time

import pytest

from judges.asking import KEY, always, judge, probing, request
from servers import Body, Handler, Reply, says, scripted
from swarmproof.judges import Judgement


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


# Errors that pass, and those that do not ----------------------------------------------------------


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 529])
def test_what_may_pass_is_tried_again(status: int) -> None:
    def answer(_: Handler, __: Body, number: int) -> Reply:
        return (status, b"busy", {"Retry-After": "0"}) if number < 2 else says("yes")

    with scripted(answer) as server:
        assert judge(server, request(criticism=None))[0].word == "yes"
    assert len(server.asked) == 3
    assert server.asked[0] == server.asked[2]


def test_it_waits_as_long_as_the_server_asks() -> None:
    def answer(_: Handler, __: Body, number: int) -> Reply:
        return (429, b"", {"Retry-After": "1"}) if number == 0 else says("yes")

    with scripted(answer) as server:
        began = time.monotonic()
        judge(server, request(criticism=None))
        assert time.monotonic() - began >= 1


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (401, "set OPENAI_API_KEY"),
        (403, "set OPENAI_API_KEY"),
        (404, "check base_url"),
        (402, "402"),
    ],
)
def test_what_will_not_pass_is_told_at_once_and_without_the_key(status: int, remedy: str) -> None:
    leaky = f"Incorrect key {KEY} provided\nfor \x1b[31mm".encode()
    with scripted(always((status, leaky, {}))) as server:
        with pytest.raises(ValueError, match=remedy) as caught:
            judge(server)
        assert len(server.asked) == 1
        assert server.url in str(caught.value)
    assert KEY not in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(("status", "attempts"), [(400, 1), (413, 1), (422, 1), (500, 3), (200, 3)])
def test_a_request_that_only_a_hostile_text_breaks_gets_no_decision(
    status: int, attempts: int
) -> None:
    def answer(_: Handler, body: Body, __: int) -> Reply:
        hostile = "too long" in body["messages"][0]["content"]
        return (status, b"context length exceeded", {}) if hostile else says("yes")

    with scripted(answer) as server:
        good, bad = judge(server, request(criticism=None), request("too long"))
    assert (good.word, good.fault) == ("yes", "")
    said = "sends no chat completion" if status == 200 else f"answers {status}: context length exc"
    assert bad.fault.startswith(f"the judge's server {said}")
    assert bad == Judgement("", None, None, "", fault=bad.fault)
    assert len(server.asked) == 1 + attempts + 1
    assert sum(map(probing, server.asked)) == 1


@pytest.mark.parametrize("fault", ["slow", "busy", "hangs up"])
def test_a_text_for_which_alone_the_server_is_slow_or_busy_stops_no_run(fault: str) -> None:
    def answer(handler: Handler, body: Body, _: int) -> Reply | None:
        if "hostile" not in body["messages"][0]["content"]:
            return says("yes")
        if fault == "busy":
            return 429, b"too many tokens", {}
        if fault == "slow":
            handler.server.closing.wait(20)
        return None

    with scripted(answer) as server:
        good, bad = judge(server, request(criticism=None), request("hostile"), timeout=0.5)
    assert (good.word, good.fault) == ("yes", "")
    assert bad.fault.startswith("the judge's server ")
    assert sum(map(probing, server.asked)) == 1


@pytest.mark.parametrize("status", [400, 422, 500, 503])
def test_a_server_that_answers_no_request_stops_the_run(status: int) -> None:
    with scripted(always((status, b'{"error": "no such field: top_k"}', {}))) as server:
        with pytest.raises(ValueError, match=rf"answers {status}: .*no such field.*--resume"):
            judge(server, request(criticism=None))
        assert any(map(probing, server.asked))


def test_a_server_that_is_too_busy_stops_the_run() -> None:
    with (
        scripted(always((429, b"quota", {}))) as server,
        pytest.raises(ConnectionError, match=r"answers 429: quota.*--resume"),
    ):
        judge(server)


def test_a_server_that_is_not_there_stops_the_run() -> None:
    with scripted(always(says("yes"))) as server:
        pass
    with pytest.raises(ConnectionError, match=rf"{server.url}.* does not answer .*--resume"):
        judge(server)


def test_redirects_are_not_followed() -> None:
    with scripted(always(says("yes"))) as elsewhere:
        there = {"Location": f"{elsewhere.url}/chat/completions"}
        for status in (301, 302, 307, 308):
            with (
                scripted(always((status, b"", there))) as server,
                pytest.raises(ValueError, match="redirects; set base_url"),
            ):
                judge(server)
        assert elsewhere.asked == []


# Hostile servers ----------------------------------------------------------------------------------


def test_a_server_that_hangs_is_given_up() -> None:
    def hang(handler: Handler, *_: object) -> None:
        handler.server.closing.wait(20)

    with scripted(hang) as server:
        began = time.monotonic()
        with pytest.raises(ConnectionError, match="does not answer"):
            judge(server, timeout=0.2)
        assert time.monotonic() - began < 10


@pytest.mark.parametrize("where", ["headers", "body"])
def test_a_server_that_drips_is_given_up(where: str) -> None:
    def drip(handler: Handler, *_: object) -> None:
        start = b"HTTP/1.1 200 OK\r\n" + (b"\r\n" if where == "body" else b"X: ")
        handler.wfile.write(start)
        while not handler.server.closing.wait(0.02):
            handler.wfile.write(b" ")

    with scripted(drip) as server:
        began = time.monotonic()
        with pytest.raises(ConnectionError, match="does not answer"):
            judge(server, timeout=0.3)
        assert time.monotonic() - began < 10


def test_a_body_without_end_is_cut() -> None:
    sent = [0]

    def flood(handler: Handler, *_: object) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not handler.server.closing.is_set():
            handler.wfile.write(b" " * 65536)
            sent[0] += 65536

    with scripted(flood) as server:
        with pytest.raises(ValueError, match="sends no chat completion"):
            judge(server, retries=0)
        assert sent[0] < 64 << 20


def test_a_criticism_without_end_is_cut() -> None:
    def answer(_: Handler, body: Body, __: int) -> Reply:
        return says("so " * 100_000 if len(body["messages"]) == 1 else "no")

    with scripted(answer) as server:
        (found,) = judge(server)
    assert len(found.criticism) == 20 * 16
    assert found.word == "no"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"\xff\xfe{}",
        b"[" * 200_000,
        b"null",
        b"[]",
        b'{"choices": []}',
        b'{"choices": {}}',
        b'{"choices": [null]}',
        b'{"choices": [{"text": "yes"}]}',
        b'{"choices": [{"message": "yes"}]}',
        b'{"n": ' + b"9" * 10_000 + b"}",
    ],
    ids=lambda body: repr(body[:32]),
)
def test_what_is_no_chat_completion_is_tried_again_and_then_told(body: bytes) -> None:
    with scripted(always((200, body, {}))) as server:
        with pytest.raises(ValueError, match="sends no chat completion"):
            judge(server, request(criticism=None))
        assert len(server.asked) == 6


def test_a_compressed_answer_is_not_unpacked() -> None:
    reply = says("yes")
    packed = (200, gzip.compress(reply[1]), {"Content-Encoding": "gzip"})
    with scripted(always(packed)) as server, pytest.raises(ValueError, match="no chat completion"):
        judge(server)
    assert server.headers[0]["Accept-Encoding"] == "identity"


def test_half_a_surrogate_pair_travels_on_as_a_question_mark() -> None:
    with scripted(always(says("fine \ud83d"))) as server:
        (found,) = judge(server)
    assert found.criticism == "fine ?"
    found.criticism.encode()
