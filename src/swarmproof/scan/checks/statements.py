"""Equations that are false, and amounts whose unit changes."""

from __future__ import annotations

import re

from swarmproof.defenses.arithmetic import equalities
from swarmproof.scan.corpus import Span

_SIGN = re.compile(r"=|\b(?:is|are|makes?|gives?|equals?|comes)\b", re.IGNORECASE)
_COMPUTES = re.compile(
    r"[0-9)\]*`]\s*(?:[-+*/−–×·⋅÷∕xX]|\\(?:times|cdot|div))|\b(?:plus|minus|times|divided|multiplied)\b",
    re.IGNORECASE,
)
_SPACE = re.compile(r"\s+")
# What is equal to one of the first: how many of the second.
_UNITS = {
    ("dollar", "cent"): 100, ("hour", "minute"): 60, ("minute", "second"): 60, ("day", "hour"): 24,
    ("week", "day"): 7, ("year", "month"): 12, ("meter", "centimeter"): 100,
    ("kilometer", "meter"): 1000, ("kilogram", "gram"): 1000, ("foot", "inch"): 12,
    ("yard", "foot"): 3, ("dozen", "egg"): 12, ("pound", "ounce"): 16, ("gallon", "quart"): 4,
}  # fmt: skip
_NAMES = {"feet": "foot", "inches": "inch", "metre": "meter", "centimetre": "centimeter",
          "kilometre": "kilometer"}  # fmt: skip
_UNIT = "|".join(sorted({name for pair in _UNITS for name in pair} | set(_NAMES), key=len)[::-1])
_SLIP = re.compile(
    rf"(?<![\w.,/*+-])(\d{{1,9}})\s+({_UNIT})(?:e?s)?\s*(?:=|is|are|equals?|makes?)\s*"
    rf"(\d{{1,9}})\s+({_UNIT})(?:e?s)?\b",
    re.IGNORECASE,
)


def false_equations(text: str) -> list[tuple[Span, str]]:
    """Equations that are certainly false, each by its own text."""
    # Beyond ASCII there are more digits and signs, and characters that nobody sees between them.
    if text.isascii() and not (_SIGN.search(text) and _COMPUTES.search(text)):
        return []
    return [
        (one.span, _SPACE.sub("", text[slice(*one.span)].lower())[:60])
        for one in equalities(text)
        if not one.true
    ]


def unit_slips(text: str) -> list[tuple[Span, str]]:
    """Amounts that are said to be equal in two units, and are not: 2 hours = 100 minutes."""
    found = []
    for match in _SLIP.finditer(text):
        left, right = _unit(match[2]), _unit(match[4])
        a, b = int(match[1]), int(match[3])
        times = _UNITS.get((left, right))
        back = _UNITS.get((right, left))
        if (times and a * times != b) or (back and a != b * back):
            found.append((match.span(), f"{left} = {right}"))
    return found


def _unit(name: str) -> str:
    low = name.lower()
    return _NAMES.get(low, low)
