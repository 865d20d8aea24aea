"""What a caller gives: rewards and scores, checked against the groups, and a saved state."""

from __future__ import annotations

import json
import math
import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from swarmproof.config.quoting import dotted
from swarmproof.defenses.base import Defense, DefenseView, Scores
from swarmproof.types import Completion, Group, TokenScores

ValueT = TypeVar("ValueT")
_MOST_REWARD = 1e30  # a float32 holds it


@dataclass(frozen=True, slots=True)
class Given:
    """Scores that the caller already has."""

    scores: Sequence[Sequence[TokenScores]]


@dataclass(frozen=True, slots=True)
class Chosen:
    """The scores of some of the groups that they were given for."""

    source: Scores
    indices: Sequence[int]

    @property
    def scores(self) -> Sequence[Sequence[TokenScores]]:
        return [self.source.scores[p] for p in self.indices]

    def column(self, name: str) -> Sequence[Sequence[np.ndarray]]:
        """As `DefenseView.column`, which says more where the source has no columns."""
        found = DefenseView(rewards=(), seed=0, source=self.source).column(name)
        return [found[p] for p in self.indices]


def require_tokenizer(tokenizer: object) -> None:
    """Raise ValueError for the name of a tokenizer, or of a model, in place of it."""
    if isinstance(tokenizer, str | os.PathLike):
        raise ValueError(  # noqa: TRY004 - one kind of error for all that a caller gives
            f"tokenizer = {str(tokenizer)!r:.60} is a name; give the tokenizer itself, or model"
        )


def round_number(value: object) -> int:
    """The number of a round, from a trainer: numbers of NumPy and torch are welcome.

    Raises:
        ValueError: it is no whole number, or below 0.
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        whole = isinstance(value, float) and value.is_integer()
        number = int(value) if whole else -1  # type: ignore[call-overload]
    if number < 0:
        raise ValueError(f"round = {value!r:.60}; it is a whole number from 0 on")
    return number


def whole_number(name: str, value: object) -> int:
    """A count from a state, which may come from a file."""
    if type(value) is not int or value < 0:
        raise ValueError(f"the state of a guard has {name} = {value!r:.60}; it is a whole number")
    return value


def state(defense: Defense, table: object) -> dict[str, Any]:
    """The state of a defence as it was saved, checked."""
    what = f"the state of the defence {defense.name!r}"
    if not isinstance(table, Mapping):
        raise ValueError(f"{what} is not a table")  # noqa: TRY004 - from a file
    if not table:
        return {}
    try:
        text = json.dumps(dict(table), allow_nan=False)
        TypeAdapter(defense.state_type).validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = " ".join(f"{dotted(first['loc'])}: {first['msg']}".split())
        raise ValueError(f"{what} is damaged: {where:.300}; load an earlier one") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{what} is not valid JSON: {str(error)[:100]}") from None
    return dict(table)


def require_rows(what: str, groups: Sequence[Group], rows: Sequence[object]) -> None:
    if len(rows) != len(groups):
        raise ValueError(f"{len(groups)} groups and {len(rows)} rows of {what}; give one each")


def require_rewarded(groups: Sequence[Group], rewards: Sequence[Sequence[float]]) -> None:
    """Raise ValueError unless each completion has a text and a reward that is a number."""
    for p, g, completion, reward in _each("rewards", groups, rewards):
        if not isinstance(completion.text, str):
            raise ValueError(  # noqa: TRY004 - one kind of error for all that a caller gives
                f"the text of completion {g} of group {p} is {completion.text!r:.40}; it is a str, "
                'and "" where there is none'
            )
        if reward is None or not math.isfinite(reward):
            raise ValueError(f"the reward of completion {g} of group {p} is {reward!r}")
        if abs(reward) > _MOST_REWARD:
            raise ValueError(
                f"the reward of completion {g} of group {p} is {reward:g}; it is at most "
                f"{_MOST_REWARD:g}, as its square would be no number"
            )


def require_scores(groups: Sequence[Group], scores: Sequence[Sequence[TokenScores]]) -> None:
    for p, g, completion, tokens in _each("scores", groups, scores):
        length = len(completion.token_ids or ())
        if not len(tokens.logprob) == len(tokens.shortfall) == length:
            raise ValueError(
                f"completion {g} of group {p} has {length} tokens, and scores of "
                f"{len(tokens.logprob)}; give token_ids, and one score for each"
            )


def _each(
    what: str, groups: Sequence[Group], rows: Sequence[Sequence[ValueT]]
) -> Iterator[tuple[int, int, Completion, ValueT]]:
    """Yield every completion with its value and place; raise ValueError unless each has one."""
    require_rows(what, groups, rows)
    for p, (group, row) in enumerate(zip(groups, rows, strict=True)):
        if len(row) != len(group.completions):
            raise ValueError(
                f"group {p} has {len(group.completions)} completions and {len(row)} {what}"
            )
        for g, (completion, value) in enumerate(zip(group.completions, row, strict=True)):
            yield p, g, completion, value
