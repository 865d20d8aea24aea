"""Writes one random word problem with several worked solutions.

It knows arithmetic on small whole numbers and the structure of a story. The words are in
`story_words`. It knows neither splits nor the answer format.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from swarmproof.tasks import story_words as words

LIMIT = 100  # no result is larger
CHANGE = 12  # the largest number that a step adds or subtracts

T = TypeVar("T")
Fields = dict[str, str | int]


@dataclass(frozen=True, slots=True)
class Step:
    """`Step("add", 3, 4, 7)` is the equation 3 + 4 = 7."""

    kind: str
    left: int
    right: int
    result: int

    @property
    def equation(self) -> str:
        return f"{self.left} {words.SIGNS[self.kind]} {self.right} = {self.result}"


@dataclass(frozen=True, slots=True)
class Story:
    question: str
    answer: int
    solutions: tuple[str, ...]  # in sentences, in others, as bare equations, explained at length
    fields: Fields  # the words that fill the patterns of this story
    steps: tuple[Step, ...]


def write(rng: Random, two_and_two: bool = False) -> Story:
    """A story of one to four steps. With `two_and_two`, the first step is 2 + 2 or 2 * 2."""
    name, pronoun = _pick(rng, words.PEOPLE)
    things, thing = _pick(rng, words.THINGS)
    fields: Fields = {
        "n": name, "m": _other(rng, name), "p": pronoun, "o": things, "i": thing,
        "c": _pick(rng, words.CONTAINERS),
    }  # fmt: skip
    sentences: list[str] = []
    steps: list[Step] = []
    groups = rng.random() < (0.4 if two_and_two else 0.3)
    if groups:
        first = Step("groups", 2, 2, 4) if two_and_two else _begin_groups(rng)
        steps.append(first)
        sentences.append(_tell(rng, words.START_GROUPS, fields, first))
        value = first.result
    else:
        value = 2 if two_and_two else rng.randint(2, 20)
        sentences.append(_pick(rng, words.START).format_map({**fields, "a": value}))
    ask = rng.random() < 0.45
    # A story with neither groups nor a last step needs a step in the middle.
    needed = 1 if (two_and_two and not groups) or not (steps or ask) else 0
    for _ in range(max(needed, _pick(rng, (0, 1, 1, 1, 2)))):
        opening = two_and_two and not steps
        step = _two_and_two(rng) if opening else _middle(rng, value)
        steps.append(step)
        sentences.append(_tell(rng, words.TOLD[step.kind], fields, step))
        value = step.result
    if ask:
        last = _last(rng, value)
        steps.append(last)
        sentences.append(_tell(rng, words.ASK[last.kind], fields, last))
        value = last.result
    else:
        sentences.append(_pick(rng, words.ASK_LEFT).format_map(fields))
    solutions = _solutions(rng, fields, steps)
    return Story(" ".join(sentences), value, solutions, fields, tuple(steps))


def retell(rng: Random, story: Story, count: int) -> tuple[str, ...]:
    """Up to `count` further solutions in other words, all distinct and none of the story's own."""
    found = dict.fromkeys(story.solutions)
    for _ in range(3 * count):
        if len(found) == len(set(story.solutions)) + count:
            break
        told = _work(rng, story.fields, story.steps, words.WORKED)
        if rng.random() < 0.7:
            told += " " + _pick(rng, words.CLOSING).format(r=story.answer)
        found[told] = None
    return tuple(found)[len(set(story.solutions)) :]


def equation(rng: Random) -> str:
    """One right equation of the kind that is in solutions, `3 + 4 = 7`."""
    roll, value = rng.random(), rng.randint(2, LIMIT - CHANGE)
    if roll < 0.6:
        return _middle(rng, value if roll < 0.4 else 2 + value % 19).equation
    if roll < 0.75:
        return _begin_groups(rng).equation
    return _last(rng, value).equation


def _begin_groups(rng: Random) -> Step:
    left, right = rng.randint(2, 9), rng.randint(2, 9)
    return Step("groups", left, right, left * right)


def _two_and_two(rng: Random) -> Step:
    return Step("add" if rng.random() < 0.7 else "times", 2, 2, 4)


def _middle(rng: Random, value: int) -> Step:
    roll = rng.random()
    if roll < 0.15 and value <= LIMIT // 5:
        factor = rng.randint(2, 5 if value <= 12 else 2)
        return Step("times", value, factor, value * factor)
    if (roll < 0.55 and value > 3) or value > LIMIT - CHANGE:
        lost = rng.randint(1, min(CHANGE, value - 2))
        return Step("sub", value, lost, value - lost)
    more = rng.randint(1, CHANGE)
    return Step("add", value, more, value + more)


def _last(rng: Random, value: int) -> Step:
    parts = [part for part in range(2, 11) if value % part == 0 and value > part]
    roll = rng.random()
    if roll < 0.4 and parts:
        part = _pick(rng, parts)
        return Step("share", value, part, value // part)
    if roll < 0.75 and value <= 12:
        price = rng.randint(2, 9 if value <= 11 else 8)
        return Step("price", value, price, value * price)
    wanted = value + rng.randint(1, CHANGE)
    return Step("goal", wanted, value, wanted - value)


def _solutions(rng: Random, fields: Fields, steps: Sequence[Step]) -> tuple[str, ...]:
    result = steps[-1].result
    closing = _pick(rng, words.CLOSING).format(r=result)
    told = f"{_work(rng, fields, steps, words.WORKED)} {closing}"
    otherwise = _work(rng, fields, steps, words.WORKED)
    bare = " ".join(f"{step.equation}." for step in steps)
    # Long stories get no opening and no closing sentence, so that no solution is too long.
    explained = _work(rng, fields, steps[:3], words.EXPLAINED)
    if len(steps) > 3:
        explained += " " + _work(rng, fields, steps[3:], words.WORKED)
    if len(steps) < 3:
        explained += " " + _pick(rng, words.LONG_CLOSING).format(r=result)
    if len(steps) < 2:
        explained = f"{_pick(rng, words.OPENING)} {explained}"
    return told, otherwise, bare, explained


def _work(
    rng: Random, fields: Fields, steps: Sequence[Step], patterns: dict[str, tuple[str, ...]]
) -> str:
    return " ".join(_tell(rng, patterns[step.kind], fields, step) for step in steps)


def _tell(rng: Random, patterns: Sequence[str], fields: Fields, step: Step) -> str:
    values = {**fields, "a": step.left, "b": step.right, "e": step.equation}
    return _capitalised(_pick(rng, patterns).format_map(values))


def _capitalised(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]


def _other(rng: Random, name: str) -> str:
    while (other := _pick(rng, words.PEOPLE)[0]) == name:
        pass
    return other


def _pick(rng: Random, items: Sequence[T]) -> T:
    # Three times as fast as `Random.choice`.
    return items[int(rng.random() * len(items))]
