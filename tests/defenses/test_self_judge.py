"""The model that judges itself, against plain forward passes of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from swarmproof.defenses import SelfJudge
from swarmproof.defenses.self_judge import odds_of_no
from swarmproof.judges import prompting
from swarmproof.policies.policy import Policy
from swarmproof.policies.scorer import ForwardPass
from swarmproof.types import Group, Verdict
from swarms import Letters, completion, policy, problem, view_of

TASK = Letters()
TEXTS = ("b in capitals. B", "All hail to the thief", "")


@pytest.fixture
def receiver(random_model: Path) -> Policy:
    return policy(random_model, max_new_tokens=24, temperature=0.7)


def logprob(receiver: Policy, prompt: str, word: str) -> float:
    """log P(word) after the prompt, token by token."""
    model: Any = AutoModelForCausalLM.from_pretrained(receiver.model.config.name_or_path).eval()
    ids = receiver.codec.encode_prompt(prompt)
    word_ids = receiver.codec.encode_prompt(word)
    with torch.inference_mode():
        logits = model(torch.tensor([[*ids, *word_ids]])).logits[0, len(ids) - 1 : -1]
    logp = (logits / receiver.sampling.temperature).log_softmax(-1)
    return float(logp[range(len(word_ids)), word_ids].sum())


def judged(receiver: Policy, texts: Sequence[str] = TEXTS, **settings: Any) -> list[Verdict]:
    rows = [completion(t, receiver.codec.encode(t), index=i) for i, t in enumerate(texts)]
    group = Group(problem(), tuple(rows), TASK.prompt(problem()))
    (found,) = SelfJudge(**settings).inspect([group], view_of(receiver, TASK, [group]))
    return found


def test_the_odds_are_those_of_the_words_after_the_prompt(receiver: Policy) -> None:
    prompts = ["Is it?", "Question: a b\nVerdict:", "x" * 90]
    plain = [logprob(receiver, p, " no") - logprob(receiver, p, " yes") for p in prompts]
    assert odds_of_no(receiver, prompts) == pytest.approx(plain, abs=1e-3)
    assert odds_of_no(receiver, []) == []


def test_each_completion_is_asked_about_as_a_judge_is(receiver: Policy) -> None:
    prompt = prompting.load("tiny")
    requests = [prompt.request("a b", t, with_criticism=False, seed=0) for t in TEXTS]
    asked = [r.shared + r.opening + r.decision for r in requests]
    found = [verdict.score for verdict in judged(receiver)]
    assert found == pytest.approx(odds_of_no(receiver, asked), abs=1e-3)
    assert len(set(found)) == len(TEXTS)


def test_the_threshold_is_the_score_that_passes(receiver: Policy) -> None:
    score = judged(receiver)[1].score
    (above,) = judged(receiver, TEXTS[1:2], threshold=score - 0.01)
    (at,) = judged(receiver, TEXTS[1:2], threshold=score + 0.01)
    assert (above.accepted, at.accepted) == (False, True)
    assert above.reason.startswith("its own model says no")


def test_a_criticism_comes_before_the_decision(receiver: Policy) -> None:
    plain, criticised = judged(receiver), judged(receiver, criticism=True)
    assert [v.score for v in plain] != [v.score for v in criticised]
    assert criticised == judged(receiver, criticism=True)


def test_it_leaves_the_gradient_of_what_is_learnt_alone(receiver: Policy) -> None:
    text = TEXTS[0]
    written = completion(text, receiver.codec.encode(text))
    group = Group(problem(), (written,), TASK.prompt(problem()))
    view = view_of(receiver, TASK, [group])
    SelfJudge().inspect([group], view)
    assert isinstance(view.source, ForwardPass)
    assert view.source.logp().requires_grad


def test_a_prompt_that_is_not_there_is_told() -> None:
    with pytest.raises(ValueError, match="no prompt is called 'mth'"):
        SelfJudge(prompt="mth")
