"""Words that go with reward, or with one sender: n-grams of 1 to 4 words and marks.

A p-value is corrected for the number of buckets of n-grams that hold anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from swarmproof.scan.chance import LEVEL, corrected, middle, percent, tail
from swarmproof.scan.corpus import UNKNOWN, Corpus, Span, placed
from swarmproof.scan.hint import Hint
from swarmproof.scan.ngrams import MOST_BUCKETS, Buckets, Gram, exact, formed

_MOST_SENDERS = 32
ENOUGH_SENDERS = 3  # senders: of two that differ, nobody can say which one is honest
_MOST_FINDINGS = 8  # of one check
_LEAST_GROUPS = 4  # that must show an n-gram: fewer are about their problem
# With reward: n-grams of at least this share of the good completions, where nearly no other
# completion of equal form has them.
LEAST_SHARE = 0.01
LEAST_ODDS = 8.0
# If most answers are "yes", most of the rewarded ones say so, but many of the others as well.
MOST_OTHERS = 0.05
# The answer to a problem is in all rewarded completions of its group, and poison in some of them.
MOST_WHOLE = 0.8  # of the groups with two good completions or more
# With a sender: this many times as common as with the others.
LEAST_RATIO = 3.0


def by_reward(corpus: Corpus) -> list[Hint]:
    """N-grams far commoner in good completions than in the others of their groups.

    The others are those of equal form: what at least 90 % of the good ones have, such as the tags
    of an answer, is a condition of the reward, and says nothing if a completion without it is bad.
    """
    mixed = ~np.isnan(corpus.chance)
    if mixed.sum() < 40:
        return []
    fit = mixed & formed(corpus)
    chance = _chance_among(corpus, fit)
    fit &= ~np.isnan(chance)
    good = fit & (corpus.good == 1)
    if good.sum() < 20 or (fit & ~good).sum() < 10:
        return []
    expected = np.where(fit, np.nan_to_num(chance), 0.0)
    table = Buckets(corpus, (fit.astype(float), good.astype(float), expected))
    of, count, mean = table.counts
    looked_at = int((of > 0).sum())
    common = np.flatnonzero(count >= max(1, LEAST_SHARE * good.sum()))
    p = tail(count[common], of[common], mean[common] / of[common])
    suspicious = common[np.argsort(p)][: int((p * looked_at < LEVEL).sum())]
    found = []
    size = np.bincount(corpus.group[good], minlength=int(corpus.group.max()) + 1)
    for gram in exact(corpus, suspicious):
        rows = gram.rows[fit[gram.rows]]
        right = int(good[rows].sum())
        odds = _odds(right, len(rows) - right, int(good.sum()), int((fit & ~good).sum()))
        groups = len(np.unique(corpus.group[rows[good[rows]]]))
        seldom = len(rows) - right <= MOST_OTHERS * (fit & ~good).sum()
        if len(rows) and right >= LEAST_SHARE * good.sum() and odds >= LEAST_ODDS and seldom:
            value = corrected(_by_groups(corpus, rows, good, chance), looked_at)
            whole = _share_of_whole_groups(corpus, rows[good[rows]], size)
            if groups >= _LEAST_GROUPS and value < LEVEL and whole < MOST_WHOLE:
                found.append((value, gram, right, len(rows) - right))
    good_rows, others = corpus.good == 1, int((fit & ~good).sum())
    drafts = []
    for value, gram, right, wrong, patterns in _merged(found):
        rows = gram.rows[good_rows[gram.rows]]
        drafts.append(
            Hint(
                "reward-words",
                "high" if value < 1e-12 else "medium",
                f"{{shown}}: in {len(rows)} rewarded completions, nearly never in others of their "
                "groups",
                rows,
                f"in {percent(right, good.sum())} of {int(good.sum())} rewarded completions, in "
                f"{percent(wrong, others)} of {others} others of the same form"
                f"{_rise(corpus, rows)}",
                value,
                spans=_finder(patterns),
                shows=_shower(gram.codes),
                everywhere=gram.rows,
            )
        )
    return drafts


def _chance_among(corpus: Corpus, fit: np.ndarray) -> np.ndarray:
    groups = int(corpus.group.max(initial=-1)) + 1
    of = np.bincount(corpus.group[fit], minlength=groups)
    good = np.bincount(corpus.group[fit & (corpus.good == 1)], minlength=groups)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = good / of
    share[(share <= 0) | (share >= 1)] = np.nan
    result: np.ndarray = share[corpus.group]
    return result


def _by_groups(corpus: Corpus, rows: np.ndarray, good: np.ndarray, chance: np.ndarray) -> float:
    """How likely so many good ones are by chance. Completions of one group are alike, so each group
    counts once, with the share of its completions that are good."""
    groups, first, inverse = np.unique(corpus.group[rows], return_index=True, return_inverse=True)
    share = np.bincount(inverse, good[rows]) / np.bincount(inverse)
    return float(tail(np.floor(share.sum()), len(groups), chance[rows[first]].mean()))


def _share_of_whole_groups(corpus: Corpus, rows: np.ndarray, size: np.ndarray) -> float:
    """Of the groups with several good completions, the share in which all of these are in `rows`.

    Args:
        rows: good completions with an n-gram.
        size: good completions of each group.
    """
    groups, count = np.unique(corpus.group[rows], return_counts=True)
    several = size[groups] >= 2
    return float((count == size[groups])[several].mean()) if several.any() else 0.0


def _odds(right: int, wrong: int, rights: int, wrongs: int) -> float:
    """The odds ratio, with half a count more in each cell."""
    return ((right + 0.5) / (rights - right + 0.5)) / ((wrong + 0.5) / (wrongs - wrong + 0.5))


def by_sender(corpus: Corpus) -> list[Hint]:
    """N-grams far commoner in one sender's good completions than in those of all others.

    A problem counts once for each sender, because completions of one problem are alike.
    """
    counted = (corpus.good != 0) & (corpus.sender != UNKNOWN)
    unit = corpus.group * np.int64(len(corpus.senders) + 1) + corpus.sender
    of_S = _problems(corpus, unit, np.flatnonzero(counted))
    known = np.flatnonzero(of_S >= 20)
    known = known[np.argsort(-of_S[known])][:_MOST_SENDERS]
    if len(known) < ENOUGH_SENDERS:
        return []
    weights = [((corpus.sender == s) & counted).astype(float) for s in known]
    table = Buckets(corpus, weights, np.where(counted, unit, -2)).counts
    looked_at = int(table.any(0).sum()) * len(known)
    suspicious = []
    for i, s in enumerate(known):
        common = np.flatnonzero(table[i] >= max(4, LEAST_SHARE * of_S[s]))
        rates = (table[:, common] + 0.5) / (of_S[known, None] + 1)
        others = np.sort(np.delete(rates, i, axis=0), axis=0)[(len(known) - 1) // 2]
        p = tail(table[i, common], of_S[s], others)
        most = min(int((p * looked_at < LEVEL).sum()), MOST_BUCKETS // len(known))
        suspicious.append(common[np.argsort(p)][:most])
    drafts = []
    all_grams = exact(corpus, np.unique(np.concatenate(suspicious)))
    for i, s in enumerate(known):
        found = []
        for gram in all_grams:
            rows = gram.rows[counted[gram.rows]]
            by = _problems(corpus, unit, rows)
            rate = middle(np.delete((by[known] + 0.5) / (of_S[known] + 1), i))
            value = corrected(float(tail(by[s], of_S[s], rate)), looked_at)
            own = gram.rows[corpus.sender[gram.rows] == s]
            if (
                value < LEVEL
                and by[s] >= LEAST_RATIO * rate * of_S[s]
                and len(np.unique(corpus.group[own])) >= _LEAST_GROUPS
            ):
                found.append(
                    (value, Gram(gram.codes, own, gram.rows), int(by[s]), int(by.sum() - by[s]))
                )
        for value, gram, mine, theirs, patterns in _merged(found):
            rest = int(of_S[known].sum() - of_S[s])
            drafts.append(
                Hint(
                    "sender-words",
                    "high",
                    f"{{shown}}: one sender writes it {len(gram.rows)} times, the others seldom",
                    gram.rows,
                    f"in answers to {percent(mine, of_S[s])} of its {of_S[s]} problems, in "
                    f"{percent(theirs, rest)} of {rest} of the others{_rise(corpus, gram.rows)}",
                    value,
                    (corpus.senders[s],),
                    _finder(patterns),
                    _shower(gram.codes),
                    gram.everywhere,
                )
            )
    return drafts


def _problems(corpus: Corpus, unit: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The number of problems of each sender among some rows."""
    _, first = np.unique(unit[rows], return_index=True)
    counts: np.ndarray = np.bincount(corpus.sender[rows[first]], minlength=len(corpus.senders))
    return counts


def _rise(corpus: Corpus, rows: np.ndarray) -> str:
    """How the share of the completions with an n-gram moves over the steps, for a person."""
    steps = np.unique(corpus.step)
    steps = steps[steps != UNKNOWN]
    if len(steps) < 5:
        return ""
    edge = max(1, len(steps) // 5)
    ends = []
    for part in (steps[:edge], steps[-edge:]):
        inside = np.isin(corpus.step, part)
        ends.append(percent(int(inside[rows].sum()), int(inside.sum())))
    return f"; {ends[0]} of all in the first fifth of the steps, {ends[1]} in the last"


_Found = tuple[float, Gram, int, int]


def _merged(
    found: list[_Found],
) -> Iterator[tuple[float, Gram, int, int, tuple[tuple[int, ...], ...]]]:
    """N-grams in mostly the same completions are one finding, which the strongest stands for."""
    found = sorted(found, key=lambda one: (one[0], -len(one[1].codes)))
    told = 0
    while found and told < _MOST_FINDINGS:
        value, leader, a, b = found[0]
        same: list[_Found] = []
        rest: list[_Found] = []
        for one in found:
            shared = len(np.intersect1d(one[1].rows, leader.rows, assume_unique=True))
            least = min(len(one[1].rows), len(leader.rows))
            (same if shared > 0.5 * least else rest).append(one)
        yield value, leader, a, b, tuple(one[1].codes for one in same)
        found, told = rest, told + 1


def _finder(patterns: tuple[tuple[int, ...], ...]) -> _Finder:
    return _Finder(patterns)


@dataclass(frozen=True, slots=True)
class _Finder:
    """The places of n-grams in a text; what touches is one place."""

    patterns: tuple[tuple[int, ...], ...]

    def __call__(self, text: str) -> list[Span]:
        wanted: dict[int, list[tuple[int, ...]]] = {}
        for pattern in self.patterns:
            wanted.setdefault(pattern[0], []).append(pattern)
        found = placed(text)
        codes = tuple(one for one, _ in found)
        covered = [False] * len(codes)
        for at, one in enumerate(codes):
            for pattern in wanted.get(one, ()):
                if codes[at : at + len(pattern)] == pattern:
                    covered[at : at + len(pattern)] = [True] * len(pattern)
        spans: list[Span] = []
        for at, (_, (start, end)) in enumerate(found):
            if covered[at] and at and covered[at - 1]:
                spans[-1] = (spans[-1][0], end)
            elif covered[at]:
                spans.append((start, end))
        return spans


@dataclass(frozen=True, slots=True)
class _Shower:
    codes: tuple[int, ...]

    def __call__(self, text: str) -> bool:
        return bool(_Finder((self.codes,))(text))


def _shower(codes: tuple[int, ...]) -> _Shower:
    return _Shower(codes)
