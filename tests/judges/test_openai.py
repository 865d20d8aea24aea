"""The `openai` back end against a server that answers as each test says: what it asks and reads."""

from __future__ import annotations

import asyncio
import json
import math
import time
from typing import Any

import pytest
from pydantic import ValidationError

from judges.asking import KEY, always, judge, request
from servers import Body, Handler, Reply, Scripted, says, scripted
from swarmproof import registry
from swarmproof.judges import Judgement, JudgeModel, OpenAI


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


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
    """A text that makes the judge fall silent is that text's fault, not a server's."""
    with scripted(always(says(said, places))) as server:
        (found,) = judge(server, request(criticism=None))
    assert found == Judgement("", None, None, "", fault="the judge said nothing")


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
