"""SURPRISE: refuse completions with a part that is less likely than honest completions are.

For swarms of one model or of several. Why it works: the tail of a distribution shows more than
membership in the top k. For example, a digit can be among the 50 most likely tokens and still have
a probability of one in ten thousand. The limits are computed from the received completions, so
they also fit the text of other models. Where it fails: a poison that is as likely as honest text,
because it was sampled from a model, or because the receiver has learnt it already; and swarms in
which half of the nodes or more are malicious. Source: our own; docs/adr/0011 describes the
calibration.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from swarmproof.defenses.base import Defense, DefenseView, Reads
from swarmproof.registry import register
from swarmproof.types import Group, NodeId, Verdict

_MEASURES = ("least likely token", "least likely digit", "least likely stretch")


@register("defense", "surprise")
class Surprise(Defense):
    """Refuse a completion with a token, a digit or a stretch of tokens too unlikely for the swarm.

    The exact rule. Under the receiver's current weights, at the sampling temperature and over the
    full vocabulary, each completion has three values: the log-probability of its least likely
    token; that of its least likely token that contains a digit, if it has one; and the lowest mean
    log-probability of `window` consecutive tokens (of all tokens, if there are fewer). Each value
    has a limit, which is computed in every round from the completions of that round. The limit of
    a node is the quantile `false_rejections` / 3 of its completions' values (with linear
    interpolation). The limit in force is the median over nodes, so that a minority cannot move it
    at will. Nodes of the receiver's own model and all other nodes have separate limits. A
    completion is refused if any of its values is below its limit by more than `margin`.
    """

    reads: ClassVar[Reads] = "round"
    threshold_field: ClassVar[str] = "margin"

    false_rejections: float = Field(
        default=0.02,
        gt=0,
        lt=1,
        description="approximate share of honest completions to refuse",
    )
    window: int = Field(default=8, ge=2, le=1024, description="length of a stretch, in tokens")
    margin: float = Field(
        default=0.0, description="allowed distance of a value below its limit, in nats"
    )

    def inspect(self, groups: Sequence[Group], view: DefenseView) -> list[list[Verdict]]:
        measured = [
            [
                self._measure(completion.token_ids or (), score.logprob.astype(np.float64), view)
                for completion, score in zip(group.completions, scores, strict=True)
            ]
            for group, scores in zip(groups, view.scores, strict=True)
        ]
        by_node: dict[bool, dict[NodeId, list[np.ndarray]]] = {False: {}, True: {}}
        for group, row in zip(groups, measured, strict=True):
            for completion, (values, _) in zip(group.completions, row, strict=True):
                pool = by_node[completion.node in view.foreign]
                pool.setdefault(completion.node, []).append(values)
        rate = self.false_rejections / len(_MEASURES)
        limit = {
            foreign: limits([np.array(rows) for rows in pool.values()], rate)
            for foreign, pool in by_node.items()
            if pool
        }
        return [
            [
                self._verdict(values, places, limit[completion.node in view.foreign])
                for completion, (values, places) in zip(group.completions, row, strict=True)
            ]
            for group, row in zip(groups, measured, strict=True)
        ]

    def _measure(
        self, token_ids: Sequence[int], logprob: np.ndarray, view: DefenseView
    ) -> tuple[np.ndarray, list[int]]:
        """The three values and the token index of each; the second is NaN without a digit."""
        of_digits = np.where([i in view.digit_ids for i in token_ids], logprob, np.inf)
        width = min(self.window, len(logprob))
        stretches = np.convolve(logprob, np.full(width, 1 / width), "valid")
        courses = (logprob, of_digits, stretches)
        values = np.array([course.min() for course in courses])
        values[values == np.inf] = np.nan
        return values, [int(course.argmin()) for course in courses]

    def _verdict(self, values: np.ndarray, places: Sequence[int], limit: np.ndarray) -> Verdict:
        missing = limit - values
        if np.isnan(missing).all():
            return self.verdict(False, math.nan)  # no number to compare; the gate refuses NaN
        worst = int(np.nanargmax(missing))
        score = float(missing[worst])
        if score <= self.margin:
            return self.verdict(True, score)
        reason = (
            f"the {_MEASURES[worst]}, at position {places[worst]}, has log-probability "
            f"{values[worst]:.2f}, and the limit is {limit[worst]:.2f}"
        )
        return self.verdict(False, score, reason)


def limits(values_N: Sequence[np.ndarray], rate: float) -> np.ndarray:
    """The limit of each measure, NaN where no completion has a value.

    Args:
        values_N: for each node, (completions, measures); NaN where a completion has no value.
        rate: share of a node's own values that may lie below its own limit.

    Returns:
        (measures,): the median over nodes. While fewer than half of the nodes are malicious, it
        lies between the limits of honest nodes.
    """
    own_N = np.array(
        [[_told(column, np.quantile, rate) for column in values.T] for values in values_N]
    )
    return np.array([_told(column, np.median) for column in own_N.T])


def _told(values: np.ndarray, reduce: Callable[..., Any], *args: float) -> float:
    """`reduce` over the non-NaN values; NaN if all values are NaN."""
    there = values[~np.isnan(values)]
    return float(reduce(there, *args)) if len(there) else math.nan
