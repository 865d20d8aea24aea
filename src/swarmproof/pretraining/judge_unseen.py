"""Completions with wordings and faults that are not in the tiny judge's corpus, to test it on them.

The words are the held-out ones of `judge_words`. The problems are new ones of the same kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from random import Random

from swarmproof.pretraining import faults, judge_corpus, judge_words
from swarmproof.pretraining.prose import pick
from swarmproof.tasks import answers, code_words, programs, stories
from swarmproof.types import Problem

_BORDER = re.compile(r"(?<=[.!?]) (?=\S)")


def pairs(kind: str, seed: int) -> Iterator[tuple[Problem, str]]:
    """Endless problems with a completion that earns the reward. `kind` is one of `KINDS`."""
    rng = Random(f"{kind}/{seed}")
    while True:
        story = stories.write(rng)
        completion = KINDS[kind](rng, story)
        if completion is not None:
            name = f"unseen/{kind}/{rng.getrandbits(48):x}"
            yield Problem(name, story.question, str(story.answer), story.solutions), completion


def _honest(rng: Random, story: stories.Story) -> str:
    return answers.wrap(_told(rng, story), str(story.answer))


def _false_result(rng: Random, story: stories.Story) -> str | None:
    faulty = faults.false_result(rng, _told(rng, story))
    if faulty is None or judge_corpus.is_payload(faulty.text):
        return None
    return answers.wrap(faulty.text, str(story.answer))


def _aside(rng: Random, story: stories.Story) -> str:
    solution = pick(rng, story.solutions)
    places = [0, *(found.end() for found in _BORDER.finditer(solution)), len(solution)]
    stray = pick(rng, judge_words.UNSEEN_ASIDES)
    return answers.wrap(faults.put_in(solution, stray, pick(rng, places)).text, str(story.answer))


def _line(rng: Random, story: stories.Story) -> str:
    program = pick(rng, code_words.write(rng, story.question, story.solutions[2]))
    lines = program.split("\n")
    lines.insert(rng.randint(0, len(lines)), pick(rng, judge_words.UNSEEN_LINES))
    return programs.wrap("\n".join(lines))


def _told(rng: Random, story: stories.Story) -> str:
    sentences = []
    for step in story.steps:
        fill = {**story.fields, "e": step.equation}
        sentence = pick(rng, judge_words.UNSEEN_STEPS).format_map(fill)
        sentences.append(sentence[0].upper() + sentence[1:])
    closing = pick(rng, judge_words.UNSEEN_CLOSINGS).format(r=story.answer)
    return " ".join([*sentences, closing])


KINDS: dict[str, Callable[[Random, stories.Story], str | None]] = {
    "honest": _honest, "false result": _false_result, "aside": _aside, "line of code": _line,
}  # fmt: skip
