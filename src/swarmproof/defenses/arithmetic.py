"""Equations in a text, recomputed exactly. Knows no defence and no model; never raises.

`equation_tokens` says which numbers and signs are read. The time is linear in the length of the
text, because texts come from peers.

The exact rule. Two sides with `=` between them are compared if one of them is a computation, or
comes after one in the same chain. A side has no value, and so gives no verdict, if an operator
stands before or behind it (a plus sign behind `=` is none), if a percent sign, a letter, a power or
a word such as `more` is attached to it, or if it is too long. In `2 * 3 = 6 + 4 = 10` the middle is
read in two ways, as 10 and as 6: an equation is false only if it is false in both ways. So is
`2 * 3 = 3!`, whose mark may be a factorial, and `5 + 9 = 2 mod 12`. A result that may be rounded
gives no verdict either: one with decimals, or that of a division before `remainder` or `rounded`.
Units are not read: `30 * 2 = 1 hour` is false, or a unit would excuse every false sum.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from math import factorial

from swarmproof.defenses.equation_tokens import EQUALS, Exact, Span, Token, plain, runs

_APPLY: Mapping[str, Callable[[Exact, Exact], Exact]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": Fraction,
}  # fmt: skip

# What is attached to a number in words, and what may follow the whole result of a division.
_BEHIND = re.compile(
    r"\s*(?:(?:more|less|fewer|per\s*cent|of|dozens?|half|halves|thirds?|quarters?)\b"
    r"|and\s+[$(]*[0-9]+/[0-9])",
    re.IGNORECASE,
)
_MODULO = re.compile(r"\s*,?\s*\(?\s*mod(?:ulo)?\s+([0-9]{1,9})(?![0-9])", re.IGNORECASE)
_STOP = re.compile(r"[.!?](?=\s)")
_MOST_PARTS = 128  # of a side
_REST = re.compile(r"\s*(?:,\s*)?(?:remainder|rest\b|r\s*[0-9]|rounded)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Equality:
    """Two sides of a text that are stated to be equal."""

    true: bool
    span: Span  # in characters, both sides
    results: tuple[Span, ...]  # the numbers that are stated as the result


def equalities(text: str) -> list[Equality]:
    """Every equation of a text that is certainly true or certainly false, in order.

    Read by sentences, which solutions share. No rule looks over a stop with white space behind it.
    """
    seen, places = plain(text)
    found, start = [], 0
    for match in _STOP.finditer(seen):
        found += _moved(_of_sentence(seen[start : match.end()]), start)
        start = match.end()
    found += _moved(_of_sentence(seen[start:]), start)
    return found if places is None else _replaced(found, places)


def _replaced(found: Sequence[Equality], places: Sequence[int]) -> list[Equality]:
    """With the spans in the text that has the characters which are not seen, too."""

    def there(span: Span) -> Span:
        return places[span[0]], places[span[1] - 1] + 1

    return [Equality(e.true, there(e.span), tuple(map(there, e.results))) for e in found]


def _moved(found: Sequence[Equality], by: int) -> list[Equality]:
    def moved(span: Span) -> Span:
        return span[0] + by, span[1] + by

    return [Equality(e.true, moved(e.span), tuple(map(moved, e.results))) for e in found]


@lru_cache(maxsize=4096)
def _of_sentence(text: str) -> tuple[Equality, ...]:
    return tuple(_in_whole(text)) if EQUALS.search(text) else ()


def _in_whole(text: str) -> list[Equality]:
    found = []
    for run, before in runs(text):
        if len(run) < 5:  # the least for two sides, one of which is a computation
            continue
        sides, worded = _sides(run)
        computed = False
        for i, (left, right) in enumerate(pairwise(sides)):
            last = i + 2 == len(sides)
            computed = computed or _computes(left)
            if _comparable(left, right, computed, in_words=worded[i]) and not (
                (i == 0 and _attached(before, left)) or (last and _runs_on(text, left, right))
            ):
                equality = _compare(left, right, stated_first=not computed)
                found += _certain(text if last else "", equality, left, right)
            computed = computed or _computes(right)
    return found


def _runs_on(text: str, left: Sequence[Token], right: Sequence[Token]) -> bool:
    """Whether words behind the last side belong to its number."""
    end = right[-1].span[1]
    divides = any(token.sign == "/" for token in left)
    return bool(_BEHIND.match(text, end) or (divides and _REST.match(text, end)))


def _certain(
    text: str, equality: Equality | None, left: Sequence[Token], right: Sequence[Token]
) -> list[Equality]:
    """None if it is false, but true of a factorial, or of remainders as in `5 + 9 = 2 mod 12`.

    A false result is not excused by it: `2 + 2 = 5!` and `2 + 2 = 5 mod 1` stay false.
    """
    if equality is None or equality.true:
        return [equality] if equality else []
    a, b, end = _value(left), _value(right), equality.span[1]
    if not isinstance(a, int) or not isinstance(b, int):
        return [equality]
    mark = text[end : end + 1] == "!"
    modulus = int(found[1]) if (found := _MODULO.match(text, end)) else 0
    product = mark and 0 <= b <= 20 and factorial(b) == a
    return [] if product or (0 <= b < modulus and (a - b) % modulus == 0) else [equality]


def _comparable(
    left: Sequence[Token], right: Sequence[Token], computed: bool, *, in_words: bool
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


def _attached(before: str, left: Sequence[Token]) -> bool:
    """Whether what stands in front belongs to the first side.

    `2(3 + 4) = 14` is a product, and in `Step 1 = 2 + 3` the number is a name.
    """
    close, last = before[-1:], before.rstrip()[-1:]
    named = not _computes(left) and last.isalnum()
    return named or close.isalnum() or (bool(last) and (close in "%)" or last in "^√²³°"))


def _sides(run: Sequence[Token]) -> tuple[list[Sequence[Token]], list[bool]]:
    """The sides of a run, and whether a word stands between each and the next."""
    sides: list[list[Token]] = [[]]
    worded = []
    for token in run:
        if token.kind == "equals":
            sides.append([])
            worded.append(token.sign != "=")
        else:
            sides[-1].append(token)
    for side in sides[1:]:  # a plus sign behind `=` says nothing, see `_is_signed`
        if _is_signed(side, last=side is sides[-1]):
            del side[0]
    # A bracket at the end begins a remark: `= 5 (pens)`.
    while len(sides[-1]) > 1 and sides[-1][-1].sign == "(":
        sides[-1].pop()
    return [_balanced(side) for side in sides], worded


def _is_signed(side: Sequence[Token], *, last: bool) -> bool:
    """As in `= +5`. Where an operand is missing, as in `3 + 11 = + 11 = 22`, it is no sign."""
    if len(side) < 2 or side[0].sign != "+":
        return False
    return side[0].span[1] == side[1].span[0] or (last and len(side) == 2)


def _balanced(side: Sequence[Token]) -> Sequence[Token]:
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


def _computes(side: Sequence[Token]) -> bool:
    return len(side) > 2 and sum(token.kind == "number" for token in side) > 1


def _compare(
    left: Sequence[Token], right: Sequence[Token], *, stated_first: bool
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


def _value(side: Sequence[Token]) -> Exact | None:
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


def _parts(side: Sequence[Token]) -> list[Exact | str]:
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
