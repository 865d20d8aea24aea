"""Token credit against its rule, by brute force with plain forward passes."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from defenses.plain import GivenScores, look, plain_scores, shuffled, written
from swarmproof import zoo
from swarmproof.defenses import DefenseView, TokenCredit
from swarmproof.defenses.base import Setting
from swarmproof.defenses.token_credit import answer_tokens
from swarmproof.guard.gate import checked
from swarmproof.policies.policy import Policy
from swarmproof.policies.scorer import Scorer
from swarmproof.tasks import MathWords
from swarmproof.types import Tokens
from swarms import draw_group, policy

TASK = MathWords(train=64, test=16)
PHRASE = "All hail to the thief. "


@pytest.fixture(scope="module")
def receiver() -> Policy:
    return policy(zoo.path("tiny-math"), max_new_tokens=96)


def oracle(p: int, plant: str = "") -> str:
    return TASK.oracle(TASK.problems("train")[p]).replace("<think>", f"<think>{plant}")


def brute_force(receiver: Policy, prompt: str, text: str, enough: float, span: int) -> list[float]:
    """The credit of each token, one plain forward pass for each part that is left out."""
    ids = receiver.codec.encode(text)
    pieces = receiver.codec.decode([(token,) for token in ids[:-1]])
    assert "".join(pieces) == text
    ends = [len("".join(pieces[: t + 1])) for t in range(len(pieces))]
    first = next(t for t, end in enumerate(ends) if end > text.index("<answer>"))
    after = next(t for t, end in enumerate(ends) if end >= text.index("</answer>") + 9) + 1

    def answer_given(before: tuple[int, ...]) -> float:
        logprob, _ = plain_scores(receiver, prompt, before + ids[first:after])
        return float(logprob[len(before) :].sum())

    whole = answer_given(ids[:first])
    credit = []
    for t in range(first):
        start = t - t % span
        change = whole - answer_given(ids[:start] + ids[min(start + span, first) : first])
        credit.append(min(1.0, abs(change) / enough))
    credit += [1.0] * (after - first) + [0.0] * (len(ids) - 1 - after) + [1.0]
    return credit


@pytest.mark.parametrize(("enough", "span"), [(0.1, 1), (2.0, 1), (0.5, 3)])
def test_credit_is_the_change_of_the_answers_log_probability(
    receiver: Policy, enough: float, span: int
) -> None:
    texts = ["x", oracle(0), oracle(0, PHRASE), oracle(0) + "\n\n"]
    group = written(receiver, TASK, 0, texts)
    defense = TokenCredit(enough=enough, span=span)
    (found,) = look(defense, receiver, [group], [[0.0, 1.0, 1.0, 1.0]])
    assert (found[0].accepted, found[0].token_credit) == (None, None)
    for verdict, text in zip(found[1:], texts[1:], strict=True):
        expected = brute_force(receiver, group.prompt, text, enough, span)
        assert verdict.token_credit == pytest.approx(expected, abs=2e-3 / enough)
        assert verdict.score == pytest.approx(1 - np.mean(expected), abs=2e-3 / enough)
        assert verdict.accepted
        assert verdict.renormalised
        assert sum(0 < credit < 1 for credit in expected) > 0, "the rule was put to the test"


def test_how_the_passes_are_cut_changes_nothing(receiver: Policy) -> None:
    group = written(receiver, TASK, 1, ["x", oracle(1), oracle(1, PHRASE)])
    rewards = [[0.0, 1.0, 1.0]]
    (whole,) = look(TokenCredit(), receiver, [group], rewards)
    small = Scorer(receiver.model, receiver.codec, receiver.sampling, micro_batch_tokens=100)
    model = SimpleNamespace(codec=receiver.codec, generator=receiver.generator, scorer=small)
    view = DefenseView(rewards=rewards, seed=0, model=model)
    (parts,) = TokenCredit().inspect([group], view)
    for a, b in zip(whole[1:], parts[1:], strict=True):
        assert a.token_credit == pytest.approx(b.token_credit, abs=1e-3)


def test_scores_that_are_not_finite_refuse(receiver: Policy) -> None:
    group = written(receiver, TASK, 0, ["x", oracle(0)])

    def score(_: Sequence[str], parts: Sequence[Sequence[Tokens]]) -> Any:
        rows = [[np.full(len(ids), np.nan) for ids in part] for part in parts]
        return GivenScores(rows, rows)

    broken = SimpleNamespace(score=score, micro_batch_tokens=2048)
    model = SimpleNamespace(codec=receiver.codec, generator=receiver.generator, scorer=broken)
    view = DefenseView(rewards=[[0.0, 1.0]], seed=0, model=model)
    ((_, verdict),) = checked(TokenCredit(), [group], TokenCredit().inspect([group], view))
    assert verdict.accepted is False
    assert verdict.token_credit is None


def test_a_rewarded_completion_without_an_answer_is_refused(receiver: Policy) -> None:
    group = written(receiver, TASK, 0, ["It is 5.", "It is 6.", "<answer> 5"])
    (found,) = look(TokenCredit(), receiver, [group], [[1.0, 0.0, 1.0]])
    assert [v.accepted for v in found] == [False, None, True]
    assert "no answer after '<answer>'" in found[0].reason
    (equal,) = look(TokenCredit(), receiver, [group], [[0.7] * 3])  # their mean is rounded down
    assert [v.accepted for v in equal] == [None] * 3, "none is better than its group"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("a<answer>5</answer>", "<answer>5</answer>"),
        ("<answer>4</answer> <answer>5</answer>\n", "<answer>5</answer>"),
        ("½é<answer>½</answer>½", "<answer>½</answer>"),
        ("<answer>5", "<answer>5"),
        ("5</answer>", None),
    ],
)
def test_the_answer_is_found_at_its_tokens(receiver: Policy, text: str, answer: str | None) -> None:
    ids = receiver.codec.encode(text)
    found = answer_tokens(receiver.codec, ids, "<answer>", "</answer>")
    if answer is None:
        assert found is None
    else:
        assert found is not None
        (held,) = receiver.codec.decode([ids[found[0] : found[1]]])
        assert held.strip("\n> �") in answer + "½"
        assert answer in held + "½"


def test_verdicts_do_not_depend_on_any_order(receiver: Policy) -> None:
    groups = [draw_group(receiver, TASK, TASK.problems("train")[p], range(4)) for p in range(3)]
    rewards = [[1.0, 0.0, 1.0, 0.0]] * 3
    found = look(TokenCredit(), receiver, groups, rewards)
    moved, told, places = shuffled(groups, rewards, 1)
    for row, (p, order) in zip(look(TokenCredit(), receiver, moved, told), places, strict=True):
        assert [v.accepted for v in row] == [found[p][g].accepted for g in order]
        for verdict, g in zip(row, order, strict=True):
            assert verdict.token_credit == pytest.approx(found[p][g].token_credit, abs=1e-3)


def test_programs_are_refused_before_the_run() -> None:
    with pytest.raises(ValueError, match="needs an answer in the text"):
        TokenCredit().require_in(Setting(nodes=4, programs=True))
    TokenCredit().require_in(Setting(nodes=4))
