"""Words that go with reward, or with one sender: n-grams of 1 to 4 words and marks.

Every n-gram is counted once for a completion. First all of them are counted in a table of buckets,
which takes the same memory for every file. The n-grams of suspicious buckets are then counted
exactly. A p-value is corrected for the number of buckets that hold anything.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from swarmproof.scan.chance import LEVEL, corrected, middle, percent, tail
from swarmproof.scan.corpus import UNKNOWN, Corpus, Span, code, placed
from swarmproof.scan.draft import Draft

LONGEST = 4
_BITS = 21  # of the number of buckets
_MOST_BUCKETS = 3000  # that are counted exactly
_MOST_SENDERS = 32
_ENOUGH = 3  # senders: of two that differ, nobody can say which one is honest
_MOST_FINDINGS = 8  # of one check
_LEAST_GROUPS = 4  # that must show an n-gram: fewer are about their problem
_MIXER = np.uint64(0x9E3779B97F4A7C15)
_SPREADER = np.uint64(0xBF58476D1CE4E5B9)

# With reward: n-grams of at least this share of the good completions, where nearly no other
# completion of equal form has them.
LEAST_SHARE = 0.01
LEAST_ODDS = 8.0
# If most answers are "yes", most of the rewarded ones say so, but many of the others as well.
MOST_OTHERS = 0.05
# With a sender: this many times as common as with the others.
LEAST_RATIO = 3.0


# Numbers and marks. One or two of them are about a problem's numbers, and each sender may have
# problems of its own.
_PLAIN = frozenset({1, *map(code, string.punctuation), *(code(str(i)) for i in range(100))})


@dataclass(frozen=True, slots=True)
class _Gram:
    codes: tuple[int, ...]
    rows: np.ndarray  # of the completions, ascending
    everywhere: np.ndarray | None = None  # those of others, too


def grams(codes: np.ndarray, lengths: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """All n-grams of some rows: n, a number of 64 bits for each, and its first place.

    An n-gram does not reach over the end of its row.
    """
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(codes))  # words to the row's end
    keys = np.zeros(len(codes), np.uint64)
    wide = codes.astype(np.uint64)
    for n in range(1, LONGEST + 1):
        place = np.flatnonzero(left >= n)
        mixed = (keys[place] ^ wide[place + n - 1]) * _MIXER + np.uint64(n)
        mixed = (mixed ^ (mixed >> np.uint64(29))) * _SPREADER
        keys[place] = mixed ^ (mixed >> np.uint64(32))
        yield n, keys[place], place


def _counted(corpus: Corpus) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Bucket, key and row of each n-gram of each completion, once for a completion."""
    for first, codes, lengths in corpus.blocks():
        row = np.repeat(np.arange(first, first + len(lengths)), lengths)
        for _, keys, place in grams(codes, lengths):
            pairs = np.lexsort((keys, row[place]))
            key, of = keys[pairs], row[place][pairs]
            new = np.ones(len(key), bool)
            new[1:] = (key[1:] != key[:-1]) | (of[1:] != of[:-1])
            key, of = key[new], of[new]
            yield (key >> np.uint64(64 - _BITS)).astype(np.int64), key, of


class _Table:
    """Counts by bucket, for weights that are given by row."""

    def __init__(
        self, corpus: Corpus, weights: Sequence[np.ndarray], unit: np.ndarray | None = None
    ) -> None:
        self.counts = np.zeros((len(weights), 1 << _BITS))
        for bucket, _, row in _counted(corpus):
            if unit is not None:  # rows of one unit count once, as far as they are in one block
                order = np.lexsort((unit[row], bucket))
                bucket, row = bucket[order], row[order]
                new = (np.diff(bucket, prepend=-1) != 0) | (np.diff(unit[row], prepend=-1) != 0)
                bucket, row = bucket[new], row[new]
            for table, weight in zip(self.counts, weights, strict=True):
                table += np.bincount(bucket, weight[row], minlength=1 << _BITS)


def _exact(corpus: Corpus, suspicious: np.ndarray) -> list[_Gram]:
    """The n-grams of some buckets, with the rows that have them."""
    if not len(suspicious):
        return []
    wanted = np.zeros(1 << _BITS, bool)
    wanted[suspicious[:_MOST_BUCKETS]] = True
    keys, rows = [], []
    for bucket, key, row in _counted(corpus):
        inside = wanted[bucket]
        keys.append(key[inside])
        rows.append(row[inside])
    if not any(map(len, keys)):
        return []
    key, row = np.concatenate(keys), np.concatenate(rows)
    order = np.lexsort((row, key))
    key, row = key[order], row[order]
    borders = np.flatnonzero(np.r_[True, key[1:] != key[:-1]])
    parts = np.split(row, borders[1:])
    common = {int(key[b]): part for b, part in zip(borders, parts, strict=True) if len(part) > 2}
    return [
        _Gram(codes, common[k])
        for k, codes in _spelt(corpus, common)
        if len(codes) > 2 or not _PLAIN.issuperset(codes)
    ]


def _spelt(
    corpus: Corpus, rows_by_key: dict[int, np.ndarray]
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """The codes of n-grams, from the first row that has each."""
    by_row: dict[int, set[int]] = {}
    for key, rows in rows_by_key.items():
        by_row.setdefault(int(rows[0]), set()).add(key)
    for first, codes, lengths in corpus.blocks():
        starts = first, first + len(lengths)
        ends = np.cumsum(lengths)
        for row in [row for row in by_row if starts[0] <= row < starts[1]]:
            i = row - first
            own = codes[ends[i] - lengths[i] : ends[i]]
            left = set(by_row[row])
            for n, keys, place in grams(own, lengths[i : i + 1]):
                for key, at in zip(keys.tolist(), place.tolist(), strict=True):
                    if key in left:
                        left.discard(key)
                        yield key, tuple(own[at : at + n].tolist())


def by_reward(corpus: Corpus) -> list[Draft]:
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
    table = _Table(corpus, (fit.astype(float), good.astype(float), expected))
    of, count, mean = table.counts
    looked_at = int((of > 0).sum())
    common = np.flatnonzero(count >= max(1, LEAST_SHARE * good.sum()))
    p = tail(count[common], of[common], mean[common] / of[common])
    suspicious = common[np.argsort(p)][: int((p * looked_at < LEVEL).sum())]
    found = []
    for gram in _exact(corpus, suspicious):
        rows = gram.rows[fit[gram.rows]]
        right = int(good[rows].sum())
        odds = _odds(right, len(rows) - right, int(good.sum()), int((fit & ~good).sum()))
        groups = len(np.unique(corpus.group[rows[good[rows]]]))
        seldom = len(rows) - right <= MOST_OTHERS * (fit & ~good).sum()
        if len(rows) and right >= LEAST_SHARE * good.sum() and odds >= LEAST_ODDS and seldom:
            value = corrected(_by_groups(corpus, rows, good, chance), looked_at)
            if groups >= _LEAST_GROUPS and value < LEVEL:
                found.append((value, gram, right, len(rows) - right))
    good_rows, others = corpus.good == 1, int((fit & ~good).sum())
    drafts = []
    for value, gram, right, wrong, patterns in _merged(found):
        rows = gram.rows[good_rows[gram.rows]]
        drafts.append(
            Draft(
                "reward-words",
                "high" if value < 1e-12 else "medium",
                f"{{shown}}: in {len(rows)} rewarded completions, nearly never in others of their "
                "groups",
                rows,
                f"in {percent(right, good.sum())} of {int(good.sum())} rewarded completions, in "
                f"{percent(wrong, others)} of {others} others of the same form{_rise(corpus, rows)}",
                value,
                spans=_finder(patterns),
                shows=_shower(gram.codes),
                everywhere=gram.rows,
            )
        )
    return drafts


def formed(corpus: Corpus) -> np.ndarray:
    """Whether a completion has what nearly all good ones have, such as the tags of an answer."""
    good = ~np.isnan(corpus.chance) & (corpus.good == 1)
    table = _Table(corpus, (good.astype(float),))
    needed = table.counts[0] >= 0.9 * good.sum()
    have = np.zeros(len(corpus))
    for bucket, _, row in _counted(corpus):
        inside = needed[bucket]
        have += np.bincount(row[inside], minlength=len(corpus))
    # Nearly all of them, since single ones may be style.
    least = np.quantile(have[good], 0.1) if good.any() else 0.0
    result: np.ndarray = have >= least
    return result


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


def _odds(right: int, wrong: int, rights: int, wrongs: int) -> float:
    """The odds ratio, with half a count more in each cell."""
    return ((right + 0.5) / (rights - right + 0.5)) / ((wrong + 0.5) / (wrongs - wrong + 0.5))


def by_sender(corpus: Corpus) -> list[Draft]:
    """N-grams far commoner in one sender's good completions than in those of all others.

    A problem counts once for each sender, because completions of one problem are alike.
    """
    counted = (corpus.good != 0) & (corpus.sender != UNKNOWN)
    unit = corpus.group * np.int64(len(corpus.senders) + 1) + corpus.sender
    of_S = _problems(corpus, unit, np.flatnonzero(counted))
    known = np.flatnonzero(of_S >= 20)
    known = known[np.argsort(-of_S[known])][:_MOST_SENDERS]
    if len(known) < _ENOUGH:
        return []
    weights = [((corpus.sender == s) & counted).astype(float) for s in known]
    table = _Table(corpus, weights, np.where(counted, unit, -2)).counts
    looked_at = int(table.any(0).sum()) * len(known)
    drafts = []
    for i, s in enumerate(known):
        common = np.flatnonzero(table[i] >= max(4, LEAST_SHARE * of_S[s]))
        rates = (table[:, common] + 0.5) / (of_S[known, None] + 1)
        others = np.sort(np.delete(rates, i, axis=0), axis=0)[(len(known) - 1) // 2]
        p = tail(table[i, common], of_S[s], others)
        suspicious = common[np.argsort(p)][: int((p * looked_at < LEVEL).sum())]
        found = []
        for gram in _exact(corpus, suspicious):
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
                    (value, _Gram(gram.codes, own, gram.rows), int(by[s]), int(by.sum() - by[s]))
                )
        for value, gram, mine, theirs, patterns in _merged(found):
            rest = int(of_S[known].sum() - of_S[s])
            drafts.append(
                Draft(
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


_Found = tuple[float, _Gram, int, int]


def _merged(
    found: list[_Found],
) -> Iterator[tuple[float, _Gram, int, int, tuple[tuple[int, ...], ...]]]:
    """N-grams in mostly the same completions are one finding, which the strongest stands for."""
    found = sorted(found, key=lambda one: (one[0], -len(one[1].codes)))
    told = 0
    while found and told < _MOST_FINDINGS:
        value, leader, a, b = found[0]
        same, rest = [], []
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
