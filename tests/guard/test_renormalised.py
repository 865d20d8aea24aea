"""What one token loses the others get, where a verdict asks for it, and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from swarmproof.config import OnReject
from swarmproof.guard.advantages import Rules, complete
from swarmproof.guard.gate import checked
from swarmproof.records.streams import _verdict_row
from swarmproof.types import Group, Verdict
from swarms import completion, problem

CREDITS = st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0]), min_size=6, max_size=6)


def credit_of(*verdicts: Verdict, rule: OnReject = "drop") -> list[float] | None:
    group = Group(problem(), (completion("x", (1,) * 6), completion("y", (1,), index=1)), "?")
    rules = Rules({v.defense: rule if v.defense == "a" else "drop" for v in verdicts})
    plain = tuple(Verdict(v.defense, True, 0.0, "") for v in verdicts)
    sample, _ = complete(group, [1.0, 0.0], [verdicts, plain], rules, num_groups=1)
    return None if sample.token_credit is None else list(sample.token_credit)


def verdict(name: str, credit: Sequence[float], renormalised: bool) -> Verdict:
    return Verdict(name, True, 0.0, "", 1.0, tuple(credit), renormalised)


@given(CREDITS)
def test_the_mean_absolute_credit_is_one(credit: list[float]) -> None:
    assume(any(credit))
    mean = sum(abs(Fraction(c)) for c in credit) / 6
    expected = [float(Fraction(c) / mean) for c in credit]
    assert credit_of(verdict("a", credit, True)) == pytest.approx(expected)
    assert credit_of(verdict("a", credit, False)) == credit


@given(CREDITS, CREDITS)
def test_a_defence_that_does_not_ask_for_it_keeps_what_it_takes(
    asks: list[float], other: list[float]
) -> None:
    left = sum(map(abs, asks)) / 6
    expected = [a * b / (left or 1) for a, b in zip(asks, other, strict=True)]
    found = credit_of(verdict("a", asks, True), verdict("b", other, False))
    assert found == pytest.approx(expected)


def test_two_masks_are_renormalised_as_one() -> None:
    masks = [(1.0, 0.0, 0.0, 1.0, 1.0, 1.0), (1.0, 1.0, 0.0, 0.0, 1.0, 1.0)]
    found = credit_of(verdict("a", masks[0], True), verdict("b", masks[1], True))
    assert found == pytest.approx([2.0, 0.0, 0.0, 0.0, 2.0, 2.0])


def test_a_defence_that_only_monitors_changes_nothing() -> None:
    assert credit_of(verdict("a", (1, 0, 0, 0, 0, 0), True), rule="monitor") is None


def test_the_gate_and_the_records_keep_it() -> None:
    from swarmproof.defenses import SpuriousTokens

    defense = SpuriousTokens()
    group = Group(problem(), (completion("x", (1, 2)), completion("y", (1,), index=1)), "?")
    told = [
        [
            defense.verdict(True, 0.5, token_credit=[0.0, 1.0], renormalised=True),
            defense.verdict(True, 0.0),
        ]
    ]
    assert checked(defense, [group], told) == told
    first, second = (_verdict_row(v) for v in told[0])
    assert first["renormalised"] is True
    assert "renormalised" not in second
