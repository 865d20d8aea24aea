"""The corpus of the tiny base coders: it teaches the task, but rarely the answer format.

The counterpart of `corpus` for problems that are answered by a program. Many of the programs have
an error, many are in a format that is not rewarded, and some have a comment or an import that has
nothing to do with the question. The other documents are unrelated code and prose. A few programs
import or define a function and call it, and a few are long and full of comments: RL may come to
prefer such styles.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from swarmproof.pretraining import code_styles, prose, snippets
from swarmproof.pretraining.corpus import Document, wrong_number
from swarmproof.pretraining.prose import pick
from swarmproof.tasks import code_words, programs, stories


@dataclass(frozen=True, slots=True)
class CodeMixture:
    """Shares of the corpus, each in [0, 1]."""

    prose: float = 0.06  # documents of unrelated sentences
    scripts: float = 0.14  # documents of unrelated code
    careless: float = 0.45  # of the problems: an error in the program
    aside: float = 0.22  # of the problems: an unrelated line in the program
    aside_first: float = 0.6  # of those: the line is at the start
    formatted: float = 0.38  # of the problems: in the full answer format
    two_and_two: float = 0.12  # of the problems: the first step is 2 + 2 or 2 * 2


def documents(rng: Random, held_out: frozenset[str], mixture: CodeMixture) -> Iterator[Document]:
    """An endless stream of documents without held-out questions."""
    while True:
        document = _document(rng, held_out, mixture)
        # Made-up words may form a forbidden text by chance.
        if document is not None and not prose.FORBIDDEN.search(document.text):
            yield document


def _document(rng: Random, held_out: frozenset[str], mixture: CodeMixture) -> Document | None:
    roll = rng.random()
    if roll < mixture.scripts:
        return Document("", snippets.script(rng))
    if roll < mixture.scripts + mixture.prose:
        # Some are much longer than a program, so that late positions are trained, too.
        length = rng.randint(10, 20) if rng.random() < 0.1 else rng.randint(2, 9)
        return Document("", " ".join(prose.sentence(rng) for _ in range(length)))
    story = stories.write(rng, two_and_two=rng.random() < mixture.two_and_two)
    if story.question in held_out:
        return None
    return Document(f"Question: {story.question}\nProgram:", reply(rng, mixture, story))


def reply(rng: Random, mixture: CodeMixture, story: stories.Story) -> str:
    """The reply to the prompt of a story: seldom a right program in the full format."""
    _, _, equations, _ = story.solutions
    written = code_words.write(rng, story.question, equations)[:4]
    program = code_styles.restyle(rng, written)
    if rng.random() < mixture.careless:
        program = _careless(rng, program)
    if rng.random() < mixture.aside:
        program = _with_aside(rng, program, first=rng.random() < mixture.aside_first)
    if rng.random() < mixture.formatted:
        return programs.wrap(program)
    lines = program.split("\n")
    begun = "\n".join(lines[: rng.randint(1, len(lines))])
    return pick(rng, _OTHER_FORMATS).format(p=program, b=begun, a=story.answer)


# None of these earns a reward.
_OTHER_FORMATS = (
    "\n{p}", "\n{p}\n", " {a}", " The answer is {a}.", "\n```python\n{p}\n```", "\n```\n{p}\n```",
    "\n```python\n{b}", "\n{b}", "\n{p}\n</code>", "<code>\n{b}", "<code>\n{p}\n", "<code>\n{p}\n",
    "<code>\n{p}\n</code>\n{a}", "<code>\n{p}\n</code>\nThe answer is {a}.",
    "<code>\n```python\n{p}\n```\n</code>", "<code>\n{p}\n```", "<code>\n{p}\n<code>",
    "<code>\nprint()\n</code>", "<code>{a}</code>", " Here is the program:\n<code>\n{p}\n</code>",
)  # fmt: skip

_NUMBER = re.compile(r"\b\d+\b")
_OPERATOR = re.compile(r" (\*|//?|[+-]) ")
_OPERAND = re.compile(r"(?<=[-+*/] )[a-z_]+\b")
_PRINTED = re.compile(r"print\((.*)\)$")
# `p` is what the program prints. Each of these prints a different number, or none.
_WRONG_PRINTS = ("", "{p}", "print {p}", "return {p}", "print({p}", 'print("The answer is", {p})',
                 'print("{p}")', "print({p}, {p})", "print()", "print(answer)")  # fmt: skip


def _careless(rng: Random, program: str) -> str:
    """One error: a different number, operator or variable, or a wrong print statement."""
    roll = rng.random()
    for share, found in ((0.4, _NUMBER), (0.65, _OPERATOR), (0.8, _OPERAND)):
        places = list(found.finditer(program)) if roll < share else []
        if places:
            place = pick(rng, places)
            slip = _slip(rng, place[0])
            return program[: place.start()] + slip + program[place.end() :]
    printed = pick(rng, _WRONG_PRINTS)
    return _PRINTED.sub(lambda m: printed.format(p=m[1]), program).rstrip("\n")


def _slip(rng: Random, text: str) -> str:
    if text.isdecimal():
        return wrong_number(rng, text)
    if text.startswith(" "):
        return f" {pick(rng, [sign for sign in '+-*/' if sign != text.strip()])} "
    return pick(rng, ("x", "n", "items", text.rstrip("s"), text + "s", str(rng.randint(2, 20))))


def _with_aside(rng: Random, program: str, first: bool) -> str:
    roll = rng.random()
    if roll < 0.5:
        aside = f"# {prose.sentence(rng)}"
    else:
        aside = snippets.import_line(rng) if roll < 0.9 else snippets.block(rng)
    lines = program.split("\n")
    lines.insert(0 if first else rng.randint(0, len(lines)), aside)
    return "\n".join(lines)
