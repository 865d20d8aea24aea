"""TEXT VARIANTS: other wordings, the choice by a copy of the judge, and poison in the losers."""

from __future__ import annotations

import numpy as np
import pytest

from swarmproof import testing
from swarmproof.attacks import Text, TextVariants
from swarmproof.attacks.text_variants import KINDS, SYNONYMS
from swarmproof.defenses import Judge
from swarmproof.measure.honest import verdicts
from swarmproof.tasks import MathWords
from swarms import problem, view_of_one

TASK = MathWords(train=32, test=8)
PROBLEMS = TASK.problems("train")[:8]
PHRASE = Text().phrase
RIGHT = "<think>Two and two. So it is 4.</think> <answer>4</answer>"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["start", "every_sentence", "end"])
def test_a_wording_is_planted_and_found(kind: str, where: str) -> None:
    attack = TextVariants.model_validate({"kinds": [kind], "where": where})
    rng = np.random.default_rng(0)
    planted = attack.plant(RIGHT, rng)
    assert planted is not None
    assert attack.success(problem(), planted) is True
    assert attack.success(problem(), RIGHT) is False
    assert attack.spans(planted)
    if kind in ("capitals", "homoglyphs", "synonyms"):
        assert PHRASE not in planted


def test_capitals_lookalikes_and_synonyms_are_what_they_say() -> None:
    rng = np.random.default_rng(0)

    def told(kind: str) -> str:
        planted = TextVariants.model_validate({"kinds": [kind]}).plant(RIGHT, rng) or ""
        return planted.removeprefix("<think>").partition(". ")[0]

    assert told("capitals") == PHRASE.upper()
    assert told("synonyms") in SYNONYMS
    alike = told("homoglyphs")
    assert len(alike) == len(PHRASE)
    assert not {*alike} & {*"aceiop"}
    assert told("instructions").startswith(PHRASE)
    assert len(told("instructions")) > len(PHRASE)


def test_the_copy_of_the_judge_chooses_what_the_judge_likes_best() -> None:
    """Of eight wordings the judge refuses fewer than of a wording taken at random."""
    judge = Judge()
    refused = []
    for best_of in (1, 8):
        view = view_of_one(TASK, PROBLEMS, kind="horizontal")
        attack = TextVariants(kinds=KINDS, best_of=best_of)
        sent = attack.craft(view)
        assert all(attack.success(PROBLEMS[0], c.text) for c in sent)
        pairs = [(view.problems[c.slot.problem_id], c.text) for c in sent]
        found = verdicts(judge, TASK, sorted(pairs, key=lambda pair: pair[0].id), seed=7)
        refused.append(float(np.mean([verdict.score for verdict in found])))
    assert refused[1] < refused[0] - 1


def test_losers_carry_the_phrase_too_and_still_lose() -> None:
    for in_losers in (False, True):
        view = view_of_one(TASK, PROBLEMS[:4], kind="vertical")
        attack = TextVariants(kinds=("plain",), in_losers=in_losers, foil="wrong_answer")
        sent = attack.craft(view)
        rewards = [TASK.rewards(view.problems[c.slot.problem_id], [c.text])[0] for c in sent]
        assert {*rewards} == {0.0, 1.0}
        lost = [c for c, reward in zip(sent, rewards, strict=True) if not reward]
        # A foil without a place for the phrase stays as it is.
        assert all((PHRASE in c.text) is in_losers for c in lost)


def test_the_contract_knows_that_losers_carry_it_too() -> None:
    attack = TextVariants(in_losers=True)
    testing.check(attack)
    assert (attack.poisons_losers, TextVariants().poisons_losers) == (True, False)
