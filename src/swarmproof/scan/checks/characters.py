"""Characters that a reader does not see, or takes for others."""

from __future__ import annotations

import re
import unicodedata

from swarmproof.scan.corpus import Span

# Zero width, tags, fillers, and marks that change the direction of what follows.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e007f\U000e0100-\U000e01ef]"
)
_WORD = re.compile(r"[^\W\d_]{2,}")
_MIXABLE = ("LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE")


def invisible(text: str) -> list[tuple[Span, str]]:
    """Invisible and direction-changing characters. Joiners of emoji and of scripts are none."""
    if text.isascii():
        return []
    return [(m.span(), f"U+{ord(m[0]):04X}") for m in _INVISIBLE.finditer(text)]


def homoglyphs(text: str) -> list[tuple[Span, str]]:
    """Words with letters of two alphabets that look alike, such as a Cyrillic a in a Latin word.

    Words of one alphabet are none, nor Greek letters alone, as in formulas.
    """
    if text.isascii():
        return []
    return [
        (match.span(), "+".join(scripts))
        for match in _WORD.finditer(text)
        if not match[0].isascii() and len(scripts := _scripts(match[0])) > 1
    ]


def _scripts(word: str) -> list[str]:
    names = {unicodedata.name(letter, "").partition(" ")[0] for letter in word}
    return sorted(names.intersection(_MIXABLE))
