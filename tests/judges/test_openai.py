"""The back end against a server that answers as each test says: formats, errors, hostile bytes."""

from __future__ import annotations

import asyncio
import json
import math
import time
from typing import Any

import pytest
from pydantic import ValidationError

from servers import Answer, Body, Handler, Reply, Scripted, says, scripted
from swarmproof import registry
from swarmproof.judges import Judgement, JudgeModel, OpenAI, Request

KEY = "sk-very-secret-0123456789"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def request(
    text: str = "It is 5.", *, criticism: str | None = "Criticise.", seed: int = 7
) -> Request:
    return Request("What is 2 + 3?\n", f"[{text}]\n", criticism, "Yes or no?", seed)


def judge(server: Scripted, *requests: Request, **settings: Any) -> list[Judgement]:
    quick: dict[str, Any] = {"retries": 2, "backoff": 0.001, "timeout": 30, "concurrency": 4}
    back_end = OpenAI(base_url=server.url, model="m", **quick | settings)
    return back_end.judge(requests or [request()], max_tokens=20)


def probing(body: Body) -> bool:
    return bool(body["messages"][0]["content"] == "Say yes.")


def always(reply: Reply) -> Answer:
    return lambda *_: reply


# The conversation ---------------------------------------------------------------------------------


def test_a_criticism_comes_first_and_the_decision_is_asked_in_the_same_conversation() -> None:
    def answer(_: Handler, body: Body, __: int) -> Reply:
        return says("All steps are right." if len(body["messages"]) == 1 else " Yes.")

    with scripted(answer) as server:
        found = judge(server, extra={"top_k": 10})
    assert found == [Judgement("All steps are right.", None, None, "yes")]
    first, second = server.asked
    assert [m["content"] for m in first["messages"]] == ["What is 2 + 3?\n[It is 5.]\nCriticise."]
    assert second["messages"] == [
        *first["messages"],
        {"role": "assistant", "content": "All steps are right."},
        {"role": "user", "content": "Yes or no?"},
    ]
    assert (first["max_tokens"], "logprobs" in first) == (20, False)
    assert (second["max_tokens"] < 10, second["logprobs"], second["top_logprobs"]) == (
        True,
        True,
        20,
    )
    for body in server.asked:
        shown = [body[key] for key in ("model", "temperature", "top_p", "top_k", "seed")]
        assert shown == ["m", 0.6, 0.9, 10, 7]
    assert [h["Authorization"] for h in server.headers] == [f"Bearer {KEY}"] * 2


def test_without_a_criticism_one_word_is_asked_at_once() -> None:
    with scripted(always(says("NO"))) as server:
        found = judge(server, request(criticism=None, seed=2**63 + 5), logprobs=0)
    assert found == [Judgement("", None, None, "no")]
    (body,) = server.asked
    assert [m["content"] for m in body["messages"]] == ["What is 2 + 3?\n[It is 5.]\nYes or no?"]
    assert body["seed"] == 5
    assert "logprobs" not in body


def test_answers_are_in_the_order_of_the_requests_and_few_are_asked_at_once() -> None:
    running, most = [0], [0]

    def answer(handler: Handler, body: Body, _: int) -> Reply:
        number = int(body["messages"][0]["content"].split("[")[1].split("]")[0])
        with handler.server.lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.01 + 0.02 * (number % 3))
        with handler.server.lock:
            running[0] -= 1
        return says(f"word{'abcdefghijkl'[number]}")

    with scripted(answer) as server:
        found = judge(server, *(request(str(i), criticism=None) for i in range(12)), concurrency=3)
        assert OpenAI(base_url=server.url).judge([], max_tokens=1) == []
    assert [j.word for j in found] == [f"word{c}" for c in "abcdefghijkl"]
    assert most[0] == 3


def test_without_a_key_none_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted(always(says("yes"))) as server:
        judge(server, api_key_env="")
        monkeypatch.delenv("OPENAI_API_KEY")
        judge(server)
    assert not any("Authorization" in headers for headers in server.headers)


def test_it_can_be_called_from_within_a_loop() -> None:
    async def notebook(server: Scripted) -> list[Judgement]:
        return judge(server, request(criticism=None))

    with scripted(always(says("yes"))) as server:
        assert asyncio.run(notebook(server))[0].word == "yes"


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ("Yes", "yes"),
        (" \n**no**, since", "no"),
        ("YES.", "yes"),
        ("yesterday", "yesterday"),
        ("", ""),
        ("…", ""),
        ("1 yes", "yes"),
        (None, ""),
        (["yes"], ""),
        ("\ud800", ""),
    ],
)
def test_the_word_is_the_first_that_is_said(said: object, word: str) -> None:
    with scripted(always(says(said))) as server:
        assert judge(server, request(criticism=None))[0].word == word


# Log-probabilities --------------------------------------------------------------------------------


def logprobs(places: Any) -> tuple[float | None, float | None]:
    with scripted(always(says("Yes", places))) as server:
        (found,) = judge(server, request(criticism=None))
    return found.logprob_yes, found.logprob_no


def log(*probabilities: float) -> float:
    return math.log(sum(probabilities))


def test_spellings_are_summed_at_the_first_place_that_is_not_white_space() -> None:
    space = (" \n", {" \n": log(0.9), "yes": log(0.1)})
    listed = {" Yes": log(0.4), "yes": log(0.2), "NO": log(0.1), "no\n": log(0.05), "yess": -2.0}
    yes, no = logprobs([space, ("Yes", listed), ("no", {"no": -0.01})])
    assert yes == pytest.approx(log(0.6))
    assert no == pytest.approx(log(0.15))


def test_a_word_that_is_not_listed_gets_what_bounds_it() -> None:
    listed = {"Yes": log(0.9), "maybe": log(0.04), "so": log(0.02)}
    assert logprobs([("Yes", listed)]) == pytest.approx((log(0.9), log(0.02)))
    # Less than the lowest is left for all others together.
    few = {"No": log(0.75), "maybe": log(0.24)}
    assert logprobs([("No", few)]) == pytest.approx((log(0.01), log(0.75)))
    # Even if nothing is left at all, as a server that rounds may say.
    yes, no = logprobs([("No", {"No": 0.0})])
    assert (yes, no) == pytest.approx((math.log(1e-9), 0.0))


@pytest.mark.parametrize("places", [None, []])
@pytest.mark.parametrize("said", ["", " \n", None])
def test_where_nothing_is_said_there_is_no_decision(said: object, places: Any) -> None:
    """A text that makes the judge fall silent must not look like a server without odds."""
    with scripted(always(says(said, places))) as server:
        assert judge(server, request(criticism=None)) == [Judgement("", -100.0, 0.0, "")]


def test_neither_word_is_no_decision_and_counts_as_a_no() -> None:
    yes, no = logprobs([("The", {"The": log(0.5), "A": log(0.1)})])
    assert (yes, no) == pytest.approx((log(0.1), 0.0))


def test_impossible_and_absurd_numbers_stay_finite() -> None:
    assert logprobs([("yes", {"yes": -9999.0, "no": 3.0})]) == pytest.approx((-100.0, 0.0))
    assert logprobs([("yes", {"yes": math.nan, "no": -0.5})]) == pytest.approx(
        (-0.93, -0.5), abs=0.01
    )


@pytest.mark.parametrize(
    "places", [[], [("yes", {})], [("yes", {"yes": "x"})], [("yes", {"yes": math.nan})]]
)
def test_where_there_are_none_it_says_so(places: Any) -> None:
    assert logprobs(places) == (None, None)


@pytest.mark.parametrize("junk", [7, "x", [], {"content": 3}, {"content": [3]}, {"content": {}}])
def test_log_probabilities_of_another_shape_are_none(junk: object) -> None:
    choice = {"message": {"content": "no"}, "logprobs": junk}
    with scripted(always((200, json.dumps({"choices": [choice]}).encode(), {}))) as server:
        assert judge(server) == [Judgement("no", None, None, "no")]


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
    assert (good.word, bad) == ("yes", Judgement("", -100.0, 0.0, ""))
    assert len(server.asked) == 1 + attempts + 1
    assert sum(map(probing, server.asked)) == 1


@pytest.mark.parametrize("status", [400, 422, 500, 503])
def test_a_server_that_answers_nobody_stops_the_run(status: int) -> None:
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


def test_it_is_there_if_anybody_answers() -> None:
    with scripted(always(says("yes"))) as server:
        OpenAI(base_url=server.url).require()
        assert server.asked == []
    with pytest.raises(ValueError, match=rf"{server.url}.* cannot be reached .*start its server"):
        OpenAI(base_url=server.url).require()


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
    import gzip

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


# Settings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"base_url": "localhost:8000"},
        {"base_url": "ftp://host/v1"},
        {"base_url": "http://user:secret@host/v1"},
        {"base_url": "http://host/v1?key=secret"},
        {"base_url": "http://secret:99999999/v1"},
        {"base_url": "http://[secret"},
        {"api_key_env": "sk-secret"},
        {"extra": {"messages": []}},
        {"timeout": 0},
        {"retries": -1},
    ],
    ids=str,
)
def test_wrong_settings_are_refused_and_not_repeated(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as caught:
        registry.build(JudgeModel, {"name": "openai", **settings})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("key", ["two words", "na\u00efve", "line\nbreak"])
def test_what_cannot_be_a_key_is_refused_and_not_shown(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ValueError, match="OPENAI_API_KEY") as caught:
        OpenAI().judge([request()], max_tokens=1)
    assert key not in str(caught.value)


def test_the_key_is_in_nothing_that_can_be_shown() -> None:
    back_end = OpenAI(extra={"top_k": 10})
    assert KEY not in f"{back_end!r} {back_end.model_dump_json()}"
    assert back_end == OpenAI(extra={"top_k": 10})
    assert hash(back_end) == hash(OpenAI(extra={"top_k": 10}))
