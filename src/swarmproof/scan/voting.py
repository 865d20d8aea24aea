"""Masked completions that still move the advantages of the others in their group.

A trainer that takes a completion out of the loss, and not out of its group's mean, lets whoever
wrote it push the others up or down.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from swarmproof.scan.corpus import Corpus
from swarmproof.scan.hint import Hint

_LEAST = 3  # groups
_CLOSE = 1e-3


def screen(corpus: Corpus) -> Iterator[Hint]:
    """Groups whose advantages are those of all rewards, those of masked completions included."""
    known = ~np.isnan(corpus.reward) & ~np.isnan(corpus.advantage)
    rows = np.flatnonzero(known & np.isin(corpus.group, corpus.group[corpus.masked]))
    if not len(rows):
        return
    order = rows[np.argsort(corpus.group[rows], kind="stable")]
    borders = np.flatnonzero(np.diff(corpus.group[order])) + 1
    voted, looked_at = [], 0
    for members in np.split(order, borders):
        masked = corpus.masked[members]
        if masked.all() or not masked.any():
            continue
        reward, own = corpus.reward[members], corpus.advantage[members][~masked]
        with_them = [a[~masked] for a in _advantages(reward)]
        without = _advantages(reward[~masked])
        looked_at += 1
        if _fits(own, with_them) and not _fits(own, without):
            voted.append(members)
    if len(voted) >= _LEAST:
        yield Hint(
            "masked-votes",
            "high",
            f"in {len(voted)} groups a masked completion moves the advantages of the others",
            np.sort(np.concatenate(voted)[corpus.masked[np.concatenate(voted)]]),
            f"{len(voted)} of {looked_at} groups with a masked completion have the advantages of a "
            "group that counts it",
        )


def _advantages(reward: np.ndarray) -> list[np.ndarray]:
    """The usual normalisations of a group's rewards."""
    centred = reward - reward.mean()
    result = [centred]
    if len(reward) > 1:  # each against the mean of the others (RLOO)
        result.append(centred * len(reward) / (len(reward) - 1))
    for ddof in (0, 1):
        if len(reward) > ddof:
            deviation = float(reward.std(ddof=ddof))
            result += [centred / (deviation + e) for e in (1e-4, 1e-6) if deviation > 0]
    return result


def _fits(own: np.ndarray, known: list[np.ndarray]) -> bool:
    return any(
        bool(np.allclose(own, one, atol=_CLOSE * max(1.0, float(np.abs(one).max()))))
        for one in known
    )
