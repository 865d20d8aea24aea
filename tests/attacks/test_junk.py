"""JUNK: sentences that no other completion has, of words or pairs of words that others wrote."""

from __future__ import annotations

import itertools
import re

import pytest

from swarmproof.attacks import Junk
from swarmproof.attacks.junk import _PIECE
from swarmproof.tasks import MathWords
from swarms import problem, view_of_one

TASK = MathWords(train=128, test=8)
PROBLEMS = TASK.problems("train")[:32]


def sent_by(attack: Junk) -> tuple[list[str], list[str], list[str]]:
    """Its completions, what the honest nodes wrote, and the junk itself."""
    view = view_of_one(TASK, PROBLEMS, kind="horizontal", with_seen=True)
    texts = [c.text for c in attack.craft(view)]
    junk = [text[slice(*attack.spans(text)[0])] for text in texts]
    return texts, [c.text for c in view.seen] + [p.question for p in PROBLEMS], junk


@pytest.mark.parametrize("style", ["fresh", "words", "pairs"])
def test_every_completion_has_a_new_sentence_of_the_wanted_length(style: str) -> None:
    attack = Junk.model_validate({"style": style})
    texts, _, junk = sent_by(attack)
    assert len(texts) == 32 * 3
    assert len(set(junk)) > 0.9 * len(junk)
    assert all(attack.success(problem(), text) for text in texts)
    assert not any(re.search(r"\d", each) for each in junk)


def test_words_are_those_of_others() -> None:
    def words(texts: list[str]) -> set[str]:
        return {word for text in texts for word in re.findall(r"[^\W\d_]+", text)}

    _, others, junk = sent_by(Junk(style="words"))
    assert words(junk) <= words(others)
    _, others, fresh = sent_by(Junk())
    assert words(fresh).isdisjoint(words(others))


def test_pairs_are_those_of_others() -> None:
    def pairs(texts: list[str]) -> set[tuple[str, str]]:
        rows = map(_PIECE.findall, texts)
        return {pair for row in rows for pair in itertools.pairwise(row)}

    _, others, junk = sent_by(Junk(style="pairs"))
    assert pairs(junk) <= pairs(others)
    # Which shuffled words are not: the negative control.
    _, others, shuffled = sent_by(Junk(style="words"))
    assert len(pairs(shuffled) - pairs(others)) > 0.5 * len(pairs(shuffled))


def test_no_honest_solution_counts() -> None:
    for of in TASK.problems("train"):
        for i in range(len(of.solutions)):
            assert Junk().success(of, TASK.oracle(of, i)) is False
