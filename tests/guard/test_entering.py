"""What stops at a guard's door: ids that stand for no token, what is too long, empty groups."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from swarmproof import Group, Guard
from swarmproof.config import SamplingConfig
from swarmproof.policies import policy
from swarmproof.policies.policy import Policy
from swarmproof.types import Sample, TokenScores

TEXT_ONLY = (
    "signature", "novelty", "length_match", "equations", "max_tokens", "reward_outlier",
)  # fmt: skip
ALL = [
    *("logit", "replay", "surprise", "kl_gate", "spurious_tokens", "token_credit", "self_judge"),
    *TEXT_ONLY,
]
REWARDS = [[1.0, 0.0, 1.0]]


def guard(defense: Any, **more: Any) -> Guard:
    return Guard([defense], model=model(), **more)


@cache
def model() -> Policy:
    return policy.load("tiny-math", SamplingConfig())


def stopped(sample: Sample) -> str:
    """Why a completion was stopped at the door; empty if it was not."""
    return "".join(v.reason for v in sample.verdicts if v.defense == "tokens")


def of(ids: list[Any], **more: Any) -> Group:
    return Group.of("2 + 2?", ["x", "b", "c"], ids, senders=["evil", "a", "b"], **more)


@pytest.mark.parametrize("name", ALL)
def test_an_id_outside_the_vocabulary_stops_its_completion_only(name: str) -> None:
    seeds: dict[str, Any] = {"slot_seeds": range(6)} if name == "replay" else {}
    bad = [(5, 1024), (-1,), (10**9,), (2**70, 5)]
    group = Group.of("2 + 2?", [*"abcdef"], [*bad, (5,), (6,)], senders=[*"abcdef"], **seeds)
    found = guard(name)([group], [[1.0, 0.0, 1.0, 0.0, 1.0, 0.0]])
    says = ["a token id outside the vocabulary"] * 4
    assert [stopped(s) for s in found.samples[0]] == [*says, "", ""]
    assert not found.kept[0][:4].any()
    if name in ("logit", "kl_gate"):  # of which no verdict depends on the others
        alone = guard(name)([of([(0,), (5,), (6,)])], REWARDS)
        assert found.verdicts[0][4][0].accepted == alone.verdicts[0][1][0].accepted


def test_given_scores_still_fit_a_completion_that_is_stopped() -> None:
    zeros = [TokenScores(np.zeros(n, np.float32), np.zeros(n, np.float32)) for n in (3, 1, 1)]
    found = guard("logit")([of([(5, 5, -1), (5,), (6,)])], REWARDS, scores=[zeros])
    assert [bool(stopped(s)) for s in found.samples[0]] == [True, False, False]


def test_what_is_read_in_its_place_gives_no_credit_to_tokens() -> None:
    """A credit for other tokens than the trainer's would stop the whole batch there."""
    asked = guard("equations", on_reject="zero_reward")
    found = asked([of([(5, 5, -1), (5,), (6,)])], REWARDS)
    assert found.token_credit[0][0] is None


@pytest.mark.parametrize("name", ["logit", "replay"])
def test_no_completion_is_longer_than_the_strategy_that_the_guard_was_told(name: str) -> None:
    """14 tokens without an end-of-text, and with it, were accepted where 10 were allowed."""
    drawer = policy.load("tiny-math", SamplingConfig(max_new_tokens=40))
    prompt = "Question: Tom has 3 pens and buys 4 more. How many pens does Tom have?\n"
    seeds = [*range(100, 108)]
    rows = drawer.generator.generate([prompt], [seeds])[0]
    g = next(g for g, row in enumerate(rows) if len(row) > 14)
    cut, whole = rows[g][:14], rows[g]
    group = Group.of(
        prompt, drawer.codec.decode([cut, whole, rows[g][:10]]), [cut, whole, rows[g][:10]],
        senders=[*"abc"], slot_seeds=[seeds[g]] * 3,
    )  # fmt: skip
    found = guard(name, sampling={"max_new_tokens": 10})([group], REWARDS)
    assert [stopped(s) for s in found.samples[0]] == [
        "14 tokens, and sampling.max_new_tokens is 10",
        f"{len(whole)} tokens, and sampling.max_new_tokens is 10",
        "",
    ]
    assert found.kept[0].tolist() == [False, False, True]


def test_the_default_length_is_no_limit_that_anybody_gave() -> None:
    group = of([(5,) * 200, (5,), (6,)])
    for sampling, most in (({}, ""), ({"max_new_tokens": 128}, "200 tokens")):
        found = Guard(["max_tokens"], sampling=sampling)([group], REWARDS)
        assert stopped(found.samples[0][0]).startswith(most)
        assert bool(stopped(found.samples[0][0])) is bool(most)


def test_a_text_that_fills_the_limit_has_no_end_of_text() -> None:
    """As in admission: it was cut there."""
    asked = guard("logit", sampling={"max_new_tokens": 3})
    codec = asked.codec
    assert codec is not None
    (text,) = codec.decode([(5, 6, 7)])
    assert codec.encode(text)[:-1] == (5, 6, 7)
    found = asked([Group.of("?", [text, text * 2, "b"])], REWARDS)
    assert found.samples[0][0].tokens == (5, 6, 7)
    assert [bool(stopped(s)) for s in found.samples[0]] == [False, True, False]


@pytest.mark.parametrize("name", ALL)
def test_groups_without_completions_are_skipped(name: str) -> None:
    seeds = {"slot_seeds": [1, 2, 3]} if name == "replay" else {}
    full = of([(5,), (5, 6), (6,)], **seeds)
    found = guard(name)([Group.of("a", []), full, Group.of("b", [])], [[], *REWARDS, []])
    alone = guard(name)([full], REWARDS)
    assert found.verdicts == [[], alone.verdicts[0], []]
    assert [len(group.completions) for group in found.groups] == [0, 3, 0]
    assert [s.loss_weight for s in found.samples[1]] == [s.loss_weight for s in alone.samples[0]]
    assert guard(name)([Group.of("a", [])], [[]]).samples == [[]]


def test_scores_of_empty_groups_are_skipped_too() -> None:
    zeros = [TokenScores(np.zeros(1, np.float32), np.zeros(1, np.float32))] * 3
    groups = [Group.of("a", []), of([(0,), (0,), (0,)])]
    found = guard("logit")(groups, [[], *REWARDS], scores=[[], zeros])
    assert [v.accepted for (v,) in found.verdicts[1]] == [True] * 3
    with pytest.raises(ValueError, match="2 groups and 1 rows of scores"):
        guard("logit")(groups, [[], *REWARDS], scores=[zeros])


def test_what_does_not_fit_into_the_models_context_stops_its_completion_only() -> None:
    """A model with learnt positions would fail, and others compute with positions never learnt."""
    positions = model().model.config.max_position_embeddings
    prompt = len(model().codec.encode_prompt("2 + 2?"))
    fits, long = (5,) * (positions - prompt), (5,) * (positions - prompt + 1)
    found = guard("logit")([of([long, fits, (6,)])], REWARDS)
    room = f"{len(long)} tokens, and the model's context has room for {len(fits)}"
    assert [stopped(s) for s in found.samples[0]] == [room, "", ""]
    text_only = guard("max_tokens")([of([long, fits, (6,)])], REWARDS)
    assert not any(stopped(s) for s in text_only.samples[0])


def test_a_prompt_without_room_refuses_its_group_and_stops_no_other() -> None:
    """In some trainers a prompt comes from a peer."""
    long = Group.of("2 + 2? " * 2000, ["x", "b", "c"], [(5,), (6,), (7,)], senders=[*"abc"])
    found = guard("logit")([long, of([(5,), (6,), (7,)])], [*REWARDS, *REWARDS])
    assert [bool(stopped(s)) for s in found.samples[0]] == [True] * 3
    assert [bool(stopped(s)) for s in found.samples[1]] == [False] * 3


@pytest.mark.parametrize("rule", ["monitor", "zero_reward", "mask"])
def test_a_completion_that_is_stopped_keeps_its_tokens_in_its_sample(rule: Any) -> None:
    """What the model scored in their place would be trained on otherwise."""
    one = guard("max_tokens", on_reject=rule, sampling={"max_new_tokens": 3})
    found = one([of([(5, 6, 7, 8), (5,), (6,)])], REWARDS)
    assert stopped(found.samples[0][0])
    assert [s.tokens for s in found.samples[0]] == [(5, 6, 7, 8), (5,), (6,)]


@pytest.mark.parametrize("name", ALL)
def test_a_prompt_without_tokens_stops_its_group_only(name: str) -> None:
    """It raised IndexError, and a peer may have sent it."""
    seeds: dict[str, Any] = {"slot_seeds": [1, 2, 3]} if name == "replay" else {}
    empty = Group.of("", ["3", "4", "5"], senders=[*"abc"], **seeds)
    full = of([(5,), (5, 6), (6,)], **seeds)
    found = guard(name)([empty, full], REWARDS * 2)
    scores = "" if name in TEXT_ONLY else "the prompt has no tokens"
    for sample in found.samples[0]:
        assert stopped(sample).startswith(scores)
        assert bool(stopped(sample)) is bool(scores)
        assert sample.completion.text in "345"
    assert [stopped(s) for s in found.samples[1]] == [""] * 3
    if name in ("logit", "kl_gate"):  # of which no verdict depends on the others
        (alone,) = guard(name)([full], REWARDS).verdicts
        assert [v.accepted for (v,) in found.verdicts[1]] == [v.accepted for (v,) in alone]
