"""Counts of n-grams of 1 to 4 words and marks.

Every n-gram is counted once for a completion. First all of them are counted in a table of buckets,
which takes the same memory for every file. The n-grams of suspicious buckets are then counted
exactly.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from swarmproof.scan.corpus import Corpus, code

LONGEST = 4
_BITS = 21  # of the number of buckets
_KEY_BITS = 44  # of the number of an n-gram; the rest is for the rows of a block
MOST_BUCKETS = 3000  # that are counted exactly
_MIXER = np.uint64(0x9E3779B97F4A7C15)
_SPREADER = np.uint64(0xBF58476D1CE4E5B9)

# Numbers and marks. One or two of them are about a problem's numbers, and each sender may have
# problems of its own.
_PLAIN = frozenset({1, *map(code, string.punctuation), *(code(str(i)) for i in range(100))})


@dataclass(frozen=True, slots=True)
class Gram:
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


def counted_once(corpus: Corpus) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Bucket, key and row of each n-gram of each completion, once for a completion."""
    for first, codes, lengths in corpus.blocks():
        row = np.repeat(np.arange(len(lengths), dtype=np.uint64), lengths)
        for _, keys, place in grams(codes, lengths):
            # One number for row and n-gram, since one column sorts far faster than two.
            both = np.sort(
                (row[place] << np.uint64(_KEY_BITS)) | (keys >> np.uint64(64 - _KEY_BITS))
            )
            both = both[np.diff(both, prepend=~both[:1]) != 0]
            key = both << np.uint64(64 - _KEY_BITS)
            of = (both >> np.uint64(_KEY_BITS)).astype(np.int64) + first
            yield (key >> np.uint64(64 - _BITS)).astype(np.int64), key, of


def _cut(keys: np.ndarray) -> np.ndarray:
    """Keys as `counted_once` gives them."""
    low = np.uint64(64 - _KEY_BITS)
    cut: np.ndarray = keys >> low << low
    return cut


class Buckets:
    """Counts by bucket, for weights that are given by row."""

    def __init__(
        self, corpus: Corpus, weights: Sequence[np.ndarray], unit: np.ndarray | None = None
    ) -> None:
        self.counts = np.zeros((len(weights), 1 << _BITS))
        for bucket, _, row in counted_once(corpus):
            if unit is not None:  # rows of one unit count once, as far as they are in one block
                order = np.lexsort((unit[row], bucket))
                bucket, row = bucket[order], row[order]
                new = (np.diff(bucket, prepend=-1) != 0) | (np.diff(unit[row], prepend=-1) != 0)
                bucket, row = bucket[new], row[new]
            for table, weight in zip(self.counts, weights, strict=True):
                table += np.bincount(bucket, weight[row], minlength=1 << _BITS)


def exact(corpus: Corpus, suspicious: np.ndarray) -> list[Gram]:
    """The n-grams of some buckets, with the rows that have them."""
    if not len(suspicious):
        return []
    wanted = np.zeros(1 << _BITS, bool)
    wanted[suspicious[:MOST_BUCKETS]] = True
    keys, rows = [], []
    for bucket, key, row in counted_once(corpus):
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
        Gram(codes, common[k])
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
                for key, at in zip(_cut(keys).tolist(), place.tolist(), strict=True):
                    if key in left:
                        left.discard(key)
                        yield key, tuple(own[at : at + n].tolist())


def formed(corpus: Corpus) -> np.ndarray:
    """Whether a completion has what nearly all good ones have, such as the tags of an answer."""
    if (known := corpus.kept.get("formed")) is not None:
        return known
    good = ~np.isnan(corpus.chance) & (corpus.good == 1)
    table = Buckets(corpus, (good.astype(float),))
    needed = table.counts[0] >= 0.9 * good.sum()
    have = np.zeros(len(corpus))
    for bucket, _, row in counted_once(corpus):
        inside = needed[bucket]
        have += np.bincount(row[inside], minlength=len(corpus))
    # Nearly all of them, since single ones may be style.
    least = np.quantile(have[good], 0.1) if good.any() else 0.0
    corpus.kept["formed"] = have >= least
    return corpus.kept["formed"]
