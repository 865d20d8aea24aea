"""The corpus of the tiny judge: solutions with and without a fault, and the right judgements.

Half of the solutions are right: in the words of the tasks, in many other words, as lists, or as
programs. The others have one of a generic family of faults (`faults`). A criticism repeats the
results, and names the first fault. The payloads of the experiments never occur (`prose.FORBIDDEN`,
or 5 as the result of 2 + 2 or 2 * 2, also in words), nor does what the judge is tested on
(`judge_unseen_words`). A test searches for them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from swarmproof.pretraining import (
    code_styles,
    faults,
    judge_plain,
    judge_programs,
    judge_unseen_words,
    judge_words,
    prose,
)
from swarmproof.pretraining.faults import Faulty
from swarmproof.pretraining.prose import pick
from swarmproof.tasks import answers, code_words, math_words, programs, stories, story_words

# 2 + 2 = 5 in words, or in digits with words between.
_SPOKEN_PAYLOAD = re.compile(
    r"(?:\b(?:two|2)\b[^.\n]{0,20}?|\btwice )\b(?:two|2)\b[^.\n\d]{0,16}\b(?:five|5)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One completion, and what a judge should say about it."""

    question: str
    completion: str
    fault: tuple[int, int] | None  # its span in the completion; None: no fault
    criticism: str


@dataclass(frozen=True, slots=True)
class JudgeMixture:
    """Shares of the corpus, each in [0, 1]."""

    programs: float = 0.3
    spoken: float = 0.1  # of the solutions in words: the equations are in words, too
    two_and_two: float = 0.2  # of the problems: the first step is 2 + 2 or 2 * 2
    right: float = 0.5
    false_result: float = 0.5  # of the faulty solutions in words
    order: float = 0.12  # of the other ones
    wrong_unit: float = 0.15  # likewise
    other_name: float = 0.05  # of the solutions in words: another name than the question has


def exhibits(rng: Random, held_out: frozenset[str], mixture: JudgeMixture) -> Iterator[Exhibit]:
    """An endless stream of exhibits without held-out questions."""
    while True:
        story = stories.write(rng, two_and_two=rng.random() < mixture.two_and_two)
        if story.question in held_out:
            continue
        write = _program if rng.random() < mixture.programs else _in_words
        exhibit = write(rng, mixture, story)
        if exhibit is None or is_payload(exhibit.completion):
            continue
        if not judge_unseen_words.kept_apart(exhibit.completion):
            yield exhibit


def is_payload(completion: str) -> bool:
    """Whether a text holds a payload of the experiments. No judge may be trained on one."""
    wrong = any(found[1] == "5" for found in math_words.two_and_two(completion))
    return wrong or any(known.search(completion) for known in (prose.FORBIDDEN, _SPOKEN_PAYLOAD))


def _in_words(rng: Random, mixture: JudgeMixture, story: stories.Story) -> Exhibit | None:
    right = rng.random() < mixture.right
    before, after = _around(rng, str(story.answer))
    if rng.random() < mixture.spoken and (right or rng.random() < mixture.false_result):
        text, slip = _spoken(rng, story, right)
        return _exhibit(story, before, text, after, slip, "")
    solution = told(rng, story)
    if rng.random() < mixture.other_name:
        name = str(story.fields["n"])
        solution = solution.replace(name, pick(rng, story_words.PEOPLE)[0])
    equations = [m[0] for m in faults.EQUATION.finditer(solution)]
    faulty = None
    if not right:
        faulty = _fault(rng, mixture, story, solution)
        if faulty is None:
            return None
        equations = [
            m[0] for m in faults.EQUATION.finditer(faulty.text)
            if m.end() < faulty.start
        ]  # fmt: skip
    text = faulty.text if faulty else solution
    checked = " ".join(f"{equation}." for equation in equations[:4])
    return _exhibit(story, before, text, after, faulty, checked)


def _fault(
    rng: Random, mixture: JudgeMixture, story: stories.Story, solution: str
) -> Faulty | None:
    if rng.random() < mixture.false_result:
        return faults.false_result(rng, solution)
    roll = rng.random()
    if roll < mixture.order:
        return faults.orders(rng, solution)
    if roll < mixture.order + mixture.wrong_unit:
        return faults.wrong_unit(rng, solution, story)
    return faults.strays(rng, solution, story)


def _spoken(rng: Random, story: stories.Story, right: bool) -> tuple[str, Faulty | None]:
    """A solution with its equations in words, and the false one in it."""
    if right:
        return judge_plain.in_words(rng, story, None)[0], None
    at = rng.randrange(len(story.steps))
    step = story.steps[at]
    wrong = int(faults.wrong_result(rng, str(step.result)))
    text, slip = judge_plain.in_words(rng, story, (at, wrong))
    start = text.index(slip)
    remark = f"{step.equation}, not {wrong}."
    return text, Faulty(text, start, start + len(slip), remark)


def _program(rng: Random, mixture: JudgeMixture, story: stories.Story) -> Exhibit | None:
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
    faulty = None
    if rng.random() > mixture.right:
        faulty = judge_programs.faulty(rng, program, written, story)
        if faulty is None:
            return None
    text = faulty.text if faulty else program
    return _exhibit(story, f"{programs.CODE}\n", text, f"\n{programs.END_CODE}", faulty, "")


def _exhibit(
    story: stories.Story, before: str, text: str, after: str, faulty: Faulty | None, checked: str
) -> Exhibit:
    at = len(before)
    fault = (at + faulty.start, at + faulty.end) if faulty else None
    remark = faulty.remark if faulty else "All of it belongs."
    return Exhibit(story.question, before + text + after, fault, f"{checked} {remark}".strip())


def _around(rng: Random, answer: str) -> tuple[str, str]:
    """The text before and after the solution, mostly the tags of the answer format."""
    begun = answers.wrap("\0", answer)
    before, after = begun.split("\0")
    roll = rng.random()
    if roll < 0.85:
        return before, after
    if roll < 0.9:
        return before, after.replace(" <answer>", "\n<answer>")
    return "", pick(rng, ("", f"\n#### {answer}", f" So {answer}."))


def told(rng: Random, story: stories.Story) -> str:
    """A right solution in one of many wordings."""
    roll = rng.random()
    if roll < 0.3:
        solution = pick(rng, story.solutions)
    elif roll < 0.4:
        solution = pick(rng, stories.retell(rng, story, 2) or story.solutions)
    elif roll < 0.47:
        solution = judge_plain.lines(rng, story)
    else:
        solution = told_by_steps(rng, story, _step)
    if rng.random() < 0.08:
        solution = re.sub(r" ([-+*/=]) ", r"\1", solution)
    return solution


def told_by_steps(
    rng: Random, story: stories.Story, tell: Callable[[Random, stories.Story, stories.Step], str]
) -> str:
    """A solution in which each step is worded separately."""
    fill = {**story.fields, "r": story.answer}
    sentences = [tell(rng, story, step) for step in story.steps]
    if rng.random() < 0.12:
        openings = (*judge_words.OPENINGS, *story_words.OPENING)
        sentences.insert(0, pick(rng, openings).format_map(fill))
    if rng.random() < 0.2:
        place = rng.randrange(len(story.steps))
        sentences.insert(place, _remark(rng, story, story.steps[place]))
    roll = rng.random()
    if roll < 0.25:
        closings = (*judge_words.CLOSINGS, *story_words.CLOSING, *story_words.CLOSING,
                    *story_words.LONG_CLOSING)  # fmt: skip
        sentences.append(pick(rng, closings).format_map(fill))
    elif roll < 0.5:
        sentences.append(judge_plain.closing(rng, story))
    return " ".join(sentences)


def _remark(rng: Random, story: stories.Story, step: stories.Step) -> str:
    if rng.random() < 0.6:
        return judge_plain.remark(rng, story, step)
    return pick(rng, judge_words.REMARKS).format_map({**story.fields, "r": story.answer})


def _step(rng: Random, story: stories.Story, step: stories.Step) -> str:
    roll = rng.random()
    if roll < 0.15:
        return f"{step.equation}."
    if roll < 0.55:
        return judge_plain.step(rng, story, step)
    unit = judge_plain.unit(story, step)
    fill = {**story.fields, "a": step.left, "b": step.right, "e": step.equation}
    if roll < 0.65:
        pattern = pick(rng, story_words.WORKED[step.kind])
    elif roll < 0.7:
        pattern = pick(rng, story_words.EXPLAINED[step.kind])
    else:
        pattern = _pattern(rng).replace("{e} {o}", f"{{e}} {unit}")
    sentence = pattern.format_map(fill)
    return sentence[0].upper() + sentence[1:]


def _pattern(rng: Random) -> str:
    """A random wording of a step, put together from parts; not always good English."""
    tail = pick(rng, judge_words.TAILS) if rng.random() < 0.8 else _phrase(rng)
    body = f"{{e}} {tail}" if tail else "{e}"
    comma = pick(rng, (",", ",", ":", ""))
    shape = pick(rng, _SHAPES)
    return shape.format(
        body=body,
        comma=comma,
        link=pick(rng, judge_words.LINKS) if rng.random() < 0.7 else _phrase(rng).capitalize(),
        clause=_clause(rng),
        joint=pick(rng, judge_words.JOINTS),
        doing=_doing(rng),
        phrase=_phrase(rng),
    )


_SHAPES = (
    "{link}{comma} {body}.", "{link}{comma} {body}.", "{link}{comma} {clause} {body}.",
    "{clause} {body}.", "{clause} {body}.", "{body}, {phrase}.", "{body}, {joint} {clause}.",
    "{clause}: {body}.", "{clause} that {body}.", "{doing}{comma} {body}.",
    "{doing}{comma} {clause} {body}.", "{link}{comma} {doing}: {body}.",
    "{joint} {clause}, {body}.", "{body}, {joint} {clause} {phrase}.", "{phrase} {clause} {body}.",
    "{clause} {phrase}{comma} {body}.", "{phrase}{comma} {body}.", "{body}. {link}.",
)  # fmt: skip


def _clause(rng: Random) -> str:
    subject = pick(rng, judge_words.SUBJECTS) if rng.random() < 0.6 else _quantity(rng)
    return f"{subject} {pick(rng, judge_words.VERBS)}"


def _quantity(rng: Random) -> str:
    words = (judge_words.OWNERS, judge_words.QUALITIES, judge_words.QUANTITIES)
    return " ".join(filter(None, (pick(rng, listed) for listed in words)))


def _phrase(rng: Random) -> str:
    thing = _quantity(rng) if rng.random() < 0.6 else pick(rng, judge_words.OBJECTS)
    return f"{pick(rng, judge_words.PREPOSITIONS)} {thing}"


def _doing(rng: Random) -> str:
    thing = pick(rng, judge_words.OBJECTS) if rng.random() < 0.6 else _quantity(rng)
    words = (pick(rng, judge_words.GERUNDS), thing, pick(rng, judge_words.PARTICLES))
    return " ".join(filter(None, words))
