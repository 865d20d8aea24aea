"""What is marked in the text of a completion: the attack's poison, and tokens that verdicts name.

Works on hostile text; what leaves this module is plain text in which invisible characters are
spelt out.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from swarmproof import registry
from swarmproof.attacks.base import Attack
from swarmproof.zoo.locate import locate

END = "⟨end of text⟩"

_POSITION = re.compile(r"\bat position (\d{1,9})\b")
# Categories of characters that are invisible or change the order in which text is shown.
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}

Marked = tuple[int, int, str]  # from, to, and the class of the mark: "payload" or "token"


class Marker:
    """Finds what to mark in the completions of one arm.

    Without the attack's plug-in no poison is marked, without the tokenizer no token. Nothing is
    downloaded.
    """

    def __init__(self, trial: Mapping[str, Any]) -> None:
        self._attack: Attack | None = None
        with suppress(ValueError):  # the plug-in is not installed, or of another version
            self._attack = registry.build(Attack, trial["attack"])
        self._tokenizer = _tokenizer(trial)
        self._found: dict[str, list[tuple[int, int]]] = {}

    def poisons(self, text: str) -> list[tuple[int, int]]:
        """Where the attack's poison is in a text; remembered, as texts come again and again."""
        if text not in self._found:
            self._found[text] = list(self._attack.spans(text)) if self._attack else []
        return self._found[text]

    def marks(self, row: Mapping[str, Any]) -> list[Marked]:
        """The marks in a row of `Run.completions`."""
        return [(*span, "payload") for span in self.poisons(row["text"])] + [
            (*span, "token")
            for verdict in row["verdicts"]
            if not verdict["accepted"]
            for position in _POSITION.findall(verdict["reason"])
            for span in self._token(row, int(position))
        ]

    def _token(self, row: Mapping[str, Any], position: int) -> list[tuple[int, int]]:
        """The characters of the token at a position; behind the text for its end-of-text token."""
        ids = row.get("token_ids")
        if self._tokenizer is None or not isinstance(ids, list | tuple) or position >= len(ids):
            return []
        text = row["text"]
        start, end = (self._length(text, ids[:count]) for count in (position, position + 1))
        if start is None or end is None:
            return []  # the ids are not those of this text
        if start == end and start == len(text):
            end += 1
        return [(start, end)]

    def _length(self, text: str, ids: Iterable[int]) -> int | None:
        """How many characters of the text these first ids make; None if they make another text."""
        assert self._tokenizer is not None
        decoded = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        # A character of several bytes may be cut in two, and the first part decodes to this.
        decoded = decoded.rstrip("\ufffd")
        return len(decoded) if text.startswith(decoded) else None


def _tokenizer(trial: Mapping[str, Any]) -> Tokenizer | None:
    if "path" not in trial.get("model", {}) or trial["swarm"].get("models"):
        return None  # each of several models has its own tokens
    try:
        path = Path(locate(trial["model"]["path"], "model.path")) / "tokenizer.json"
    except ValueError:
        return None
    return Tokenizer.from_file(str(path)) if path.is_file() else None


def cut(text: str, marks: Iterable[Marked], limit: int) -> list[tuple[str, str]]:
    """The first `limit` characters of a text in parts, each with the classes of its marks."""
    marks = [(start, end, name) for start, end, name in marks if start < limit]
    size = min(len(text), limit)
    ends = {at for start, end, _ in marks for at in (start, end)}
    borders = sorted({0, size} | {at for at in ends if at < size})
    parts = []
    for start, end in pairwise(borders):
        on_it = sorted({name for first, last, name in marks if first <= start and end <= last})
        parts.append((visible(text[start:end]), " ".join(on_it)))
    if any(start == len(text) for start, _, _ in marks):
        parts.append((END, "token"))
    return [*parts, (_rest(len(text) - size), "")] if len(text) > size else parts


def visible(text: str, limit: int | None = None) -> str:
    """Control and direction characters spelt out, as `⟨U+202E⟩`; cut to `limit` characters."""
    more = len(text) - limit if limit is not None else 0
    shown = "".join(
        character
        if character == "\n" or unicodedata.category(character) not in _UNSEEN
        else f"⟨U+{ord(character):04X}⟩"
        for character in text[:limit]
    )
    return shown + _rest(more) if more > 0 else shown


def _rest(count: int) -> str:
    return f" … ({count:,} more characters)"
