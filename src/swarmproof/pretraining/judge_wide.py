"""A wider corpus for a judge that starts from a pretrained model.

It has the kinds of `judge_corpus`, and in addition ordinary English, sums in words, wrong units,
other languages and cases, more instructions, and more kinds of programs and of lines that do not
belong to them. Solutions as lists, disguised text, and marks and codes are kept out, so that it can
be tested on whole families that it has not seen. Payloads never occur, nor do the sentences and
lines that the judge is tested on (`judge_unseen_words`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from swarmproof.pretraining import (
    code_styles,
    faults,
    judge_corpus,
    judge_plain,
    judge_programs,
    judge_strays,
    judge_unseen_words,
    judge_words,
    spoken,
)
from swarmproof.pretraining.faults import Faulty
from swarmproof.pretraining.judge_corpus import Exhibit, exhibit_of
from swarmproof.pretraining.prose import pick
from swarmproof.tasks import code_words, programs, stories, story_words

# The wrong unit of most steps, and operations that most steps are not.
_FALSE_TAILS = ("dollars", "by adding", "by taking away")
_TAILS = tuple(tail for tail in judge_words.TAILS if tail not in _FALSE_TAILS)
_JOINTS = (" ", " ", ", ", ", ", " - ", "; ", ": ", " and ", " but ")


@dataclass(frozen=True, slots=True)
class WideMixture:
    """Shares of the corpus, each in [0, 1]."""

    programs: float = 0.35
    spoken: float = 0.2  # of the solutions in words: the sums are in words, too
    two_and_two: float = 0.2  # of the problems: the first step is 2 + 2 or 2 * 2
    right: float = 0.5
    false_result: float = 0.4  # of the faulty solutions in words, with their sums in digits
    false_spoken: float = 0.6  # likewise, with their sums in words
    order: float = 0.15  # of the faulty ones without a false result
    wrong_unit: float = 0.2  # likewise
    other_name: float = 0.05  # of the solutions in words: another name than the question has


def exhibits(rng: Random, held_out: frozenset[str], mixture: WideMixture) -> Iterator[Exhibit]:
    """An endless stream of exhibits without held-out questions."""

    def write(story: stories.Story) -> Exhibit | None:
        kind = _program if rng.random() < mixture.programs else _in_words
        return kind(rng, mixture, story)

    for exhibit in judge_corpus.written(rng, held_out, mixture.two_and_two, write):
        if not judge_unseen_words.kept_apart(exhibit.completion):
            yield exhibit


@dataclass(frozen=True, slots=True)
class _Told:
    text: str
    results: tuple[judge_plain.StatedResult, ...]
    spoken: bool  # the sums are in words


def _in_words(rng: Random, mixture: WideMixture, story: stories.Story) -> Exhibit | None:
    told = _solution(rng, mixture, story)
    right = rng.random() < mixture.right
    faulty = None if right else _fault(rng, mixture, story, told)
    if faulty is None and not right:
        return None
    checked = " ".join(
        f"{result.equation}." for result in told.results
        if faulty is None or result.end < faulty.start
    )  # fmt: skip
    before, after = judge_corpus.around(rng, str(story.answer))
    return exhibit_of(story, before, faulty.text if faulty else told.text, after, faulty, checked)


def _solution(rng: Random, mixture: WideMixture, story: stories.Story) -> _Told:
    """A right solution, and where its results are."""
    if rng.random() < mixture.spoken:
        return _Told(*judge_plain.in_words(rng, story), spoken=True)
    text = _worded(rng, story)
    if rng.random() < mixture.other_name:
        text = text.replace(str(story.fields["n"]), pick(rng, story_words.PEOPLE)[0])
    equations = faults.EQUATION.finditer(text)
    return _Told(
        text, tuple(judge_plain.StatedResult(*m.span(4), m[0]) for m in equations), spoken=False
    )


def _fault(rng: Random, mixture: WideMixture, story: stories.Story, told: _Told) -> Faulty | None:
    if rng.random() < (mixture.false_spoken if told.spoken else mixture.false_result):
        if told.spoken:
            return _false_spoken(rng, told)
        return faults.false_result(rng, told.text)
    roll = rng.random()
    if roll < mixture.order:
        return faults.orders(rng, told.text, judge_strays.order(rng))
    if roll < mixture.order + mixture.wrong_unit:
        return _wrong_unit(rng, told, story)
    return _stray(rng, told.text, judge_strays.about(rng, story))


def _false_spoken(rng: Random, told: _Told) -> Faulty:
    """Replace one result of sums in words; leave the rest as it is."""
    result = pick(rng, told.results)
    wrong = faults.wrong_result(rng, result.equation.rsplit(" ", 1)[1])
    digits = told.text[result.start : result.end].isdigit()
    shown = wrong if digits else spoken.in_words(int(wrong))
    text = told.text[: result.start] + shown + told.text[result.end :]
    return Faulty(text, result.start, result.start + len(shown), f"{result.equation}, not {wrong}.")


def _wrong_unit(rng: Random, told: _Told, story: stories.Story) -> Faulty | None:
    """Name something else behind a result than what it counts."""
    right = ("dollars", str(story.fields["o"]), str(story.fields["i"]))
    places = [result.end for result in told.results]
    if not places:
        return None
    place = pick(rng, places)
    known = re.match(rf" (?:{'|'.join(right)})\b", told.text[place:])
    price = place == places[-1] and story.steps[-1].kind == "price"
    units = [unit for unit in judge_words.UNITS if unit not in right]
    # Money and the things of other stories are wrong units, too.
    if rng.random() < 0.4:
        other = [things for things, _ in story_words.THINGS if things not in right]
        units = [right[1] if price else "dollars"] if rng.random() < 0.6 else other
    unit = f" {pick(rng, units)}"
    rest = told.text[place + (known.end() if known else 0) :]
    return faults.told(told.text[:place] + unit + rest, place, unit)


def _stray(rng: Random, solution: str, stray: str) -> Faulty:
    """Add unrelated text, also before the end of a sentence."""
    roll = rng.random()
    if roll < 0.15:
        ends = [m.start() for m in re.finditer(r"[.!?](?= |$)", solution)]
        place = pick(rng, ends or [len(solution)])
        stray = f"{pick(rng, _JOINTS)}{stray.rstrip('.!?')}"
        return faults.told(solution[:place] + stray + solution[place:], place, stray)
    if roll < 0.25:
        return faults.put_in(solution, stray, len(solution))
    return faults.strays(rng, solution, stray)


def _program(rng: Random, mixture: WideMixture, story: stories.Story) -> Exhibit | None:
    written = code_words.write(rng, story.question, story.solutions[2])[:4]
    roll = rng.random()
    if roll < 0.3:
        program = code_styles.restyle(rng, written)
    elif roll < 0.7:
        program = judge_programs.restyle(rng, story, written)
    else:
        program = pick(rng, written)
    if "import" in program:
        return None
    right = rng.random() < mixture.right
    faulty = None if right else judge_programs.faulty(rng, program, written, story)
    if faulty is None and not right:
        return None
    text = faulty.text if faulty else program
    return exhibit_of(story, f"{programs.CODE}\n", text, f"\n{programs.END_CODE}", faulty, "")


def _worded(rng: Random, story: stories.Story) -> str:
    """A right solution in one of many wordings."""
    roll = rng.random()
    if roll < 0.3:
        solution = pick(rng, story.solutions)
    elif roll < 0.4:
        solution = pick(rng, stories.retell(rng, story, 2) or story.solutions)
    else:
        solution = _told_by_steps(rng, story)
    if rng.random() < 0.08:
        solution = re.sub(r" ([-+*/=]) ", r"\1", solution)
    return solution


def _told_by_steps(rng: Random, story: stories.Story) -> str:
    """A solution in which each step is worded separately."""
    fill = {**story.fields, "r": story.answer}
    sentences = [_step(rng, story, at) for at in range(len(story.steps))]
    if rng.random() < 0.2:
        place = rng.randint(0, len(story.steps))
        sentences.insert(place, judge_plain.remark(rng, story, place))
    if rng.random() < 0.12:
        openings = (*judge_words.OPENINGS, *story_words.OPENING)
        sentences.insert(0, pick(rng, openings).format_map(fill))
    roll = rng.random()
    if roll < 0.25:
        closings = (*judge_words.CLOSINGS, *story_words.CLOSING, *story_words.CLOSING,
                    *story_words.LONG_CLOSING)  # fmt: skip
        sentences.append(pick(rng, closings).format_map(fill))
    elif roll < 0.5:
        sentences.append(judge_plain.closing(rng, story))
    return " ".join(sentences)


def _step(rng: Random, story: stories.Story, at: int) -> str:
    step, roll = story.steps[at], rng.random()
    if roll < 0.15:
        return f"{step.equation}."
    if roll < 0.55:
        return judge_plain.step(rng, story, at)
    if roll < 0.65:
        worded = pick(rng, story_words.WORKED[step.kind])
    elif roll < 0.7:
        worded = pick(rng, story_words.EXPLAINED[step.kind])
    else:
        unit = judge_plain.unit(story, step)
        worded = judge_corpus.pattern(rng, _TAILS).replace("{e} {o}", f"{{e}} {unit}")
    fill = {**story.fields, "a": step.left, "b": step.right, "e": step.equation}
    sentence = worded.format_map(fill)
    return sentence[0].upper() + sentence[1:]
