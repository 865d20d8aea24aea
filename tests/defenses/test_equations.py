"""Equations as a defence: which tokens get which credit, and what happens without a tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmproof import zoo
from swarmproof.attacks import Equation
from swarmproof.defenses import DefenseView, Equations
from swarmproof.defenses.base import Setting
from swarmproof.guard.gate import checked
from swarmproof.guard.guard import Guard
from swarmproof.policies.policy import Policy
from swarmproof.tasks import MathWords
from swarmproof.types import Group, Verdict
from swarms import policy

MODELS = ("tiny-math", "tiny-math-llama")


@pytest.fixture(scope="module", params=MODELS)
def receiver(request: pytest.FixtureRequest) -> Policy:
    return policy(zoo.path(request.param))


def verdicts(
    defense: Equations,
    texts: Sequence[str],
    rewards: Sequence[float],
    receiver: Policy | None,
    **view: Any,
) -> list[Verdict]:
    ids = [receiver.codec.encode(text) for text in texts] if receiver else None
    group = Group.of("2 + 2?", texts, ids)
    codec = receiver.codec if receiver else None
    seen = DefenseView(rewards=[rewards], seed=0, codec=codec, **view)
    (row,) = checked(defense, [group], defense.inspect([group], seen))
    return row


def credited(verdict: Verdict, text: str, receiver: Policy) -> dict[float, str]:
    """The text of the tokens with each credit other than 1."""
    if verdict.token_credit is None:
        return {}
    found: dict[float, str] = {}
    ids = receiver.codec.encode(text)
    for token, credit in zip(ids, verdict.token_credit, strict=True):
        if credit != 1:
            found[credit] = found.get(credit, "") + receiver.codec.decode([(token,)])[0]
    return found


FALSE = "<think>So 2 + 2 = 57. Then 3 + 4 = 7.</think> <answer>4</answer>"
TRUE = "<think>So 2 + 2 = 4. Then 3 + 4 = 7.</think> <answer>4</answer>"


def test_credit_turns_false_results_round_and_spares_true_ones_in_losers(receiver: Policy) -> None:
    row = verdicts(Equations(), [FALSE, TRUE, FALSE, TRUE], [1, 1, 0, 0], receiver)
    assert [v.accepted for v in row] == [True] * 4
    assert [v.score for v in row] == [1, 0, 0, 0]
    texts = (FALSE, TRUE, FALSE, TRUE)
    told = [credited(v, text, receiver) for v, text in zip(row, texts, strict=True)]
    assert [{c: t.strip() for c, t in found.items()} for found in told] == [
        {-1.0: "57"},
        {},
        {0.0: "7"},
        {0.0: "47"},
    ]


def test_mask_only_hides_false_results(receiver: Policy) -> None:
    row = verdicts(Equations(mode="mask"), [FALSE, TRUE, TRUE], [1, 1, 0], receiver)
    assert [v.accepted for v in row] == [True] * 3
    assert credited(row[0], FALSE, receiver)[0.0].strip() == "57"
    assert row[1].token_credit is row[2].token_credit is None


def test_refuse_needs_no_tokenizer_and_refuses_only_what_is_right() -> None:
    row = verdicts(Equations(mode="refuse"), [FALSE, TRUE, FALSE], [1, 1, 0], None)
    assert [v.accepted for v in row] == [False, True, True]
    assert row[0].reason == "'2 + 2 = 57' is false"
    assert all(v.token_credit is None for v in row)


@pytest.mark.parametrize("mode", ["credit", "mask"])
def test_without_a_tokenizer_it_abstains_and_says_so(mode: Any) -> None:
    for verdict in verdicts(Equations(mode=mode), [FALSE, TRUE], [1, 0], None):
        assert verdict.accepted is None
        assert "tokenizer" in verdict.reason


def test_a_group_of_equals_is_right_where_it_is_rewarded(receiver: Policy) -> None:
    assert [v.score for v in verdicts(Equations(), [FALSE, FALSE], [1, 1], receiver)] == [1, 1]
    assert [v.score for v in verdicts(Equations(), [FALSE, FALSE], [0, 0], receiver)] == [0, 0]


@given(
    st.text(st.sampled_from("é½漢😀 \n.a"), max_size=12),
    st.integers(0, 99),
    st.text(st.sampled_from("é½漢😀 \n.a"), max_size=12),
)
def test_the_result_is_found_among_characters_of_many_tokens(
    before: str, wrong: int, after: str
) -> None:
    if wrong == 4:
        return
    for name in MODELS:
        receiver = policy(zoo.path(name))
        text = f"{before} : 2 + 2 = {wrong} ; {after}"
        try:
            receiver.codec.encode(text)
        except ValueError:
            continue  # this tokenizer cannot write it, and so nobody can send it
        verdict, _ = verdicts(Equations(), [text, "x"], [1, 0], receiver)
        assert credited(verdict, text, receiver)[-1.0].strip() == str(wrong)


def test_tokens_that_are_not_its_text_refuse_what_is_false_and_abstain_on_the_rest(
    receiver: Policy,
) -> None:
    ids = [receiver.codec.encode("something else") for _ in range(2)]
    group = Group.of("2 + 2?", [FALSE, TRUE], ids)
    view = DefenseView(rewards=[[1, 0]], seed=0, codec=receiver.codec)
    ((first, second),) = Equations().inspect([group], view)
    assert (first.accepted, second.accepted) == (False, None)
    assert "do not decode" in first.reason


def test_programs_are_refused_before_the_run_with_what_fits() -> None:
    Equations().require_in(Setting(nodes=1))
    with pytest.raises(ValueError, match='"several-models-code"'):
        Equations().require_in(Setting(nodes=4, programs=True))
    Equations(programs="abstain").require_in(Setting(nodes=4, programs=True))
    (verdict,) = verdicts(Equations(), [FALSE], [1], None, programs=True)
    assert verdict.accepted is None
    assert "programs" in verdict.reason


def test_the_attack_is_turned_round_in_the_samples() -> None:
    """Through a guard: the advantage of the false 5 is negative, that of the rest is not."""
    task = MathWords(train=200, test=20)
    attack = Equation()
    problem = next(p for p in task.problems("train") if attack.applies(p))
    import numpy as np

    poison = attack.plant(task.oracle(problem), np.random.default_rng(0))
    assert poison is not None
    guard = Guard([Equations()], model=policy(zoo.path("tiny-math")))
    group = Group.of("?", [poison, "no"])
    found = guard([group], [[1.0, 0.0]])
    sample = found.samples[0][0]
    assert sample.kept
    assert sample.advantage > 0
    assert sample.token_credit is not None
    negative = [
        t for t, credit in zip(sample.tokens, sample.token_credit, strict=True) if credit < 0
    ]
    assert len(negative) >= 1
    assert set(guard._codec().decode([tuple(negative)])[0].replace(" ", "")) == {"5"}  # type: ignore[union-attr]


class Dropping:
    """As Llama's first tokenizer: what is decoded by itself loses the space in front of it."""

    words = ("", " So", " 2", " +", " =", " 5")

    def decode(self, completions: Sequence[Sequence[int]]) -> list[str]:
        return ["".join(self.words[i] for i in ids).removeprefix(" ") for ids in completions]


def test_the_result_is_found_where_a_token_reads_otherwise_by_itself() -> None:
    group = Group.of("?", ["So 2 + 2 = 5", "So"], [(1, 2, 3, 2, 4, 5, 0), (1, 0)])
    view = DefenseView(rewards=[[1, 0]], seed=0, codec=Dropping())  # type: ignore[arg-type]
    ((verdict, _),) = Equations().inspect([group], view)
    assert verdict.token_credit == (1, 1, 1, 1, 1, -1, 1)
