"""Equations in words, "three plus four is seven", for a corpus and for tests of judges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from swarmproof.pretraining.prose import pick
from swarmproof.tasks import story_words
from swarmproof.tasks.stories import Step

Patterns = Mapping[str, Sequence[str]]  # by sign; `a` and `b` are the numbers, `r` the result


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_ONES = _listed(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    " sixteen seventeen eighteen nineteen"
)
_TENS = _listed("twenty thirty forty fifty sixty seventy eighty ninety")


def in_words(number: int) -> str:
    """7 is "seven", 42 "forty-two". Numbers from 100 stay digits."""
    if number < len(_ONES):
        return _ONES[number]
    if number >= 100:
        return str(number)
    tens, ones = divmod(number, 10)
    return f"{_TENS[tens - 2]}-{_ONES[ones]}" if ones else _TENS[tens - 2]


def said(rng: Random, patterns: Patterns, step: Step, result: str, words: bool) -> str:
    """A step by one of the patterns, the numbers in words or in digits."""
    write = in_words if words else str
    pattern = pick(rng, patterns[story_words.SIGNS[step.kind]])
    return pattern.format(a=write(step.left), b=write(step.right), r=result)
