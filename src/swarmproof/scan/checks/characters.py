"""Characters that a reader does not see, or takes for others."""

from __future__ import annotations

import re
import unicodedata

from swarmproof.scan.corpus import Span

# Zero width, tags, fillers, and marks that change the direction of what follows. First what is
# honest: flags of regions, and the variants of a Chinese or Japanese sign.
_INVISIBLE = re.compile(
    "\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,8}\U000e007f"
    "|[\u3400-\u9fff][\U000e0100-\U000e01ef]"
    "|([\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e007f\U000e0100-\U000e01ef]"
    # Joiners belong to emoji and to the scripts of India and Persia, not between these letters.
    "|(?<=[0-9A-Za-z\u00c0-\u024f\u0370-\u052f])[\u200c\u200d])"
)
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_DIRECTIONS = frozenset("\u061c\u200e\u200f")
_WORD = re.compile(r"[^\W\d_]{2,}")
# Letters that are taken for Latin ones, and Latin letters that are taken for these.
_LIKE_LATIN = {
    "CYRILLIC": frozenset(
        "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0455\u0456\u0458\u0501\u051b\u051d\u0410\u0412"
        "\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423\u0425\u0405\u0406\u0408"
    ),
    "GREEK": frozenset(
        "\u03bf\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7"
    ),
    "ARMENIAN": frozenset("\u0585\u057d\u0570\u0578\u056f"),
    "CHEROKEE": frozenset(map(chr, range(0x13A0, 0x13F6))),
}
_LATIN_LIKE = {
    "CYRILLIC": frozenset("aeopcyxABEKMHOPCTXsij"),
    "GREEK": frozenset("oABEZHIKMNOPTYX"),
}
_LONG = 4  # letters; a Latin letter in a shorter word of Greek ones is a formula


def invisible(text: str) -> list[tuple[Span, str]]:
    """Invisible and direction-changing characters that no script there needs.

    A byte order mark at the start of a text is none, nor are marks of direction in a text with
    letters that are written from right to left.
    """
    if text.isascii():
        return []
    found = [match for match in _INVISIBLE.finditer(text) if match[1]]
    if found and _RIGHT_TO_LEFT.search(text):
        found = [match for match in found if match[1] not in _DIRECTIONS]
    return [
        (match.span(), f"U+{ord(match[1]):04X}")
        for match in found
        if not (match[1] == "\ufeff" and match.start() == 0)
    ]


def homoglyphs(text: str) -> list[tuple[Span, str]]:
    """Words with letters of another alphabet that look like its own: a Cyrillic a in a Latin word.

    Letters that nobody takes for others are none, such as those of formulas.
    """
    if text.isascii():
        return []
    return [
        (match.span(), found)
        for match in _WORD.finditer(text)
        if not match[0].isascii() and (found := _disguised(match[0]))
    ]


def _disguised(word: str) -> str | None:
    """The two alphabets of a word that hides letters of one in the other."""
    by_script: dict[str, set[str]] = {}
    for letter in word:
        name = unicodedata.name(letter, "").partition(" ")[0]
        by_script.setdefault(name, set()).add(letter)
    latin = by_script.get("LATIN")
    if latin is None:
        return None
    for script, alike in _LIKE_LATIN.items():
        own = by_script.get(script)
        back = _LATIN_LIKE.get(script, frozenset())
        if own and (own <= alike or (len(word) >= _LONG and latin <= back)):
            return f"{script}+LATIN"
    return None
