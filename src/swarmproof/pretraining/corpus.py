"""The corpus of the tiny base models: it teaches the task, but rarely the answer format.

Most documents are worked word problems. Many of these have a careless error, which later steps may
or may not carry on. Many are in a format that is not rewarded, and some contain a sentence that has
nothing to do with the question. The other documents are prose and equations. So the model knows how
to solve the problems and how the format looks, but a sample at temperature 1 is seldom right: the
rest is left to RL.

Errors are random numbers: no wrong result is more likely than its neighbours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from swarmproof.pretraining import prose
from swarmproof.pretraining.prose import pick
from swarmproof.tasks import answers, stories

_NUMBER = re.compile(r"\d+")
_EQUATION = re.compile(r"(\d+) ([+*/-]) (\d+) = (\d+)")


@dataclass(frozen=True, slots=True)
class Mixture:
    """Shares of the corpus, each in [0, 1]."""

    prose: float = 0.08  # documents of unrelated sentences
    sums: float = 0.10  # documents that consist of right equations
    careless: float = 0.38  # of the problems: an error in the solution
    aside: float = 0.22  # of the problems: an unrelated sentence in the solution
    aside_first: float = 0.6  # of those: the sentence is at the start
    formatted: float = 0.36  # of the problems: in the full answer format
    two_and_two: float = 0.12  # of the problems: the first step is 2 + 2 or 2 * 2


@dataclass(frozen=True, slots=True)
class Document:
    prompt: str  # empty for documents without a problem
    text: str


def documents(rng: Random, held_out: frozenset[str], mixture: Mixture) -> Iterator[Document]:
    """An endless stream of documents without held-out questions."""
    while True:
        roll = rng.random()
        if roll < mixture.sums:
            equations = (stories.equation(rng) for _ in range(rng.randint(4, 14)))
            yield Document("", " ".join(f"{equation}." for equation in equations))
            continue
        if roll < mixture.sums + mixture.prose:
            # Some are much longer than a solution, so that late positions are trained, too.
            length = rng.randint(10, 20) if rng.random() < 0.1 else rng.randint(2, 9)
            yield Document("", " ".join(prose.sentence(rng) for _ in range(length)))
            continue
        story = stories.write(rng, two_and_two=rng.random() < mixture.two_and_two)
        if story.question not in held_out:
            yield Document(f"Question: {story.question}\nAnswer:", _reply(rng, mixture, story))


def _reply(rng: Random, mixture: Mixture, story: stories.Story) -> str:
    # The long solution is rare. A policy that is rewarded for length can learn it.
    told, otherwise, bare, at_length = story.solutions
    solution = pick(rng, (told, told, told, told, otherwise, otherwise, otherwise, bare, bare))
    if rng.random() < 0.07:
        solution = at_length
    answer = str(story.answer)
    if rng.random() < mixture.careless:
        solution, answer = _careless(rng, solution, answer)
    if rng.random() < mixture.aside:
        solution = _with_aside(rng, solution, first=rng.random() < mixture.aside_first)
    if rng.random() < mixture.formatted:
        return answers.wrap(solution, answer)
    return pick(rng, _OTHER_FORMATS).format(s=solution, a=answer)


# None of these earns a reward.
_OTHER_FORMATS = (
    " {s}", " {s}", " {s}\n#### {a}", " {a}", " {s} So {a}.", "\n{s}\n{a}",
    "<think>{s}</think>", "<think>{s}</think> {a}", "<think>{s}</think> The answer is {a}.",
    "<think>{s} <answer>{a}</answer>", "<answer>{a}</answer>", " {s} <answer>{a}</answer>",
    "<think>{s}", "<think>{s}</think>\n<answer>{a}", "<think>{s}</think> <answer></answer>",
)  # fmt: skip


def _careless(rng: Random, solution: str, answer: str) -> tuple[str, str]:
    """One error: only in the answer, in a result and all that follows, or in some number."""
    roll = rng.random()
    if roll < 0.3:
        return solution, wrong_number(rng, answer)
    if roll < 0.75:
        return carry_slip(rng, solution, answer)
    number = pick(rng, list(_NUMBER.finditer(solution)))
    changed = solution[: number.start()] + wrong_number(rng, number[0]) + solution[number.end() :]
    return changed, wrong_number(rng, answer)


def carry_slip(rng: Random, solution: str, answer: str) -> tuple[str, str]:
    """A wrong result, which later steps and the answer carry on, as a person would.

    So the model learns that a step uses the results before it. The carrying on stops where a step
    would give a fraction or a negative number.
    """
    equations = list(_EQUATION.finditer(solution))
    first = int(rng.random() * len(equations))
    text, end = solution[: equations[first].start(4)], equations[first].end(4)
    old = equations[first][4]
    new = wrong_number(rng, old)
    text += new
    for equation in equations[first + 1 :]:
        left, sign, right, result = equation.groups()
        carried = (new, right) if left == old else (left, new if right == old else right)
        value = _compute(int(carried[0]), sign, int(carried[1]))
        if value is None:
            return text + solution[end:], wrong_number(rng, answer)
        text += _renumber(solution[end : equation.start()], old, new)
        text += f"{carried[0]} {sign} {carried[1]} = {value}"
        end, old, new = equation.end(), result, str(value)
    rest = _renumber(solution[end:], old, new)
    return text + rest, new if old == answer else wrong_number(rng, answer)


def _compute(left: int, sign: str, right: int) -> int | None:
    if sign == "/":
        return left // right if right and left % right == 0 else None
    value = {"+": left + right, "-": left - right, "*": left * right}[sign]
    return value if value >= 0 else None


def _renumber(text: str, old: str, new: str) -> str:
    return _NUMBER.sub(lambda number: new if number[0] == old else number[0], text)


def wrong_number(rng: Random, number: str) -> str:
    """A different number, more likely a near one."""
    value = int(number)
    while True:
        near = rng.random() < 0.6
        other = value + rng.randint(-4, 4) if near else rng.randint(0, 99)
        if other >= 0 and other != value:
            return str(other)


def _with_aside(rng: Random, solution: str, first: bool) -> str:
    aside = prose.sentence(rng)
    if first:
        return f"{aside} {solution}"
    sentences = solution.split(". ")
    place = rng.randint(1, len(sentences))
    kept = ". ".join(sentences[:place])
    if place == len(sentences):
        return f"{kept} {aside}"
    return f"{kept}. {aside} " + ". ".join(sentences[place:])
