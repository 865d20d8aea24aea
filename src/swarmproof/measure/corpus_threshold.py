"""The threshold of a judge on right solutions of the corpus that the judges of the zoo learn from.

They are drawn anew. None of the families that `judge_eval` judges is among them: these have other
wordings, other faults or another source.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from random import Random
from typing import TYPE_CHECKING, Any

from swarmproof.measure.calibrate import threshold_for
from swarmproof.pretraining import judge_corpus
from swarmproof.tasks import CodeWords, MathWords, programs
from swarmproof.types import Problem

if TYPE_CHECKING:
    from swarmproof.defenses import Judge


def calibrated(judge: Judge, rate: float, count: int, seed: int) -> dict[str, Any]:
    """A threshold that refuses a new right solution of the corpus with probability <= `rate`.

    Args:
        judge: one that decides by scores.
        count: how many right solutions to judge.

    Returns:
        `threshold`, `wanted` (the rate), and `chosen_on` (the count).

    Raises:
        ValueError: too few solutions for so low a rate, or the judge cannot be used.
    """
    from swarmproof.measure import honest

    judge.require_threshold()
    scores: list[float] = []
    drawn = list(islice(_right(seed), count))
    for task in (MathWords(), CodeWords()):
        pairs = [pair for pair in drawn if (programs.CODE in pair[1]) is task.writes_programs]
        if pairs:
            scores += [verdict.score for verdict in honest.verdicts(judge, task, pairs, seed)]
    return {"threshold": threshold_for(scores, rate), "wanted": rate, "chosen_on": len(scores)}


def _right(seed: int) -> Iterator[tuple[Problem, str]]:
    held_out = frozenset(problem.question for problem in MathWords().problems("test"))
    rng = Random(f"threshold/{seed}")
    exhibits = judge_corpus.exhibits(rng, held_out, judge_corpus.JudgeMixture())
    for i, exhibit in enumerate(exhibits):
        if exhibit.fault is None:
            yield Problem(f"corpus/{i}", exhibit.question, "", ("",)), exhibit.completion
