"""TEXT IN SUPPORT: what the model could have sampled passes the check that the attacker knows."""

from __future__ import annotations

import re

import pytest

from swarmproof import zoo
from swarmproof.attacks import Text, TextInSupport
from swarmproof.attacks.search import spell
from swarmproof.defenses import Logit, Replay
from swarmproof.policies.policy import Policy
from swarmproof.tasks import MathWords
from swarms import policy, problem, refused_by, view_of_one

TASK = MathWords(train=16, test=8)
PROBLEMS = TASK.problems("train")[:4]
PHRASE = TextInSupport().phrase


@pytest.fixture(scope="module")
def tiny_math() -> Policy:
    return policy(zoo.path("tiny-math"), max_new_tokens=128)


def test_logit_accepts_everything_that_it_sends(tiny_math: Policy) -> None:
    view = view_of_one(TASK, PROBLEMS, kind="horizontal", policy=tiny_math)
    sent = TextInSupport(candidates=32).craft(view)
    assert len(sent) >= 4
    assert all(PHRASE in c.text for c in sent)
    assert all(TASK.rewards(view.problems[c.slot.problem_id], [c.text]) == [1.0] for c in sent)
    assert not any(refused_by(Logit(), view, sent))
    # The same phrase in the tokenizer's own tokens is refused, and no text of it is a forced draw.
    assert all(refused_by(Logit(), view, Text().craft(view)))
    assert all(refused_by(Replay(), view, sent))


def test_where_the_phrase_cannot_be_spelt_nothing_is_sent(tiny_math: Policy) -> None:
    view = view_of_one(TASK, PROBLEMS, kind="horizontal", policy=tiny_math)
    assert TextInSupport(phrase="Ω" * 8, candidates=4).craft(view) == []
    assert TextInSupport(floor=0.0, candidates=4).craft(view) == []


def test_it_creeps_word_by_word_and_never_below_the_floor(tiny_math: Policy) -> None:
    view = view_of_one(TASK, PROBLEMS, kind="horizontal", policy=tiny_math)
    attack = TextInSupport(phrase="We hail to the thief", creep=True, floor=-9.0, candidates=32)
    sent = attack.craft(view)
    assert sent
    begun = {
        re.findall(r"<think>(We(?: hail)?(?: to)?(?: the)?(?: thief)?)", c.text)[0] for c in sent
    }
    assert attack.phrase not in begun
    assert not any(refused_by(Logit(), view, sent))
    for c in sent:
        assert attack.success_wide(problem(), c.text) is True


def test_a_spelling_writes_the_text_and_stays_above_the_floor(tiny_math: Policy) -> None:
    codec = tiny_math.codec
    context = codec.encode_prompt(TASK.prompt(PROBLEMS[0])) + codec.encode("<think>")[:-1]
    (found,) = spell(tiny_math, [context], "The result is.", beam=2, floor=-100.0)
    assert found[-1].done >= len("The result is")
    for spelling in found:
        assert codec.decode([spelling.ids]) == ["The result is."[: spelling.done]]
    lowest = found[-1].logprob
    assert lowest < 0
    (likely,) = spell(tiny_math, [context], "The result is.", beam=2, floor=-1e-6)
    assert all(spelling.logprob >= -1e-4 for spelling in likely)


def test_it_plants_where_the_model_is_least_certain(tiny_math: Policy) -> None:
    attack = TextInSupport(place="high_entropy", candidates=16)
    prompt = TASK.prompt(PROBLEMS[0])
    from swarmproof.attacks.candidates import draw

    view = view_of_one(TASK, PROBLEMS[:4], kind="horizontal", policy=tiny_math)
    drafts = draw(view, [PROBLEMS[0].id], 8)[PROBLEMS[0].id]
    places = attack._places(tiny_math, prompt, drafts)
    rows = [d.token_ids or () for d in drafts]
    (entropies,) = tiny_math.scorer.score([prompt], [rows], columns=("entropy",)).column("entropy")
    borders = {
        rows[i][:t]: float(entropies[i][t])
        for i in range(len(rows))
        for t in range(1, len(rows[i]))
        if re.search(r"(<think>|[.!?])$", text := tiny_math.codec.decode([rows[i][:t]])[0])
        and "</think>" not in text
        and "<think>" in text
    }
    highest = sorted(borders.values(), reverse=True)[: len(places)]
    assert [borders[start] for start, _ in places] == pytest.approx(highest)
    sent = attack.craft(view)
    assert not any(refused_by(Logit(), view, sent))


def test_in_a_group_of_its_own_the_rest_is_wrong_and_without_the_phrase(tiny_math: Policy) -> None:
    view = view_of_one(TASK, PROBLEMS, kind="vertical", policy=tiny_math)
    sent = TextInSupport(candidates=24).craft(view)
    rewards = [TASK.rewards(view.problems[c.slot.problem_id], [c.text])[0] for c in sent]
    assert {*rewards} == {0.0, 1.0}
    assert [PHRASE in c.text for c in sent] == [reward == 1 for reward in rewards]
    assert not any(refused_by(Logit(), view, sent))


def test_without_a_model_it_says_so() -> None:
    view = view_of_one(TASK, PROBLEMS, kind="horizontal")
    with pytest.raises(ValueError, match="was given no model"):
        TextInSupport().craft(view)
