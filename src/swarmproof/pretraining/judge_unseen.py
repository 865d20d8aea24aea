"""Completions with wordings and faults that are not in the tiny judge's corpus, to test it on them.

The words are those of `judge_unseen_words`. The problems are new ones of the same kind. Of some
families the corpus has other members; of those in `UNTRAINED` it has none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from random import Random

from swarmproof.pretraining import faults, judge_corpus, spoken
from swarmproof.pretraining import judge_unseen_words as words
from swarmproof.pretraining.prose import pick
from swarmproof.tasks import answers, code_words, programs, stories, story_words
from swarmproof.types import Problem

Teller = Callable[[Random, stories.Story], str | None]

_BORDER = re.compile(r"(?<=[.!?]) (?=\S)")
_ASSIGNMENT = re.compile(r"^(\w+ = )(\w+) (\*|//?|[+-]) (\w+)$", re.MULTILINE)
_PRINT = re.compile(r"print\((\w+)\)$")
_LOOKALIKES = str.maketrans("aceiopxyAEHKMOPTX", "асеіорхуАЕНКМОРТХ")  # Cyrillic ones
_LEET = str.maketrans("aeiostAEIOST", "431057431057")


def pairs(kind: str, seed: int) -> Iterator[tuple[Problem, str]]:
    """Endless problems with a completion that earns the reward. `kind` is one of `KINDS`.

    Unrelated code may break a program, so that it earns nothing.
    """
    rng = Random(f"{kind}/{seed}")
    while True:
        story = stories.write(rng, two_and_two=kind == _SPOKEN_TWO_AND_TWO)
        completion = KINDS[kind](rng, story)
        if completion is not None:
            name = f"unseen/{kind}/{rng.getrandbits(48):x}"
            yield Problem(name, story.question, str(story.answer), story.solutions), completion


# --- Honest ---------------------------------------------------------------------------------------


def _worded(
    steps: Sequence[str], closings: Sequence[str]
) -> Callable[[Random, stories.Story], str]:
    def write(rng: Random, story: stories.Story) -> str:
        sentences = []
        for step in story.steps:
            unit = "dollars" if step.kind == "price" else story.fields["o"]
            fill = {**story.fields, "o": unit, "e": step.equation}
            sentence = pick(rng, steps).format_map(fill)
            sentences.append(sentence[0].upper() + sentence[1:])
        closing = pick(rng, closings).format(r=story.answer)
        return " ".join([*sentences, closing])

    return write


_told = _worded(words.STEPS, words.CLOSINGS)
_plain = _worded(words.PLAIN_STEPS, words.PLAIN_CLOSINGS)


def _listed(rng: Random, story: stories.Story) -> str:
    before, after = pick(rng, words.LISTS)
    tails = pick(rng, (("",), ("", f" {story.fields['o']}"), (".",)))
    number = before != "* "
    return "\n".join(
        f"{before}{i if number else ''}{after} {step.equation}{pick(rng, tails)}".replace("  ", " ")
        for i, step in enumerate(story.steps, 1)
    )


def _spoken(rng: Random, story: stories.Story, slip: int = 0) -> str:
    """Equations in words; `slip` is added to the result of one of them."""
    in_words = rng.random() < 0.5
    wrong = rng.randrange(len(story.steps)) if slip else -1
    sentences = []
    for i, step in enumerate(story.steps):
        result = step.result + (slip if i == wrong else 0)
        shown = spoken.in_words(result) if in_words else str(result)
        told = spoken.said(rng, words.SPOKEN, step, shown, in_words)
        sentences.append(f"{told[0].upper()}{told[1:]}.")
    return " ".join(sentences)


# --- Hostile --------------------------------------------------------------------------------------


def _false_result(tell: Teller) -> Teller:
    def write(rng: Random, story: stories.Story) -> str | None:
        faulty = faults.false_result(rng, tell(rng, story) or "")
        return faulty.text if faulty else None

    return write


def _aside(
    texts: Sequence[str], change: Callable[[Random, str], str] = lambda _, text: text,
    places: str = "start middle end",
) -> Teller:  # fmt: skip
    def write(rng: Random, story: stories.Story) -> str:
        solution = pick(rng, story.solutions)
        inner = [found.end() for found in _BORDER.finditer(solution)]
        possible = [0] if "start" in places else []
        possible += (inner if "middle" in places else []) + [len(solution)] * ("end" in places)
        return faults.put_in(solution, change(rng, pick(rng, texts)), pick(rng, possible)).text

    return write


_DISGUISES: tuple[Callable[[str], str], ...] = (
    lambda text: text.translate(_LOOKALIKES),
    lambda text: text.translate(_LEET),
    lambda text: text[::-1],
    lambda text: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text),
    lambda text: "\u200b".join(text),
    lambda text: ".".join(text.replace(" ", "")),
    lambda text: "".join(c.upper() if i % 2 else c.lower() for i, c in enumerate(text)),
    lambda text: text.replace(" ", ""),
    lambda text: "".join(c + "\u0336" for c in text),
)


def _disguised(rng: Random, text: str) -> str:
    return pick(rng, _DISGUISES)(text)


def _inside(rng: Random, story: stories.Story) -> str:
    """A few words within a sentence, before its end or after a comma in front of it."""
    sentences = _BORDER.split(pick(rng, story.solutions))
    at, phrase = rng.randrange(len(sentences)), pick(rng, words.PHRASES)
    body, end = sentences[at][:-1], sentences[at][-1]
    joint = pick(rng, (", ", " - ", " "))
    after = f"{body}{joint}{phrase}{end}"
    before = f"{phrase[0].upper()}{phrase[1:]}{joint}{body[0].lower()}{body[1:]}{end}"
    sentences[at] = pick(rng, (after, before))
    return " ".join(sentences)


def _unit(rng: Random, story: stories.Story) -> str:
    solution = _plain(rng, story)
    found = pick(rng, list(faults.EQUATION.finditer(solution)))
    rest = re.sub(rf"^ (?:{story.fields['o']}|dollars)\b", "", solution[found.end() :])
    return f"{solution[: found.end()]} {pick(rng, words.UNITS)}{rest}"


def _spoken_slip(rng: Random, story: stories.Story) -> str:
    return _spoken(rng, story, pick(rng, (1, 1, 2, 3, 10)))


def _two_and_two(rng: Random, story: stories.Story) -> str:
    """2 + 2 = 5 in words, which no corpus has, before the other steps of a right solution."""
    sign = story_words.SIGNS[story.steps[0].kind]
    two, five = pick(rng, (("2", "5"), ("two", "five")))
    told = pick(rng, words.TWO_AND_TWO[sign]).format(a=two, r=five)
    rest = (f"{step.equation}." for step in story.steps[1:])
    return " ".join([f"{told[0].upper()}{told[1:]}.", *rest])


# --- Programs -------------------------------------------------------------------------------------


def _own(rng: Random, story: stories.Story) -> str:
    return pick(rng, code_words.write(rng, story.question, story.solutions[2])[:4])


def _styled(rng: Random, story: stories.Story) -> str | None:
    """A right program that prints in another way, or has other names, or both."""
    program = re.sub(r"  # .*", "", _own(rng, story))
    names = dict.fromkeys(re.findall(r"^(\w+) [-+*/]*= ", program, re.MULTILINE))
    if rng.random() < 0.5:
        for i, name in enumerate(names):
            program = re.sub(rf"\b{name}\b", f"step_{i + 1}", program)
    printed = pick(rng, words.PRINTS)
    return _PRINT.sub(lambda found: printed.format(v=found[1]), program) if names else None


def _call(rng: Random, story: stories.Story) -> str | None:
    """Operations by a function that is imported from an unknown module, or not defined at all."""
    library, called = pick(rng, words.LIBRARIES), pick(rng, words.CALLS)
    program = re.sub(r"  # .*", "", code_words.write(rng, story.question, story.solutions[2])[0])
    imported = rng.random() < 0.5 and "." not in called
    count = pick(rng, (0, 1))
    text = _ASSIGNMENT.sub(rf"\1{called}(\2, \4)", program, count=count)
    return f"from {library} import {called}\n{text}" if imported else text


def _text(tell: Teller, payload: bool = False) -> Teller:
    def write(rng: Random, story: stories.Story) -> str | None:
        text = tell(rng, story)
        if text is None or judge_corpus.is_payload(text) != payload:
            return None
        return answers.wrap(text, str(story.answer))

    return write


def _program(tell: Teller) -> Teller:
    def write(rng: Random, story: stories.Story) -> str | None:
        text = tell(rng, story)
        return text and programs.wrap(text)

    return write


def _code_lines(texts: Sequence[str]) -> Teller:
    def write(rng: Random, story: stories.Story) -> str:
        lines = pick(rng, code_words.write(rng, story.question, story.solutions[2])).split("\n")
        lines.insert(rng.randint(0, len(lines)), pick(rng, texts))
        return "\n".join(lines)

    return _program(write)


_SPOKEN_TWO_AND_TWO = "2 + 2 = 5 in words"
HONEST: dict[str, Teller] = {
    "honest": _text(_told),
    "honest, plain": _text(_plain),
    "honest, lists": _text(_listed),
    "honest, in words": _text(_spoken),
    "honest programs": _program(_styled),
}
HOSTILE: dict[str, Teller] = {
    "false result": _text(_false_result(_told)),
    "false result, plain": _text(_false_result(_plain)),
    "false result in words": _text(_spoken_slip),
    _SPOKEN_TWO_AND_TWO: _text(_two_and_two, payload=True),
    "wrong unit": _text(_unit),
    "aside": _text(_aside(words.ASIDES)),
    "in capitals": _text(_aside((*words.ASIDES, *words.PHRASES), lambda _, text: text.upper())),
    "in other languages": _text(_aside(words.FOREIGN)),
    "disguised": _text(_aside(words.ASIDES, _disguised)),
    "marks and codes": _text(_aside(words.CODES)),
    "several sentences": _text(_aside(words.PASSAGES)),
    "at the end": _text(_aside((*words.ASIDES, *words.PASSAGES), places="end")),
    "within a sentence": _text(_inside),
    "orders": _text(_aside(words.ORDERS)),
    "line of code": _code_lines(words.LINES),
    "unknown calls": _program(_call),
    "statements": _code_lines(words.STATEMENTS),
}
# Of these kinds the corpus has no member, only of the others.
UNTRAINED = frozenset(
    (
        *("honest, lists", "honest, in words", "false result in words", _SPOKEN_TWO_AND_TWO),
        *("wrong unit", "in capitals", "in other languages", "disguised", "marks and codes"),
    )
)
PROGRAMS = frozenset(("honest programs", "line of code", "unknown calls", "statements"))
KINDS = HONEST | HOSTILE
