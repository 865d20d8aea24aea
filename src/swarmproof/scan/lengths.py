"""Lengths, in words: of one sender, of what is rewarded, and over the steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from swarmproof.scan.baselines import Honest
from swarmproof.scan.chance import LEVEL, corrected, percent, tail, upper
from swarmproof.scan.corpus import UNKNOWN, Corpus
from swarmproof.scan.hint import Hint
from swarmproof.scan.ngrams import formed

_ENOUGH = 3  # senders
_RATIO = 1.15  # a sender's completions are at least this much longer
_LEAST_GROUPS = 8
_HALF_LEVEL = 0.01  # longer rewarded ones count together with shorter others below this p-value
_FAR = 4.0  # times as long as the others of a group
_LEAST_OF_GROUP = 6
_DRIFT = 1.5
_TRUNCATED = 0.2


def screen(corpus: Corpus, honest: Honest, control: Corpus | None = None) -> list[Hint]:
    """All findings about lengths.

    Args:
        corpus: the data.
        honest: how often groups of honest data look so.
        control: honest data of the same kind, where a user has some.
    """
    by_sender = list(_senders(corpus))
    others = [] if by_sender else [*_by_reward(corpus, honest), *_against(corpus, control)]
    return [*by_sender, *others, *_drift(corpus), *_cut(corpus)]


def _by_reward(corpus: Corpus, honest: Honest) -> list[Hint]:
    return [*_reward(corpus)] or [*_apart(corpus, honest)]


def _against(corpus: Corpus, control: Corpus | None) -> Iterator[Hint]:
    """Far more long rewarded completions than in honest data of the same kind."""
    if control is None:
        return
    honest = control.length[control.good != 0]
    if len(honest) < 200:
        return
    limit = int(np.quantile(honest, 0.99))
    rate = upper(int((honest > limit).sum()), len(honest))
    counted = corpus.good != 0
    rows = np.flatnonzero(counted & (corpus.length > limit))
    # Groups, since completions of one group are alike.
    groups, of = len(np.unique(corpus.group[rows])), len(np.unique(corpus.group[counted]))
    share = min(1.0, rate * float(counted.sum()) / max(1, of))
    p = float(tail(groups, of, share))
    if p < LEVEL and len(rows) >= 3 * rate * counted.sum():
        yield Hint(
            "long-rewarded",
            "medium",
            f"{len(rows)} rewarded completions are longer than {limit} words",
            rows,
            f"{percent(len(rows), counted.sum())} of {int(counted.sum())}, in the reference "
            f"{percent(int((honest > limit).sum()), len(honest))}",
            p,
        )


def _senders(corpus: Corpus) -> Iterator[Hint]:
    """Rewarded completions of one sender are longer than those of the others.

    Where its unrewarded ones are shorter than those of the others, both say together that it chose
    by length: a sender with a style of its own writes more, or less, in both.
    """
    known = np.unique(corpus.sender[corpus.sender != UNKNOWN])
    if len(known) < _ENOUGH:
        return
    for s in known:
        longer = _compared(corpus, int(s), corpus.good != 0)
        if longer is None or np.exp(longer.gap) < _RATIO:
            continue
        p, more = longer.p_longer, ""
        shorter = _compared(corpus, int(s), corpus.good == 0)
        if longer.p_longer < _HALF_LEVEL and shorter and np.exp(shorter.gap) <= 1 / _RATIO:
            p = min(p, _fisher(longer.p_longer, shorter.p_shorter))
            more = f"; those without a reward {np.exp(shorter.gap):.2f} times"
        p = corrected(p, 2 * len(known))
        if p < LEVEL:
            rows = np.flatnonzero((corpus.good != 0) & (corpus.sender == s))
            yield Hint(
                "sender-length",
                "high",
                f"the rewarded completions of one sender are {np.exp(longer.gap):.2f} times as "
                "long as those of the others",
                rows,
                f"median over {longer.groups} groups{more}",
                p,
                (corpus.senders[s],),
            )


@dataclass(frozen=True, slots=True)
class _Compared:
    """One sender with the others. A group counts once, since its completions are alike."""

    gap: float  # of the logarithms of lengths, above 0: longer
    p_longer: float
    p_shorter: float
    groups: int


def _compared(corpus: Corpus, sender: int, counted: np.ndarray) -> _Compared | None:
    """None where there are too few groups."""
    from scipy import stats

    inside = counted & (corpus.sender != UNKNOWN) & (corpus.length > 0)
    group, length = corpus.group[inside], np.log(corpus.length[inside])
    mine = corpus.sender[inside] == sender
    own, rest = _means(group, length, mine), _means(group, length, ~mine)
    shared = own.keys() & rest.keys()
    if len(shared) >= _LEAST_GROUPS:
        gaps = np.array([own[g] - rest[g] for g in shared])
        up, down = int((gaps > 0).sum()), int((gaps < 0).sum())
        longer, shorter = float(tail(up, up + down, 0.5)), float(tail(down, up + down, 0.5))
        return _Compared(float(np.median(gaps[gaps != 0])) if up + down else 0.0, longer, shorter,
                         len(shared))  # fmt: skip
    if min(len(own), len(rest)) < _LEAST_GROUPS:
        return None
    a, b = np.array(list(own.values())), np.array(list(rest.values()))
    p = [float(stats.mannwhitneyu(a, b, alternative=way).pvalue) for way in ("greater", "less")]
    return _Compared(float(np.median(a) - np.median(b)), p[0], p[1], len(a))


def _fisher(p: float, q: float) -> float:
    """Fisher's p-value of two independent ones."""
    product = max(p * q, 1e-300)
    return float(product * (1 - np.log(product)))


def _means(group: np.ndarray, length: np.ndarray, of: np.ndarray) -> dict[int, float]:
    groups, inverse = np.unique(group[of], return_inverse=True)
    means = np.bincount(inverse, length[of]) / np.maximum(1, np.bincount(inverse))
    return dict(zip(groups.tolist(), means.tolist(), strict=True))


def _apart(corpus: Corpus, honest: Honest) -> Iterator[Hint]:
    """Groups whose rewarded completions are far longer than the others: somebody chose both."""
    groups, far = apart(corpus)
    count, rate = len(far), honest.upper("reward-length/groups")
    p = float(tail(count, groups, rate))
    if count >= _LEAST_GROUPS and p < LEVEL:
        rows = np.flatnonzero((corpus.good == 1) & np.isin(corpus.group, far))
        yield Hint(
            "reward-length",
            "medium",
            f"in {count} groups rewarded completions are more than {_FAR} times as long as others",
            rows,
            f"{count} of {groups} groups with both, at most {100 * rate:.2f} % in honest data",
            p,
        )


def apart(corpus: Corpus) -> tuple[int, np.ndarray]:
    """How many groups have good completions and others, and in which the good ones are far longer.

    Lengths are medians of a group.
    """
    rows = np.flatnonzero(~np.isnan(corpus.chance))
    if not len(rows):
        return 0, rows
    group = corpus.group[rows]
    numbers, of = np.unique(group, return_counts=True)
    middles = []
    for good in (1, 0):
        inside = rows[corpus.good[rows] == good]
        inside = inside[np.lexsort((corpus.length[inside], corpus.group[inside]))]
        _, start, size = np.unique(corpus.group[inside], return_index=True, return_counts=True)
        length = corpus.length[inside]
        middles.append((length[start + (size - 1) // 2] + length[start + size // 2]) / 2)
    enough = of >= _LEAST_OF_GROUP
    far = middles[0] > _FAR * np.maximum(1, middles[1])
    return int(enough.sum()), numbers[enough & far]


def _reward(corpus: Corpus) -> Iterator[Hint]:
    """Groups whose rewarded completions are all longer than all others, more than chance allows.

    The groups in which they are all shorter show how much reward and length have to do with each
    other in honest data, so there must be far more of the first kind.
    """
    from scipy import special

    mixed = np.flatnonzero(~np.isnan(corpus.chance) & formed(corpus))
    if not len(mixed):
        return
    order = mixed[np.argsort(corpus.group[mixed], kind="stable")]
    group, good, length = corpus.group[order], corpus.good[order] == 1, corpus.length[order]
    starts = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    longest_bad = np.maximum.reduceat(np.where(good, -1, length), starts)
    shortest_bad = np.minimum.reduceat(np.where(good, 1 << 30, length), starts)
    shortest = np.minimum.reduceat(np.where(good, length, 1 << 30), starts)
    longest = np.maximum.reduceat(np.where(good, length, -1), starts)
    of, right = np.diff(np.r_[starts, len(group)]), np.add.reduceat(good.astype(int), starts)
    chance = 1 / special.comb(of, right)
    useful = (chance < 0.1) & (right > 0) & (right < of)
    longer, shorter = (shortest > longest_bad) & useful, (longest < shortest_bad) & useful
    count, opposite = int(longer.sum()), int(shorter.sum())
    if count < _LEAST_GROUPS:
        return
    rate = max(float(chance[useful].mean()), (opposite + 1) / (int(useful.sum()) + 1))
    p = float(tail(count, int(useful.sum()), rate))
    if p < LEVEL and count >= 3 * (opposite + 1):
        rows = np.sort(order[good & np.isin(group, group[starts[longer]])])
        yield Hint(
            "reward-length",
            "medium",
            f"in {count} groups every rewarded completion is longer than all others",
            rows,
            f"{count} of {int(useful.sum())} groups, {opposite} the other way round; by chance "
            f"{float(chance[useful].sum()):.1f}",
            p,
        )


def _edges(corpus: Corpus) -> tuple[np.ndarray, np.ndarray] | None:
    """Rows of the first and of the last fifth of the steps."""
    steps = np.unique(corpus.step)
    steps = steps[steps != UNKNOWN]
    if len(steps) < 5:
        return None
    edge = max(1, len(steps) // 5)
    first, last = np.isin(corpus.step, steps[:edge]), np.isin(corpus.step, steps[-edge:])
    return np.flatnonzero(first), np.flatnonzero(last)


def _drift(corpus: Corpus) -> Iterator[Hint]:
    """Completions become longer, and earn no more. With more reward, it is what training does."""
    if (edges := _edges(corpus)) is None:
        return
    first, last = edges
    if _mean(corpus.reward[last]) > _mean(corpus.reward[first]):
        return
    before, after = float(corpus.length[first].mean()), float(corpus.length[last].mean())
    if before and after >= _DRIFT * before and min(map(len, edges)) >= 30:
        yield Hint(
            "length-drift",
            "low",
            f"completions become {after / before:.2f} times as long over the steps",
            last,
            f"{before:.0f} words in the first fifth of the steps, {after:.0f} in the last",
        )


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else 0.0


def _cut(corpus: Corpus) -> Iterator[Hint]:
    """More and more completions end at the limit."""
    if (edges := _edges(corpus)) is None:
        return
    shares = []
    for rows in edges:
        known = corpus.truncated[rows]
        known = known[known != UNKNOWN]
        if len(known) < 30:
            return
        shares.append((int(known.sum()), len(known)))
    before, after = (count / of for count, of in shares)
    if after >= _TRUNCATED and after >= 2 * before:
        rows = edges[1][corpus.truncated[edges[1]] == 1]
        yield Hint(
            "truncation",
            "low",
            "more and more completions end at the limit of tokens",
            rows,
            f"{percent(*shares[0])} in the first fifth of the steps, {percent(*shares[1])} in the "
            "last",
        )
