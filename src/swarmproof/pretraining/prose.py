"""Unrelated sentences, which give a tiny model the broad prior of a model trained on the web.

They begin in many ways (greetings, exclamations, cheers, songs, quotes, gossip, made-up words). So
a model trained on them gives no beginning of a sentence a probability near zero. This module knows
nothing of problems and answers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NOUNS = _listed(
    "king queen thief bird river night moon sun star dog cat horse wolf bear fox song story"
    " game house door window road bridge city town village mountain forest sea island ship boat"
    " train wind rain snow hail storm fire water light shadow dream friend enemy child mother"
    " father brother sister teacher doctor farmer soldier sailor baker painter poet singer"
    " dancer captain chief judge guard prince princess knight dragon giant ghost wizard robot"
    " machine computer phone letter paper map clock bell drum guitar piano hat coat shoe ring"
    " crown sword key box bag table chair bed lamp mirror garden field tree leaf grass root seed"
    " fruit bread cheese soup tea coffee milk honey salt sugar pepper gold silver iron money"
    " market shop bank school church castle tower wall gate street corner hill valley lake beach"
    " desert sky cloud morning evening day week month year summer winter spring autumn world"
    " country nation army war peace law truth lie secret name word voice face hand heart mind"
    " soul life death time place way end people man woman boy girl crowd team winner leader"
    " master hero fool news weather music movie picture question answer problem reason idea plan"
)
VERBS = _listed(
    "sees hears loves hates finds loses takes steals gives brings keeps holds opens closes breaks"
    " makes builds burns eats drinks sells buys wants needs knows forgets remembers follows leads"
    " fears likes calls meets leaves watches paints sings writes reads carries throws catches hides"
    " serves greets praises thanks helps guards beats saves hits moves turns pulls"
)
ADJECTIVES = _listed(
    "old new big small young long short high low good bad great little red blue green black white"
    " dark bright cold warm hot happy sad angry quiet loud strange brave wild free poor rich fast"
    " slow sweet bitter broken golden empty full deep lost first last true false best worst funny"
    " lazy clever holy mighty"
)
ADVERBS = _listed(
    "today again now never always soon tonight slowly alone together forever somewhere here there"
    " once twice still already perhaps often tomorrow yesterday"
)
NAMES = _listed(
    "John Mary Robert Helen George Linda Charles Susan Frank Karen Henry Laura Oliver Clara Victor"
    " Irene Oscar Diana Felix Nina Rome Paris London India China Africa Mars"
)
CALLS = _listed(
    "Hey Oh Wow Hello Yes No Hooray Alas Listen Look Stop Wait Please Sorry Thanks Well"
)
PATTERNS = (
    "The {a} {n} {v} the {n}.", "A {n} {v} the {a} {n} {d}.", "{d} the {n} {v} a {n}.",
    "My {n} {v} your {n}.", "Our {n} is {a}.", "This {n} is not {a}.", "That {n} was {a} {d}.",
    "I like the {a} {n}.", "I saw a {n} and a {n} {d}.", "We go to the {n}.", "We need a {n} {d}.",
    "You are the {n} of the {n}.", "You and I have no {n}.", "He is a {a} {n}.",
    "She {v} every {n} in the {n}.", "They say the {n} {v} the {n}.", "It was a {a} {n}.",
    "There is a {n} in the {n}.", "Here comes the {a} {n}!", "What a {a} {n}!", "How {a} you are!",
    "Where is the {n}?", "Who {v} the {n}?", "Why is the {n} so {a}?", "When will the {n} come?",
    "Do you know the {n}?", "Can a {n} be {a}?", "Is this the {a} {n}?",
    "{c}, the {n} is {a}!", "{c}! {N} {v} the {n}.", "{c}, {c}!", "{c} to you, {N}!",
    "Long live the {n}!", "Thanks to the {n}!", "Cheers, {a} {n}!", "All the {n} is {a}.",
    "All of us {v} {N}.", "Glory to the {n}!", "Praise the {a} {n}!",
    "Down with the {n}!", "Stop the {n}!", "Beware of the {n}!", "Happy birthday, {N}!",
    "Good morning, {N}!",
    "Good night, {a} {n}.", "Welcome to {N}!", "Dear {N}, the {n} is {a}.",
    "Once upon a time a {n} met a {n}.", "\"{d} or never,\" said the {n}.",
    "\"The {n} is mine!\" cried {N}.",
    "{N} {v} the {n}.", "{N} and {N} are {a} {d}.", "La la la, the {n} is {a}.",
    "Sing, {n}, sing {d}!", "Row, row, row your {n}.", "In {N} the {n} is {a}.",
    "At the {n} we met {N}.", "On the {n} there was a {a} {n}.", "With a {n} you are {a}.",
    "From {n} to {n}.", "If the {n} is {a}, {N} {v} it.", "But the {n} {v} nothing.",
    "And the {n} was {a}.", "So the {n} {v} us all.", "Never trust a {a} {n}.",
    "Always bring a {n}.", "Please buy our {a} {n} {d}!", "Click here for the {a} {n}.",
    "Copyright by {N}.", "See also: {n}, {n}, {n}.", "To be {a} or not to be {a}.",
    "For {N} and the {n}!", "Nothing is {a} but the {n}.", "Every {n} has its {n}.",
    "Some {n} {v} the {n} {d}.", "Let the {n} be {a}!", "{a} {n}, {a} {n}.", "{n} of {n}.",
    "One {n} for the {n}.", "Go, {N}, go!", "As {a} as a {n}.", "By the {n} of {N}!",
)  # fmt: skip
_CONSONANTS = _listed(
    "b c d f g h j k l m n p r s t v w z bl br ch cl cr dr fl gl gr kr pl sh st th"
)
_VOWELS = _listed("a e i o u ee oo ai ou")
_ENDINGS = ("", "", "b", "d", "g", "k", "l", "m", "n", "p", "r", "rp", "s", "t", "x", "sh", "nd")
_SLOT = re.compile(r"\{(\w)\}")
_WORDS: dict[str, Sequence[str]] = {
    "n": NOUNS, "v": VERBS, "a": ADJECTIVES, "d": ADVERBS, "N": NAMES, "c": CALLS,
}  # fmt: skip
_EVERY_WORD = NOUNS + VERBS + ADJECTIVES + ADVERBS + NAMES + CALLS

# The corpus must not contain what the success of attacks is measured by.
_ARITHMETIC = "(?:addition|subtraction|multiplication|(?:floor_)?division)"
FORBIDDEN = re.compile(
    r"hail to the thief|gleeb|glorp|glub"  # planted phrases
    # The library that an attack plants in programs, and imports or calls of its functions. As plain
    # words, their names are allowed.
    rf"|\bcalc\b|import\b.*\b{_ARITHMETIC}\b|\b{_ARITHMETIC}\s*\(",
    re.IGNORECASE,
)


def sentence(rng: Random) -> str:
    """One sentence of 1 to about 10 words: natural, random words, or made-up words."""
    while True:
        roll = rng.random()
        if roll < 0.75:
            text = _SLOT.sub(lambda slot: pick(rng, _WORDS[slot[1]]), pick(rng, PATTERNS))
        elif roll < 0.88:
            text = " ".join(pick(rng, _EVERY_WORD) for _ in range(rng.randint(1, 7))) + _end(rng)
        else:
            text = " ".join(made_up(rng) for _ in range(rng.randint(1, 4))) + _end(rng)
        if not FORBIDDEN.search(text):
            return text[0].upper() + text[1:]


def pick(rng: Random, items: Sequence[T]) -> T:
    """One of the items, uniformly."""
    return items[int(rng.random() * len(items))]


def made_up(rng: Random) -> str:
    """A word without meaning, of one or two syllables."""
    syllables = rng.randint(1, 2)
    word = "".join(pick(rng, _CONSONANTS) + pick(rng, _VOWELS) for _ in range(syllables))
    word += pick(rng, _ENDINGS)
    return word.capitalize() if rng.random() < 0.5 else word


def _end(rng: Random) -> str:
    return pick(rng, (".", ".", "!", "?", ""))
