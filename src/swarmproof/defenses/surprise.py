"""SURPRISE: refuse what is less likely, somewhere, than what honest nodes write.

For swarms of one model or of several. Why it works: the tail of a distribution catches what
membership in the top k cannot, such as a digit that is among the 50 most likely and yet has a
probability of one in ten thousand; and its limits come from what arrives, so that they fit the
text of other models too. Where it fails: a poison that is as likely as honest text, because it was
drawn from a model, or because the receiver has learnt it already; and where half of the nodes or
more are malicious. Source: our own; the calibration is told in docs/adr/0011.
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

    The rule, to the letter. Under the receiver's current weights, at the sampling temperature and
    over the full vocabulary, each completion has three values: the log-probability of its least
    likely token; that of its least likely token with a digit in it, if it has one; and the lowest
    mean log-probability of `window` consecutive tokens (of all, where there are fewer). Each value
    has a limit, found anew in every round from what was gathered in it. A node's own limit is the
    quantile `false_rejections` / 3 of its completions' values (between two of them, linearly); the
    limit that counts is the median over nodes, so that no minority moves it at will. Nodes of the
    receiver's own model and all others are taken apart. A completion is refused if any of its
    values is below its limit by more than `margin`.
    """

    reads: ClassVar[Reads] = "round"
    threshold_field: ClassVar[str] = "margin"

    false_rejections: float = Field(
        default=0.02,
        gt=0,
        lt=1,
        description="share of honest completions to refuse, roughly",
    )
    window: int = Field(default=8, ge=2, le=1024, description="tokens of a stretch")
    margin: float = Field(
        default=0.0, description="by how much a value may be below its limit, in nats"
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
        """The three values, the second NaN without a digit, and at which token each is."""
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
            return self.verdict(False, math.nan)  # no number to compare: the gate refuses it
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
        (measures,): the median over nodes, so that while fewer than half of them lie, it is
        between limits of honest ones.
    """
    own_N = np.array(
        [[_told(column, np.quantile, rate) for column in values.T] for values in values_N]
    )
    return np.array([_told(column, np.median) for column in own_N.T])


def _told(values: np.ndarray, reduce: Callable[..., Any], *args: float) -> float:
    """Of the values that there are; NaN if there is none."""
    there = values[~np.isnan(values)]
    return float(reduce(there, *args)) if len(there) else math.nan
