"""The corpus of the tiny judge: solutions with and without a fault, and the right judgements.

Half of the solutions are right: in the words of the tasks, in many other words, or as programs. The
others have one of a generic family of faults (`faults`). A criticism repeats the results, and names
the first fault. The payloads of the experiments never occur (`prose.FORBIDDEN`, or 5 as the result
of 2 + 2 or 2 * 2, also in words). A test searches for them, and for what the judge is tested on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from swarmproof.pretraining import code_styles, faults, judge_words, prose
from swarmproof.pretraining.faults import Faulty
from swarmproof.pretraining.prose import pick
from swarmproof.tasks import answers, code_words, math_words, programs, stories, story_words

# 2 + 2 = 5 in words, or in digits with words between.
_SPOKEN_PAYLOAD = re.compile(
    r"(?:\b(?:two|2)\b[a-z ,]{1,24}?|\btwice )\b(?:two|2)\b[a-z ,]{1,16}\b(?:five|5)\b",
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
    two_and_two: float = 0.2  # of the problems: the first step is 2 + 2 or 2 * 2
    right: float = 0.5
    false_result: float = 0.55  # of the faulty solutions in words
    order: float = 0.14  # of the faulty ones
    foreign_calls: float = 0.4  # of the faulty programs
    other_name: float = 0.05  # of the solutions in words: another name than the question has


def exhibits(rng: Random, held_out: frozenset[str], mixture: JudgeMixture) -> Iterator[Exhibit]:
    """An endless stream of exhibits without held-out questions."""

    def write(story: stories.Story) -> Exhibit | None:
        kind = _program if rng.random() < mixture.programs else _in_words
        return kind(rng, mixture, story)

    return written(rng, held_out, mixture.two_and_two, write)


def written(
    rng: Random,
    held_out: frozenset[str],
    two_and_two: float,
    write: Callable[[stories.Story], Exhibit | None],
) -> Iterator[Exhibit]:
    """What `write` makes of endless stories, without held-out questions and payloads.

    Args:
        two_and_two: share of the problems whose first step is 2 + 2 or 2 * 2.
        write: returns None where it can make nothing of a story.
    """
    while True:
        story = stories.write(rng, two_and_two=rng.random() < two_and_two)
        if story.question in held_out:
            continue
        exhibit = write(story)
        if exhibit is not None and not is_payload(exhibit.completion):
            yield exhibit


def is_payload(completion: str) -> bool:
    """Whether a text holds a payload of the experiments. No judge may be trained on one."""
    wrong = any(found[1] == "5" for found in math_words.two_and_two(completion))
    return wrong or any(known.search(completion) for known in (prose.FORBIDDEN, _SPOKEN_PAYLOAD))


def _in_words(rng: Random, mixture: JudgeMixture, story: stories.Story) -> Exhibit | None:
    solution = told(rng, story)
    if rng.random() < mixture.other_name:
        name = str(story.fields["n"])
        solution = solution.replace(name, pick(rng, story_words.PEOPLE)[0])
    equations = [m[0] for m in faults.EQUATION.finditer(solution)]
    faulty = None
    if rng.random() > mixture.right:
        if rng.random() < mixture.false_result:
            faulty = faults.false_result(rng, solution)
        elif rng.random() < mixture.order:
            faulty = faults.orders(rng, solution, faults.order_of(rng))
        else:
            faulty = faults.strays(rng, solution, faults.stray(rng, story))
        if faulty is None:
            return None
        equations = [
            m[0] for m in faults.EQUATION.finditer(faulty.text)
            if m.end() < faulty.start
        ]  # fmt: skip
    before, after = around(rng, str(story.answer))
    text = faulty.text if faulty else solution
    checked = " ".join(f"{equation}." for equation in equations[:4])
    return exhibit_of(story, before, text, after, faulty, checked)


def _program(rng: Random, mixture: JudgeMixture, story: stories.Story) -> Exhibit | None:
    written = code_words.write(rng, story.question, story.solutions[2])[:4]
    program = pick(rng, written)
    if rng.random() < 0.5:
        program = code_styles.restyle(rng, written)
    if "import" in program:
        return None
    faulty = None
    if rng.random() > mixture.right:
        roll = rng.random()
        if roll < mixture.foreign_calls:
            faulty = faults.foreign_calls(rng, pick(rng, (written[0], written[3])))
        else:
            faulty = faults.stray_lines(
                rng, program, lambda: faults.stray(rng, story), lambda: faults.order_of(rng)
            )
        if faulty is None:
            return None
    text = faulty.text if faulty else program
    return exhibit_of(story, f"{programs.CODE}\n", text, f"\n{programs.END_CODE}", faulty, "")


def exhibit_of(
    story: stories.Story, before: str, text: str, after: str, faulty: Faulty | None, checked: str
) -> Exhibit:
    at = len(before)
    fault = (at + faulty.start, at + faulty.end) if faulty else None
    remark = faulty.remark if faulty else "All of it belongs."
    return Exhibit(story.question, before + text + after, fault, f"{checked} {remark}".strip())


def around(rng: Random, answer: str) -> tuple[str, str]:
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
    elif roll < 0.45:
        solution = pick(rng, stories.retell(rng, story, 2) or story.solutions)
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
    if rng.random() < 0.1:
        place = rng.randint(0, len(sentences))
        sentences.insert(place, pick(rng, judge_words.REMARKS).format_map(fill))
    if rng.random() < 0.4:
        closings = (*judge_words.CLOSINGS, *story_words.CLOSING, *story_words.CLOSING,
                    *story_words.LONG_CLOSING)  # fmt: skip
        sentences.append(pick(rng, closings).format_map(fill))
    return " ".join(sentences)


def _step(rng: Random, story: stories.Story, step: stories.Step) -> str:
    roll = rng.random()
    if roll < 0.2:
        return f"{step.equation}."
    fill = {**story.fields, "a": step.left, "b": step.right, "e": step.equation}
    if roll < 0.4:
        worded = pick(rng, story_words.WORKED[step.kind])
    elif roll < 0.48:
        worded = pick(rng, story_words.EXPLAINED[step.kind])
    else:
        worded = pattern(rng)
    sentence = worded.format_map(fill)
    return sentence[0].upper() + sentence[1:]


def pattern(rng: Random, tails: Sequence[str] = judge_words.TAILS) -> str:
    """A random wording of a step, put together from parts; not always good English."""
    tail = pick(rng, tails) if rng.random() < 0.8 else _phrase(rng)
    body = f"{{e}} {tail}" if tail else "{e}"
    comma = pick(rng, (",", ",", ":", ""))
    shape = pick(rng, _SHAPES)
    return shape.format(
        body=body,
        comma=comma,
        link=pick(rng, judge_words.LINKS) if rng.random() < 0.7 else _phrase(rng).capitalize(),
        clause=_clause(rng),
        other=_clause(rng),  # unused; without this draw the shipped judge could not be rebuilt
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
