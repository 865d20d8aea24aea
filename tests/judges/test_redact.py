"""The API key is in no text from a server, however the server spells it."""

from __future__ import annotations

import html
import json
import re
import string
import unicodedata
from urllib.parse import quote, unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from judges.asking import KEY, always, judge, request
from servers import Body, Handler, Reply, says, scripted
from swarmproof.judges.redact import MASK, Redactor

# Characters of which keys are made in practice, and all that a header can carry.
USUAL_KEYS = st.text(string.ascii_letters + string.digits + "-_.+/=", min_size=8, max_size=60)
ANY_KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=4, max_size=60)
GAPS = ["", "", "", " ", "\n", "\t", "\u200b", "\u00ad", "\ufeff", "\u2060", "\u00a0", "\u034f"]


def spellings(char: str) -> list[str]:
    wide = chr(ord(char) + 0xFEE0)  # the full-width form of an ASCII character
    percent = f"%{ord(char):02X}"
    return [
        *(char, char, char.swapcase(), wide, percent, percent.lower(), quote(percent)),
        *(quote(wide), f"&#{ord(char)};", f"&#x{ord(char):x};", html.escape(char)),
        *(f"\\u{ord(char):04x}", f"\\u{ord(wide):04X}", f"\\x{ord(char):02x}"),
    ]


@st.composite
def spelt(draw: st.DrawFn, key: str) -> str:
    pieces = [draw(st.sampled_from(spellings(char))) + draw(st.sampled_from(GAPS)) for char in key]
    return "".join(pieces)


def read(text: str) -> str:
    """What a reader can make of a text: a second decoder, to check the first."""
    for _ in range(4):
        text = unquote(html.unescape(text))
        text = re.sub(r"\\[ux]([0-9a-fA-F]{4}|[0-9a-fA-F]{2})", lambda m: chr(int(m[1], 16)), text)
        text = unicodedata.normalize("NFKC", text).replace("\\", "")
        text = "".join(c for c in text if unicodedata.category(c)[0] not in "CZM")
    return text.casefold()


@given(st.data(), USUAL_KEYS, st.text(max_size=20), st.text(max_size=20))
@example(None, "sk-abcdefgh", "", "")
def test_no_spelling_of_the_key_gets_through(
    data: st.DataObject | None, key: str, before: str, after: str
) -> None:
    text = data.draw(spelt(key)) if data else quote(quote(key)).replace("-", "%252D")
    shown = Redactor(key).text(f"{before} {text} {after}")
    assert MASK in shown
    assert key.casefold() not in read(shown)
    # Nor a part of it that is of use.
    for start in range(len(key) - 11):
        assert key[start : start + 12].casefold() not in read(shown)


@given(ANY_KEYS, st.text(), st.text())
def test_any_key_is_masked_as_it_stands(key: str, before: str, after: str) -> None:
    shown = Redactor(key).text(before + key + after)
    assert MASK in shown
    assert key not in shown


@given(st.text())
def test_a_text_without_the_key_is_not_changed(text: str) -> None:
    assert Redactor("").text(text) == text
    if not any(KEY[i : i + 8] in read(text) for i in range(len(KEY) - 7)):
        assert Redactor(KEY).text(text) == text


@pytest.mark.parametrize(
    "text", ["50% of 2%25 &amp; \\n <b>", "100%\u200b", "ﬁne\u00a0Ａ", "sk-very", "\ud800\\ud800"]
)
def test_ordinary_text_stays(text: str) -> None:
    assert Redactor(KEY).text(text) == text


def test_the_rest_of_the_text_stays_readable() -> None:
    assert Redactor(KEY).text(f"Wrong key {KEY}, sorry.") == f"Wrong key {MASK}, sorry."
    assert Redactor(KEY).text(f"cut: Bearer {KEY[:13]}") == f"cut: Bearer {MASK}"
    split = f"{KEY[:9]}\n {KEY[9:]}"
    assert Redactor(KEY).text(f"a {split} b {KEY.upper()}") == f"a {MASK} b {MASK}"


@pytest.mark.parametrize(
    ("start", "layer", "end"),
    [("%", "25", "2D"), ("&", "amp;", "#45;"), ("", "\\", "u002d")],
    ids=["percent", "entity", "backslash"],
)
def test_encoding_without_end_hides_the_text_and_takes_no_time(
    start: str, layer: str, end: str
) -> None:
    for depth in (1, 3, 10, 20_000):
        shown = Redactor(KEY).text(KEY.replace("-", start + layer * depth + end))
        assert set(shown) == set(MASK)


def test_texts_of_every_depth_are_cleaned() -> None:
    value = {"a": [{KEY: KEY, "n": [7, None, True]}, f"x{KEY}"]}
    assert Redactor(KEY).json(value) == {"a": [{MASK: MASK, "n": [7, None, True]}, f"x{MASK}"]}


# From a server ------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


HIDDEN = ["-".join(f"\u200b{part}" for part in KEY.split("-")), KEY.replace("-", "%2D"),
          " ".join(KEY), KEY.upper(), KEY.replace("-", "\\u002d")]  # fmt: skip


def test_a_server_that_echoes_its_headers_gets_no_key_into_a_judgement() -> None:
    def answer(handler: Handler, body: Body, _: int) -> Reply:
        return says(f"I was sent {dict(handler.headers)}" if len(body["messages"]) == 1 else KEY)

    with scripted(answer) as server:
        (found,) = judge(server, request("x" * 30), timeout=5)
        first, second = server.asked
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert "I was sent" in found.criticism
    assert read(KEY) not in read(str(found))
    assert read(KEY[:8]) not in read(str(found))
    assert KEY not in json.dumps([first, second]), "nor is it sent on as text"


@pytest.mark.parametrize("spelling", [KEY, *HIDDEN])
@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("status", [400, 402, 500])
def test_no_error_of_a_server_shows_the_key(spelling: str, as_json: bool, status: int) -> None:
    said = f"bad {spelling} given"
    body = json.dumps({"error": {"message": said}}) if as_json else said
    with (
        scripted(always((status, body.encode(), {}))) as server,
        pytest.raises(ValueError, match=f"answers {status}: .*bad") as caught,
    ):
        judge(server, request(criticism=None), retries=0)
    assert MASK in str(caught.value)
    assert read(KEY[:8]) not in read(str(caught.value))


def test_a_broken_answer_does_not_show_the_key() -> None:
    """The HTTP library quotes a line that it cannot read."""

    def answer(handler: Handler, *_: object) -> None:
        handler.wfile.write(f"HTTP/1.1 200 OK\r\n{KEY} : x\r\n\r\n".encode())

    with scripted(answer) as server, pytest.raises(ConnectionError, match="does not answer") as e:
        judge(server, retries=0)
    assert read(KEY[:8]) not in read(str(e.value))
