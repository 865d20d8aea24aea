"""The single gate for verdicts: every result of a defence is checked here before it is used.

A defence may be third-party code. A wrong shape is an error that names the defence. A number that
is not finite refuses the completion. Nothing passes by accident.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from numbers import Real

import numpy as np

from swarmproof.defenses.base import Defense
from swarmproof.types import Completion, Group, Verdict

# Replaces a score that is not finite: the largest, so most suspicious, finite number.
MOST_SUSPICIOUS = sys.float_info.max
# The name in verdicts of completions that no model can score.
TOKENS = "tokens"


def checked(
    defense: Defense, groups: Sequence[Group], told: Sequence[Sequence[Verdict]]
) -> list[list[Verdict]]:
    """The verdicts of one defence as plain, valid values.

    Args:
        defense: the defence that gave the verdicts.
        groups: the groups that it inspected.
        told: the value that it returned.

    Returns:
        one verdict for each completion, group by group. NumPy booleans and numbers are converted
        to Python's. A verdict with a number that is not finite refuses.

    Raises:
        ValueError: too few or too many verdicts, another defence's name, an `accepted` that is
            neither a bool nor None, or weights out of range or of another length.
    """
    name = defense.name
    who = f"the defence {name!r}"
    if len(told) != len(groups):
        raise ValueError(f"{who} returned verdicts for {len(told)} of {len(groups)} groups")
    result = []
    for group, row in zip(groups, told, strict=True):
        if len(row) != len(group.completions):
            raise ValueError(
                f"{who} returned {len(row)} verdicts for a group of {len(group.completions)} "
                "completions; it must return one for each"
            )
        result.append(
            [
                verdict if _is_plain(name, verdict) else _checked(who, name, completion, verdict)
                for completion, verdict in zip(group.completions, row, strict=True)
            ]
        )
    return result


def _checked(who: str, name: str, completion: Completion, verdict: Verdict) -> Verdict:
    if not isinstance(verdict, Verdict):
        raise ValueError(f"{who} returned {verdict!r:.60}; build verdicts by self.verdict")  # noqa: TRY004
    if verdict.defense != name:
        raise ValueError(
            f"{who} returned a verdict of {verdict.defense!r:.60}; build verdicts by self.verdict"
        )
    accepted = _decision(who, verdict.accepted)
    score, weight = _number(who, "score", verdict.score), _number(who, "weight", verdict.weight)
    credit = _credit(who, completion, verdict.token_credit)
    numbers = {"score": (score,), "weight": (weight,), "token_credit": credit or ()}
    for field, values in numbers.items():
        if not all(map(math.isfinite, values)):
            return Verdict(name, False, MOST_SUSPICIOUS, f"its {field} is not a finite number")
    if not 0 <= weight <= 1:
        raise ValueError(f"{who} returned a weight of {weight:g}; it must be in [0, 1]")
    if credit and (max(credit) > 1 or min(credit) < -1):
        raise ValueError(f"{who} returned a token_credit outside [-1, 1]")
    reason = " ".join(str(verdict.reason).split())
    flags = bool(verdict.renormalised), bool(verdict.redraw)
    return Verdict(name, accepted, score, reason, weight, credit, *flags)


def _is_plain(name: str, verdict: Verdict) -> bool:
    """Whether there is nothing to convert, to check or to refuse, as in nearly all verdicts."""
    return (
        type(verdict) is Verdict
        and verdict.defense == name
        and (verdict.accepted is None or verdict.accepted is True)
        and type(verdict.score) is type(verdict.weight) is float
        and math.isfinite(verdict.score)
        and 0 <= verdict.weight <= 1
        and verdict.reason == ""
        and verdict.token_credit is None
        and verdict.renormalised is False
        and verdict.redraw is False
    )


def _decision(who: str, accepted: object) -> bool | None:
    if accepted is None or accepted is True or accepted is False:
        return accepted
    if not isinstance(accepted, bool | np.bool_):
        raise ValueError(f"{who} returned accepted = {accepted!r:.60}; it is True, False or None")  # noqa: TRY004
    return bool(accepted)


def _credit(who: str, completion: Completion, told: object) -> tuple[float, ...] | None:
    if told is None:
        return None
    if not isinstance(told, tuple):
        raise ValueError(f"{who} returned token_credit = {told!r:.60}; build it by self.verdict")  # noqa: TRY004
    plain = set(map(type, told)) == {float}
    credit = told if plain else tuple(_number(who, "token_credit", value) for value in told)
    length = len(completion.token_ids or ())
    if len(credit) != length:
        raise ValueError(
            f"{who} returned token_credit for {len(credit)} tokens of a completion of {length}"
        )
    return credit


def _number(who: str, field: str, value: object) -> float:
    if type(value) is float:  # nearly all are, and the test below is slow
        return value
    # NumPy's scalars are registered as numbers; a tensor of one element is not.
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError(f"{who} returned {field} = {value!r:.60}; it must be a number")  # noqa: TRY004
    return float(value)
