"""The numbers and signs of equations in a text. Knows no defence and no model; never raises.

It reads whole and decimal numbers, also with thousands separators, a currency or in English words;
the operators + - * / in their usual spellings, also in words; brackets; and `=`, `is`, `makes` or
`equals`. Digits may be of any script. Characters that are not seen, and Markdown around a number,
hide nothing. Square brackets and backticks are often lists, footnotes, indices and code. So they
are read only around a single number that is a result, as in `= [5]`, and brackets in `[2] + [2]`.
Elsewhere they end a computation, as words do. Its time is linear in the length of the text, because
texts come from peers.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

Span = tuple[int, int]
Exact = int | Fraction

_UNITS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SMALL = {word: n for n, word in enumerate(_UNITS)} | {
    word: 10 * n for n, word in enumerate(_TENS, start=2)
}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 1_000_000}
_WORD = "|".join(sorted({*_SMALL, *_SCALES}, key=len, reverse=True))

_OPERATORS = {
    "plus": "+", "−": "-", "–": "-", "minus": "-", "x": "*", "×": "*", "·": "*", "⋅": "*",
    "times": "*", "multiplied by": "*", "\\times": "*", "\\cdot": "*", "÷": "/", "∕": "/",
    "divided by": "/", "\\div": "/",
}  # fmt: skip

_VERB = r"equals?|is|are|makes?|gives?|comes\s+to"
EQUALS = re.compile(rf"=|\b(?:{_VERB})\b", re.IGNORECASE)
_MOST_DIGITS = 30  # of a number
_SOURCE = rf"""
    (?P<bold>\*\*)
    | (?P<word>(?<![\w-])(?:{_WORD})(?:(?:\s+and\s+|[\s-]+)(?:{_WORD}))*(?![\w-]))
    | (?P<number>(?:(?<![\w.,:%^])|(?<=[0-9)][xX]))(?:\\?[$€£])?
        (?P<digits>(?:[0-9]{{1,3}}(?:,[0-9]{{3}})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)
        (?!(?![xX]\s*[$0-9(])\w|[.,:][0-9]|\s*[%^²³°]))
    | (?P<operator>\\times|\\cdot|\\div|\b(?:plus|minus|times|multiplied\s+by|divided\s+by)\b
        |(?<![^\W\d])[xX](?![^\W\d])|[-+*/−–×·⋅÷∕])
    | (?P<equals>={{1,2}}|\b(?:(?:is|are)\s+equal\s+to|{_VERB})\b)
    | (?P<bracket>[()])
    """
_TOKEN = re.compile(_SOURCE, re.VERBOSE | re.IGNORECASE)
_TOKEN_OF_LOWER = re.compile(_SOURCE, re.VERBOSE)  # twice as fast
# What may be raised to a power, and what a number may be raised to.
_VARIABLE = re.compile(r"(?:^|\W)[^\W\d_]\s*$")
_EXPONENT = re.compile(r"\s*(?:-?[$(.]*[0-9]|-?\(|[^\W\d_](?!\w))")
# `*5*`, within a sentence. It may hold no other star, so that the time is linear.
_EMPHASIS = re.compile(r"\*(?=[^\s*])(?:[^*\n.!?]|[.!?](?!\s))+(?<!\s)(\*)(?!\w)")
_BOXED = r"\[[ \t]*[$€£]?[0-9]+(?:\.[0-9]+)?[ \t]*\]"
# A result in brackets or backticks, with nothing attached to it, and `[2] + [2]`.
_BRACKETED = re.compile(
    rf"""(?:=|\b(?:{_VERB}|equal\s+to)\b)\s*(?P<result>{_BOXED}|`[$€£]?[0-9]+(?:\.[0-9]+)?`)
        (?![\w\[(`]|\s*[-+*/−–×·⋅÷∕%^²³°])
    | (?P<operands>(?<![\w)\]]){_BOXED}(?:\s*[+*/x×÷]\s*{_BOXED}){{1,8}})(?![\w\[(]|\s*[%^²³°])""",
    re.VERBOSE | re.IGNORECASE,
)
_SEEN = str.maketrans("[]`", "() ")
_ASCII = bytes(range(128))
_INVISIBLE = frozenset("\u034f\u115f\u1160\u3164\uffa0") | {chr(n) for n in range(0xFE00, 0xFE10)}


class Token(NamedTuple):
    kind: str  # number, operator, equals, bracket or power
    sign: str  # +, -, *, /, **, (, ) or =; empty for a number
    value: Exact | None
    decimals: int
    span: Span


def plain(text: str) -> tuple[str, list[int] | None]:
    """The text as it is seen, and where each of its characters comes from; None if it is there.

    Digits of all scripts and full-width signs become those of ASCII. Characters that are not seen
    are dropped, such as a zero-width space or a soft hyphen.
    """
    if text.isascii():
        return _unboxed(text), None
    # Few characters of a usual text are other than ASCII, and few of these are to be changed.
    beyond = text.encode("utf-8", "surrogatepass").translate(None, _ASCII)
    others = set(beyond.decode("utf-8", "surrogatepass"))
    changed = {ord(char): new for char in others if (new := _character(char)) != char}
    if not changed:
        return _unboxed(text), None
    whole = _unboxed(text.translate(changed))
    if len(whole) == len(text):
        return whole, None
    return whole, [i for i, char in enumerate(text) if changed.get(ord(char), char)]


def _unboxed(text: str) -> str:
    """With round brackets in place of the square ones, and spaces in place of the backticks, that
    are read."""
    return _BRACKETED.sub(_unbox, text) if "[" in text or "`" in text else text


def _unbox(match: re.Match[str]) -> str:
    # Behind a number or a word, `[1] + [2]` are footnotes or items.
    start = match.start()
    front = match.string[max(0, start - 9) : start].rstrip()
    if match["operands"] and (start if not front else front[-1].isalnum() or front[-1] in ")]%"):
        return match[0]
    return match[0].translate(_SEEN)


@lru_cache(maxsize=4096)
def _character(char: str) -> str:
    if unicodedata.category(char) == "Cf" or char in _INVISIBLE:
        return ""
    if "！" <= char <= "～":
        return chr(ord(char) - ord("！") + ord("!"))
    digit = unicodedata.decimal(char, None)
    return char if digit is None else str(digit)


def runs(text: str) -> Iterator[tuple[list[Token], str]]:
    """Longest sequences of tokens with only white space between them, and what stands before."""
    run: list[Token] = []
    before, end, closer, depth = "", 0, 0, 0
    for match in _matches(text):
        start = match.start()
        if start > end and not text[end:start].isspace():
            yield run, before
            run, depth = [], 0
            # The last character in front, and the white space after it.
            before = text[end:start] if start - end < 9 else text[start - 9 : start]
        sign = match[0]
        bullet = sign in "-*" and _is_bullet(match, text, end)
        end = match.end()
        if sign[0] == "*":
            closer = _closer(run, match, text) or closer
            if _decorates(run, before, match, text, closer):
                continue
        token = _read(match)
        anew = _starts_anew(run, token, text) or _is_marker(run, before, depth, token, text)
        if bullet or anew:
            yield run, before
            run, before, depth = [], "", 0
        if not bullet:
            run.append(token)
            depth += (token.sign == "(") - (token.sign == ")")
    yield run, before


def _matches(text: str) -> Iterator[re.Match[str]]:
    # Texts other than ASCII may become longer in lower case.
    return _TOKEN_OF_LOWER.finditer(text.lower()) if text.isascii() else _TOKEN.finditer(text)


def _is_bullet(match: re.Match[str], text: str, end: int) -> bool:
    """Whether a sign begins a line; `end` is that of the token in front."""
    start = match.start()
    if not text[match.end() : match.end() + 1].isspace():
        return False
    return not start or text[max(end, start - 9) : start].rstrip(" \t").endswith("\n")


def _closer(run: Sequence[Token], match: re.Match[str], text: str) -> int:
    """Where the emphasis ends that a star begins; 0 if it is none, such as a product."""
    start = match.start()
    follows = run and (run[-1].kind == "number" or run[-1].sign == ")")
    if match[0] != "*" or follows or (start and text[start - 1].isalnum()):
        return 0
    found = _EMPHASIS.match(text, start)
    return found.start(1) if found else 0


def _decorates(
    run: Sequence[Token], before: str, match: re.Match[str], text: str, closer: int
) -> bool:
    """Whether stars are Markdown. Those of a power have white space on both sides, or on none."""
    start, end = match.span()
    if match[0] == "*":
        return start == closer or _closer(run, match, text) > 0
    if match.lastgroup != "bold" or not _EXPONENT.match(text, end):
        return match.lastgroup == "bold"
    spaced = text[start - 1 : start].isspace(), text[end : end + 1].isspace()
    raised = run[-1].kind == "number" or run[-1].sign == ")" if run else _VARIABLE.search(before)
    return spaced[0] != spaced[1] or not raised


def _read(match: re.Match[str]) -> Token:
    kind, found = match.lastgroup or "", match[0]
    if kind in ("number", "digits"):
        digits = match["digits"].replace(",", "")
        if len(digits) > _MOST_DIGITS:
            return Token("number", "", None, 0, match.span("digits"))
        decimals = len(digits.partition(".")[2])
        value = Fraction(digits) if decimals else int(digits)
        return Token("number", "", value, decimals, match.span("digits"))
    if kind == "word":
        return Token("number", "", _in_words(found), 0, match.span())
    if kind == "operator":
        name = " ".join(found.lower().split())
        return Token(kind, _OPERATORS.get(name, name), None, 0, match.span())
    if kind == "bold":  # of those that are read, each is a power
        return Token("power", found, None, 0, match.span())
    return Token(kind, found[0], None, 0, match.span())


def _starts_anew(run: Sequence[Token], token: Token, text: str) -> bool:
    """Whether a number right after a number begins another computation.

    It does not in `1 000`, `5 thousand` and `1 1/2`, which have no value here.
    """
    if not run or run[-1].kind != "number" or token.kind != "number":
        return False
    start, end = token.span
    grouped = end - start == 3 and text[start:end].isdecimal()
    return not (grouped or token.value is None or text[end : end + 1] == "/")


def _is_marker(run: Sequence[Token], before: str, depth: int, token: Token, text: str) -> bool:
    """Whether the run only numbers what comes: `1)`, `(1)`, or the end of `(a)`.

    In `(2 + 1) 3` and `f(2) 3` the bracket belongs to a computation.
    """
    if not run or run[-1].sign != ")" or not text[run[-1].span[1]].isspace():
        return False
    number = token.kind == "number"
    alone = len(run) == 3 and run[0].sign == "(" and not before[-1:].isalnum()
    return (number and alone) or (depth < 0 and (number or token.sign == "("))


def _in_words(text: str) -> int | None:
    """The value of a number in words; None if it is none, such as `five two`."""
    total, current, last = 0, 0, 1 << 60
    for word in re.split(r"[\s-]+", text.lower()):
        if word == "and":
            continue
        if word in _SMALL:
            n = _SMALL[word]
            if n >= last or (0 < last < 20) or (n >= 10 and last < 100):
                return None
            current, last = current + n, n
        elif not current:
            return None
        elif word == "hundred":
            if current >= 100:
                return None
            current, last = 100 * current, 100
        else:
            total, current, last = total + _SCALES[word] * current, 0, _SCALES[word]
        if total + current >= 10**9:
            return None
    return total + current
