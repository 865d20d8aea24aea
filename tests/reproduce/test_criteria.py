"""Only its numbers decide whether a figure agrees."""

from __future__ import annotations

from typing import Any

import pytest

from swarmproof.reproduce.criteria import Outcome, judge
from swarmproof.reproduce.figures import parse

MEASURED: dict[str, Any] = {
    "attack": {
        "asr": {"first": 0.0, "final": 0.9, "peak": 0.95},
        "length": {"first": 30.0, "final": 66.0, "peak": 70.0},
    },
    "judge": {"asr": {"first": 0.0, "final": 0.1, "peak": 0.6}},
    "no-attack": {"asr": {"first": None, "final": None, "peak": None}},
}


def outcome(criterion: str, metric: str = "asr") -> Outcome:
    text = f"""
    title = ""
    paper = ""
    metric = "{metric}"
    y = ""
    curves = {{ attack = "text-horizontal/attack" }}
    criteria = [{{ text = "it holds", {criterion} }}]
    """
    figure: Any = parse(text, "fig1", "tiny")
    return judge(figure.criteria[0], MEASURED, metric)


@pytest.mark.parametrize(
    ("criterion", "agrees"),
    [
        ('curve = "attack", at_least = 0.9', True),
        ('curve = "attack", at_least = 0.91', False),
        ('curve = "judge", at_most = 0.1', True),
        ('curve = "judge", at_most = 0.09', False),
        ('curve = "attack", at_least = 0.8, at_most = 0.85', False),
        ('curve = "judge", at_least = 0.5, stat = "peak"', True),
        ('curve = "attack", at_most = 0, stat = "first"', True),
        ('curve = "attack", at_least = 2.2, stat = "growth", metric = "length"', True),
        ('curve = "attack", at_least = 2.3, stat = "growth", metric = "length"', False),
        ('order = ["attack", "judge"], by = 0.5', True),
        ('order = ["attack", "judge"], by = 0.85', False),
        ('order = ["judge", "attack"], by = 0.01', False),
        ('near = ["judge", "attack"], within = 0.81', True),
        ('near = ["attack", "judge"], within = 0.7', False),
        # Not measured: no number, no such curve, no such metric, nothing to grow from.
        ('curve = "no-attack", at_most = 1', None),
        ('order = ["attack", "logit"], by = 0.1', None),
        ('curve = "judge", at_least = 1, metric = "length"', None),
        ('curve = "attack", at_least = 1, stat = "growth"', None),
    ],
)
def test_a_criterion_holds_by_the_numbers(criterion: str, agrees: bool | None) -> None:
    assert outcome(criterion).agrees is agrees


def test_the_outcome_tells_the_numbers_with_their_units() -> None:
    assert (
        outcome('order = ["attack", "judge"], by = 0.5').measured == "attack 90.0 %; judge 10.0 %"
    )
    length = 'curve = "attack", at_least = 60'
    assert outcome(length, "length").measured == "attack 66.0 tokens"
    assert outcome(f'{length}, stat = "growth"', "length").measured == "attack 2.20 ×"


@pytest.mark.parametrize(
    ("criterion", "words"),
    [
        ("within = 1", "a criterion needs one of curve, order, near"),
        ('curve = "attack"', "needs at_least, at_most or both"),
        ('curve = "attack", at_leest = 1', "at_leest: unknown setting; did you mean 'at_least'"),
        ('order = ["attack"], by = 1', "at least 2 items"),
        ('order = ["attack", "judge"], by = 0', "greater than 0"),
    ],
)
def test_a_criterion_of_no_known_kind_is_one_line(criterion: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        outcome(criterion)
    assert "\n" not in str(caught.value)
