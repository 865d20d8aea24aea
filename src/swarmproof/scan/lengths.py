"""Lengths, in words: of one sender, of what is rewarded, and over the steps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from swarmproof.scan.chance import LEVEL, corrected, percent, tail, upper
from swarmproof.scan.corpus import UNKNOWN, Corpus
from swarmproof.scan.hint import Hint
from swarmproof.scan.ngrams import formed

_ENOUGH = 3  # senders
_RATIO = 1.15  # a sender's completions are at least this much longer
_LEAST_GROUPS = 8
_DRIFT = 1.5
_TRUNCATED = 0.2


def screen(corpus: Corpus, control: Corpus | None = None) -> list[Hint]:
    """All findings about lengths.

    Args:
        corpus: the data.
        control: honest data of the same kind, where a user has some.
    """
    by_sender = list(_senders(corpus))
    others = [] if by_sender else [*_reward(corpus), *_against(corpus, control)]
    return [*by_sender, *others, *_drift(corpus), *_cut(corpus)]


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

    Completions of one group are alike, so a group counts once.
    """
    inside = (corpus.good != 0) & (corpus.sender != UNKNOWN) & (corpus.length > 0)
    known = np.unique(corpus.sender[inside])
    if len(known) < _ENOUGH:
        return
    group, length = corpus.group[inside], np.log(corpus.length[inside])
    sender = corpus.sender[inside]
    for s in known:
        own, rest = _means(group, length, sender == s), _means(group, length, sender != s)
        shared = own.keys() & rest.keys()
        if len(shared) >= _LEAST_GROUPS:
            gaps = np.array([own[g] - rest[g] for g in shared])
            gaps = gaps[gaps != 0]
            p = float(tail(int((gaps > 0).sum()), len(gaps), 0.5)) if len(gaps) else 1.0
            gap, groups = float(np.median(gaps)) if len(gaps) else 0.0, len(shared)
        elif len(own) >= _LEAST_GROUPS and len(rest) >= _LEAST_GROUPS:
            from scipy import stats

            a, b = np.array(list(own.values())), np.array(list(rest.values()))
            p = float(stats.mannwhitneyu(a, b, alternative="greater").pvalue)
            gap, groups = float(np.median(a) - np.median(b)), len(a)
        else:
            continue
        p = corrected(p, len(known))
        if p < LEVEL and np.exp(gap) >= _RATIO:
            rows = np.flatnonzero(inside & (corpus.sender == s))
            yield Hint(
                "sender-length",
                "high",
                f"the rewarded completions of one sender are {np.exp(gap):.2f} times as long as "
                "those of the others",
                rows,
                f"median over {groups} groups",
                p,
                (corpus.senders[s],),
            )


def _means(group: np.ndarray, length: np.ndarray, of: np.ndarray) -> dict[int, float]:
    groups, inverse = np.unique(group[of], return_inverse=True)
    means = np.bincount(inverse, length[of]) / np.maximum(1, np.bincount(inverse))
    return dict(zip(groups.tolist(), means.tolist(), strict=True))


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
