"""Equations in a text, recomputed exactly. Knows no defence and no model; never raises.

It reads whole and decimal numbers, also with thousands separators, a currency or in English words;
the operators + - * / in their usual spellings, also in words; brackets; and `=`, `is`, `makes` or
`equals`. Its time is linear in the length of the text, because texts come from peers.

The exact rule. Two sides with `=` between them are compared if one of them is a computation, or
comes after one in the same chain. A side has no value, and so gives no verdict, if an operator
stands before or behind it, if a percent sign, a letter, a power or a word such as `more` is
attached to it, or if it is too long. In `2 * 3 = 6 + 4 = 10` the middle is read in two ways, as 10
and as 6: an equation is false only if it is false in both ways. A result that may be rounded gives
no verdict either: one with decimals, or that of a division before `remainder` or `rounded`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
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
_APPLY: Mapping[str, Callable[[Exact, Exact], Exact]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": Fraction,
}  # fmt: skip

_VERB = r"equals?|is|are|makes?|gives?|comes\s+to"
_EQUALS = re.compile(rf"=|\b(?:{_VERB})\b", re.IGNORECASE)
_STOP = re.compile(r"[.!?](?=\s)")
_MOST_DIGITS, _MOST_PARTS = 30, 128  # of a number, of a side
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
# What is attached to a number in words, and what may follow the whole result of a division.
_BEHIND = re.compile(
    r"\s*(?:(?:more|less|fewer|percent|of|dozens?|half|halves|thirds?|quarters?)\b"
    r"|and\s+[$(]*[0-9]+/[0-9])",
    re.IGNORECASE,
)
_REST = re.compile(r"\s*(?:,\s*)?(?:remainder|rest\b|r\s*[0-9]|rounded)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Equality:
    """Two sides of a text that are stated to be equal."""

    true: bool
    span: Span  # in characters, both sides
    results: tuple[Span, ...]  # the numbers that are stated as the result


class _Token(NamedTuple):
    kind: str  # number, operator, equals or bracket
    sign: str  # +, -, *, /, (, ) or =; empty for a number
    value: Exact | None
    decimals: int
    span: Span


def equalities(text: str) -> list[Equality]:
    """Every equation of a text that is certainly true or certainly false, in order.

    Read by sentences, which solutions share. No rule looks over a stop with white space behind it.
    """
    found, start = [], 0
    for match in _STOP.finditer(text):
        found += _moved(_of_sentence(text[start : match.end()]), start)
        start = match.end()
    return found + _moved(_of_sentence(text[start:]), start)


def _moved(found: Sequence[Equality], by: int) -> list[Equality]:
    def moved(span: Span) -> Span:
        return span[0] + by, span[1] + by

    return [Equality(e.true, moved(e.span), tuple(map(moved, e.results))) for e in found]


@lru_cache(maxsize=4096)
def _of_sentence(text: str) -> tuple[Equality, ...]:
    return tuple(_in_whole(text)) if _EQUALS.search(text) else ()


def _in_whole(text: str) -> list[Equality]:
    found = []
    for run, before in _runs(text):
        if len(run) < 5:  # the least for two sides, one of which is a computation
            continue
        sides, worded = _sides(run)
        computed = False
        for i, (left, right) in enumerate(pairwise(sides)):
            first, last = i == 0, i + 2 == len(sides)
            computed = computed or _computes(left)
            if (
                _comparable(left, right, computed, in_words=worded[i])
                and not (first and _attached(before, left))
                and not (last and _BEHIND.match(text, end := right[-1].span[1]))
                and not (last and any(t.sign == "/" for t in left) and _REST.match(text, end))
            ):
                equality = _compare(left, right, stated_first=not computed)
                found += [equality] if equality else []
            computed = computed or _computes(right)
    return found


def _comparable(
    left: Sequence[_Token], right: Sequence[_Token], computed: bool, *, in_words: bool
) -> bool:
    """Whether an equals sign between these sides, or a word, states a result."""
    if not left or not right or not (computed or _computes(right)):
        return False
    if not in_words:
        return True
    # `3/4 is 15` speaks of a share, and `5 - 1 = 4 are 2` begins another sentence.
    value = _value(left) if len(left) == 3 and left[1].sign == "/" else None
    share = value is not None and value < 1
    return (_computes(left) and not share) or not computed


def _attached(before: str, left: Sequence[_Token]) -> bool:
    """Whether what stands in front belongs to the first side.

    `2(3 + 4) = 14` is a product, and in `Step 1 = 2 + 3` the number is a name.
    """
    close, last = before[-1:], before.rstrip()[-1:]
    named = not _computes(left) and last.isalnum()
    return named or close.isalnum() or (bool(last) and (close in "%)" or last in "^√²³°"))


def _runs(text: str) -> Iterator[tuple[list[_Token], str]]:
    """Longest sequences of tokens with only white space between them, and what stands before."""
    run: list[_Token] = []
    before, end = "", 0
    ascii = text.isascii()  # other texts may become longer in lower case
    for match in _TOKEN_OF_LOWER.finditer(text.lower()) if ascii else _TOKEN.finditer(text):
        start = match.start()
        if start > end and not text[end:start].isspace():
            yield run, before
            run = []
            # The last character in front, and the white space after it.
            before = text[end:start] if start - end < 9 else text[start - 9 : start]
        opens_line = match[0] in "-*" and (
            start == 0 or text[max(end, start - 9) : start].rstrip(" \t").endswith("\n")
        )
        end = match.end()
        if match.lastgroup == "bold":
            continue
        token = _read(match)
        bullet = opens_line and text[end : end + 1].isspace()
        if bullet or _starts_anew(run, token, text):
            yield run, before
            run, before = [], ""
        if not bullet:
            run.append(token)
    yield run, before


def _read(match: re.Match[str]) -> _Token:
    kind, found = match.lastgroup or "", match[0]
    if kind in ("number", "digits"):
        digits = match["digits"].replace(",", "")
        if len(digits) > _MOST_DIGITS:
            return _Token("number", "", None, 0, match.span("digits"))
        decimals = len(digits.partition(".")[2])
        value = Fraction(digits) if decimals else int(digits)
        return _Token("number", "", value, decimals, match.span("digits"))
    if kind == "word":
        return _Token("number", "", _in_words(found), 0, match.span())
    if kind == "operator":
        name = " ".join(found.lower().split())
        return _Token(kind, _OPERATORS.get(name, name), None, 0, match.span())
    return _Token(kind, found[0], None, 0, match.span())


def _starts_anew(run: Sequence[_Token], token: _Token, text: str) -> bool:
    """Whether a number right after a number begins another computation.

    It does not in `1 000`, `5 thousand` and `1 1/2`, which have no value here.
    """
    if not run or run[-1].kind != "number" or token.kind != "number":
        return False
    start, end = token.span
    grouped = end - start == 3 and text[start:end].isdecimal()
    return not (grouped or token.value is None or text[end : end + 1] == "/")


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


def _sides(run: Sequence[_Token]) -> tuple[list[Sequence[_Token]], list[bool]]:
    """The sides of a run, and whether a word stands between each and the next."""
    sides: list[list[_Token]] = [[]]
    worded = []
    for token in run:
        if token.kind == "equals":
            sides.append([])
            worded.append(token.sign != "=")
        else:
            sides[-1].append(token)
    return [_balanced(side) for side in sides], worded


def _balanced(side: Sequence[_Token]) -> Sequence[_Token]:
    """The side without brackets that enclose more than it."""
    depth, lowest = 0, 0
    if all(token.kind != "bracket" for token in side):
        return side
    for token in side:
        depth += (token.sign == "(") - (token.sign == ")")
        lowest = min(lowest, depth)
    first, last = 0, len(side)
    while first < min(depth - lowest, last) and side[first].sign == "(":
        first += 1
    while last > first and len(side) - last < -lowest and side[last - 1].sign == ")":
        last -= 1
    return side[first:last]


def _computes(side: Sequence[_Token]) -> bool:
    return len(side) > 2 and sum(token.kind == "number" for token in side) > 1


def _compare(
    left: Sequence[_Token], right: Sequence[_Token], *, stated_first: bool
) -> Equality | None:
    a, b = _value(left), _value(right)
    if a is None or b is None:
        return None
    stated = left if stated_first else right
    if a != b:
        runs_on = _computes(right) and a == next(t.value for t in right if t.kind == "number")
        decimals = stated[-1].decimals  # a number with decimals may be rounded
        if runs_on or (decimals and abs(Fraction(a) - b) < Fraction(1, 10**decimals)):
            return None
    results = tuple(token.span for token in stated if token.kind == "number")
    return Equality(a == b, (left[0].span[0], right[-1].span[1]), results)


def _value(side: Sequence[_Token]) -> Exact | None:
    """The value of a computation with the usual precedence; None if it has none."""
    if len(side) == 1:
        return side[0].value
    parts = _parts(side) if len(side) <= _MOST_PARTS else []
    # `6 / 1/2` may mean 3 or 12.
    if not parts or any(a == c == "/" for a, c in zip(parts[1:], parts[3:], strict=False)):
        return None
    while "(" in parts:
        start = len(parts) - 1 - parts[::-1].index("(")
        if ")" not in parts[start:]:
            return None
        end = parts.index(")", start)
        inner = _flat(parts[start + 1 : end])
        if inner is None:
            return None
        parts[start : end + 1] = [inner]
    return _flat(parts)


def _parts(side: Sequence[_Token]) -> list[Exact | str]:
    """Numbers and signs of a side; empty if a number has no value. A minus that is attached to its
    number, with no number in front, makes it negative."""
    parts: list[Exact | str] = []
    negative = False
    for i, token in enumerate(side):
        if token.kind == "number":
            if token.value is None:
                return []
            parts.append(-token.value if negative else token.value)
            negative = False
            continue
        opens = not parts or (isinstance(parts[-1], str) and parts[-1] != ")")
        attached = i + 1 < len(side) and side[i + 1].span[0] == token.span[1]
        negative = token.sign == "-" and opens and attached and side[i + 1].kind == "number"
        if not negative:
            parts.append(token.sign)
    return parts


def _flat(parts: Sequence[Exact | str]) -> Exact | None:
    """The value of numbers and signs in turn; None if they are not in turn."""
    values = [part for part in parts[::2] if not isinstance(part, str)]
    signs = [part for part in parts[1::2] if isinstance(part, str) and part in _APPLY]
    if len(values) != len(signs) + 1 or len(values) + len(signs) != len(parts):
        return None
    for rank in ("*/", "+-"):
        done, left = [values[0]], []
        for sign, value in zip(signs, values[1:], strict=True):
            if sign not in rank:
                done.append(value)
                left.append(sign)
            elif sign == "/" and not value:
                return None
            else:
                done[-1] = _APPLY[sign](done[-1], value)
        values, signs = done, left
    return values[0]
