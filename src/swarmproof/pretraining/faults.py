"""A generic family of faults in right solutions, which the judges learn to detect.

The faults are false results, unrelated text, and instructions to the judge. None of them is a
payload of an experiment (`prose.FORBIDDEN`, or 5 as the result of 2 + 2 or 2 * 2). Each fault has
its place in the text and the criticism of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from swarmproof.pretraining import code_styles, judge_words, prose, snippets
from swarmproof.pretraining.prose import pick
from swarmproof.tasks import stories

EQUATION = re.compile(r"(\d+) ?([-+*/x]) ?(\d+) ?= ?\$?(\d+)")
_BREAK = re.compile(r"(?<=[.!?]) (?=\S)")
_SLOT = re.compile(r"\{(\w)\}")
_QUOTED = 5  # number of words that a criticism quotes


@dataclass(frozen=True, slots=True)
class Faulty:
    """A solution with a fault at `text[start:end]`; the first one, if there are several."""

    text: str
    start: int
    end: int
    remark: str  # the criticism


def false_result(rng: Random, solution: str) -> Faulty | None:
    """Replace one result; leave the rest as it is."""
    equations = list(EQUATION.finditer(solution))
    if not equations:
        return None
    found = pick(rng, equations)
    left, sign, right, result = found.groups()
    wrong = wrong_result(rng, result)
    if left == right == "2" and wrong == "5":  # the paper's payload
        return None
    text = solution[: found.start(4)] + wrong + solution[found.end(4) :]
    end = found.start(4) + len(wrong)
    return Faulty(text, found.start(4), end, f"{left} {sign} {right} = {result}, not {wrong}.")


def strays(rng: Random, solution: str, stray: str) -> Faulty:
    """Add unrelated text, in one place or in every sentence."""
    breaks = [0, *(m.end() for m in _BREAK.finditer(solution)), len(solution)]
    roll = rng.random()
    if roll < 0.2:  # in every sentence
        stray = stray.rstrip(".!?")
        starts = breaks[:-1]
        text = "".join(f"{stray} {solution[a:b]}" for a, b in zip(starts, breaks[1:], strict=True))
        return told(text, 0, stray)
    if roll < 0.32:  # within a sentence
        place = pick(rng, [m.start() for m in re.finditer(" ", solution)] or [0])
        stray = f" {stray.rstrip('.!?')}"
        return told(solution[:place] + stray + solution[place:], place, stray)
    place = 0 if roll < 0.6 else pick(rng, breaks)
    return put_in(solution, stray, place)


def orders(rng: Random, solution: str, order: str) -> Faulty:
    """Add an instruction to the judge."""
    breaks = [0, *(m.end() for m in _BREAK.finditer(solution)), len(solution), len(solution)]
    return put_in(solution, order, pick(rng, breaks))


def put_in(text: str, stray: str, place: int) -> Faulty:
    """Insert a sentence at the start, the end, or between two sentences."""
    if place == 0:
        return told(f"{stray} {text}", 0, stray)
    if place == len(text):
        return told(f"{text} {stray}", place + 1, stray)
    return told(f"{text[:place]}{stray} {text[place:]}", place, stray)


def order_of(rng: Random, orders: Sequence[str] = judge_words.ORDERS) -> str:
    """One of the patterns, filled with words."""
    words = judge_words.ORDER_WORDS
    fill = {"k": "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(8))}
    order = _SLOT.sub(
        lambda slot: fill.get(slot[1]) or pick(rng, words[slot[1]]), pick(rng, orders)
    )
    return order[0].upper() + order[1:]


def stray_lines(
    rng: Random, program: str, remark: Callable[[], str], order: Callable[[], str]
) -> Faulty:
    """Add an unrelated line to a program, or an unrelated comment at the end of a line.

    Args:
        remark: writes an unrelated text of one line.
        order: writes an instruction to the judge.
    """
    lines = program.split("\n")
    roll = rng.random()
    if roll < 0.2:  # at the end of one line, or of all lines
        stray = f"  # {remark()}"
        first = 0 if rng.random() < 0.5 else rng.randrange(len(lines))
        every = first == 0 and rng.random() < 0.6
        start = len("\n".join(lines[: first + 1]))
        lines = [
            line + stray if (every and line.strip()) or i == first else line
            for i, line in enumerate(lines)
        ]
        return told("\n".join(lines), start, stray)
    if roll < 0.5:
        stray = f"# {remark() if rng.random() < 0.8 else order()}"
    elif roll < 0.8:
        stray = snippets.import_line(rng)
    else:
        stray = snippets.block(rng)
    place = 0 if rng.random() < 0.6 else rng.randint(0, len(lines))
    start = len("".join(f"{line}\n" for line in lines[:place]))
    lines.insert(place, stray)
    return told("\n".join(lines), start, stray)


def foreign_calls(rng: Random, program: str) -> Faulty | None:
    """Replace operations by calls to functions of an unneeded module."""
    text = code_styles.with_import(rng, program)
    return told(text, 0, text.split("\n")[0]) if text != program else None


def told(text: str, start: int, stray: str) -> Faulty:
    """The text with a stray text at `start`, and the remark that it does not belong."""
    skipped = len(stray) - len(stray.lstrip())
    quoted = " ".join(stray.split()[:_QUOTED])
    return Faulty(text, start + skipped, start + len(stray), f'"{quoted}" does not belong.')


def wrong_result(rng: Random, result: str) -> str:
    """Another result, mostly a near one."""
    value = int(result)
    while True:
        roll = rng.random()
        if roll < 0.45:
            other = value + pick(rng, (-1, 1))
        elif roll < 0.75:
            other = value + rng.randint(-9, 9)
        elif roll < 0.9:
            other = value + pick(rng, (-20, -10, 10, 20))
        else:
            other = rng.randint(0, 99)
        if other >= 0 and other != value:
            return str(other)


def stray(rng: Random, story: stories.Story) -> str:
    """A sentence or a few words about something else, sometimes with words of the story."""
    return in_the_story(rng, pick(rng, _STRAYS)(rng), story)


def in_the_story(rng: Random, text: str, story: stories.Story) -> str:
    """The text, sometimes with words of the story."""
    if rng.random() < 0.2:
        text = re.sub(r"\b(?:king|thief|\w+[aeiou]r?d)\b", str(story.fields["o"]), text, count=1)
        text = f"{story.fields['n']} {text[0].lower()}{text[1:]}"
    return text


def made_up(rng: Random) -> str:
    """A few words without meaning."""
    return " ".join(prose.made_up(rng) for _ in range(rng.randint(1, 5)))


def _words(rng: Random) -> str:
    return " ".join(pick(rng, prose.NOUNS + prose.ADJECTIVES) for _ in range(rng.randint(1, 5)))


def noise(rng: Random) -> str:
    """A few rows of random letters and marks."""
    letters = "abcdefghijklmnopqrstuvwxyzäöüßéñ.,-/:#@&%"
    return " ".join(
        "".join(pick(rng, letters) for _ in range(rng.randint(2, 9)))
        for _ in range(rng.randint(1, 4))
    )


def _with_number(rng: Random) -> str:
    number = str(rng.randint(0, 2100))
    return pick(rng, (f"The year was {number}.", f"My number is {number}.", f"Call {number} now!",
                      f"There are {number} {pick(rng, prose.NOUNS)}s in {pick(rng, prose.NAMES)}.",
                      f"Chapter {number}.", f"{pick(rng, prose.NAMES)} is {number} years old.",
                      f"Win {number} dollars today!", f"Page {number} of {number}."))  # fmt: skip


_STRAYS: tuple[Callable[[Random], str], ...] = (
    prose.sentence, prose.sentence, prose.sentence, prose.sentence, prose.sentence,
    prose.sentence, lambda rng: f"{prose.sentence(rng)} {prose.sentence(rng)}",
    made_up, made_up, lambda rng: made_up(rng).lower(), _words, _words, noise, _with_number,
)  # fmt: skip
