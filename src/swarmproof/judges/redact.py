"""Removes the API key from text that a server sent.

A server may repeat the headers of a request in its answer, as it received them or encoded, and
parts of an answer are written to records and error messages. This module reads one text at a time.
It knows nothing of HTTP.
"""

from __future__ import annotations

import html
import re
import unicodedata
from typing import Any
from urllib.parse import unquote_to_bytes

MASK = "███"  # not ASCII, so it can never be a part of a key
SHORTEST_KEY = 4  # characters; masking a shorter one would damage ordinary words
_PART = 8  # a part of the key with this many characters is masked too
_MAX_DECODINGS = 6  # text that is encoded more often than this is masked whole

_PERCENT = re.compile(r"(?:%[0-9a-f]{2})+", re.IGNORECASE)  # a run: it is UTF-8
# `\u002d` and `\x2d`; a backslash before anything else is dropped, as in `\/`.
_BACKSLASH = re.compile(r"\\+(?:u([0-9a-f]{4})|x([0-9a-f]{2}))?", re.IGNORECASE)
_MINUS = "−"  # the one dash that is in another category
_BLANKS = "\u115f\u1160\u2800"  # letters and symbols that show nothing
_UNSEEN = ("C", "M", "Z")  # controls, format characters, combining marks, white space


class _Fold(dict[int, str]):
    """A table for `str.translate`: each character becomes one lower-case character or none."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        category = unicodedata.category(char)
        if category.startswith(_UNSEEN) or char in _BLANKS:
            folded = ""
        elif category == "Pd" or char == _MINUS:
            folded = "-"
        else:
            folded = char.casefold()[:1]
        self[code] = folded
        return folded


_FOLD = _Fold()


class Redactor:
    """Masks one key, and every part of it that has 8 characters or more.

    Letter case, white space, invisible characters, Unicode compatibility forms, percent-encoding,
    HTML entities and backslash escapes make no difference. A text without the key is returned as
    it is. An empty key masks nothing.
    """

    def __init__(self, key: str) -> None:
        spellings = {_folded(key), _folded(_decoded(key))} if key else set()
        self._parts = {
            spelling[start : start + _PART]
            for spelling in spellings
            for start in range(max(1, len(spelling) - _PART + 1))
        }

    def text(self, text: str) -> str:
        """The text with the key masked; the mask alone if the key cannot be located in it."""
        if not self._parts or not self._shows(text):
            return text
        for form in (text, _decoded(text)):
            masked = self._masked(form)
            if not self._shows(masked):
                return masked
        return MASK

    def json(self, value: Any) -> Any:
        """A value from `json.loads` with the key masked in every text of it.

        Raises:
            RecursionError: the value is nested too deeply.
        """
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.json(each) for each in value]
        if isinstance(value, dict):
            return {self.text(name): self.json(each) for name, each in value.items()}
        return value

    def _shows(self, text: str) -> bool:
        """Whether the key can be read from the text in any of the spellings above."""
        for _ in range(_MAX_DECODINGS):
            folded = _folded(text)
            if any(part in folded for part in self._parts):
                return True
            text = _decoded(folded)
            if text == folded:
                return False
        return True

    def _masked(self, text: str) -> str:
        """The text with a mask in the place of each run of characters that fold to the key."""
        text = unicodedata.normalize("NFKD", text)
        folded = text.translate(_FOLD)
        places = [i for i, char in enumerate(text) if _FOLD[ord(char)]]
        spans: list[tuple[int, int]] = []
        for part in self._parts:
            start = folded.find(part)
            while start >= 0:
                spans.append((places[start], places[start + len(part) - 1] + 1))
                start = folded.find(part, start + 1)
        shown, done = [], 0
        for start, end in sorted(spans):
            if start >= done:
                shown += [text[done:start], MASK]
            done = max(done, end)
        return "".join([*shown, text[done:]])


def _folded(text: str) -> str:
    """Lower case, without what is invisible; NFKD, so that combining marks can be dropped."""
    return unicodedata.normalize("NFKD", text).translate(_FOLD)


def _decoded(text: str) -> str:
    """Without one layer of percent-encoding, HTML entities and backslash escapes."""
    text = _PERCENT.sub(lambda run: unquote_to_bytes(run[0]).decode(errors="replace"), text)
    return _BACKSLASH.sub(lambda found: _character(found[1] or found[2]), html.unescape(text))


def _character(code: str | None) -> str:
    return chr(int(code, 16)) if code else ""
