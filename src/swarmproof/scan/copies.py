"""Near-copies of other senders' completions, of other problems' answers, and loss of diversity.

Two texts are near-copies if their smallest hashes of word 4-grams agree: nearly the same text.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from swarmproof.scan.baselines import Honest
from swarmproof.scan.chance import LEVEL, corrected, middle, percent, tail
from swarmproof.scan.corpus import UNKNOWN, Corpus
from swarmproof.scan.hint import Hint
from swarmproof.scan.ngrams import LONGEST, grams

_LEAST_WORDS = 12  # shorter texts are alike by chance
LONG = 60  # words; shorter answers to other problems may be alike by chance
_HASHES = 6
_MOST_SENDERS = 16
_LEAST = 5  # copies
_FEW = 0.15  # distinct texts of a group, as a share


def sketches(corpus: Corpus) -> np.ndarray:
    """A number for each row, equal for near-copies; 0 for short texts."""
    seeds = np.random.default_rng(0).integers(1, 1 << 63, _HASHES, np.uint64) | np.uint64(1)
    result = np.zeros(len(corpus), np.uint64)
    for first, codes, lengths in corpus.blocks():
        row = np.repeat(np.arange(len(lengths)), lengths)
        for n, keys, place in grams(codes, lengths):
            if n < LONGEST or not len(place):
                continue
            of = row[place]
            starts = np.flatnonzero(np.r_[True, of[1:] != of[:-1]])
            whole = np.zeros(len(starts), np.uint64)
            for seed in seeds:
                mixed = keys * seed
                least = np.minimum.reduceat(mixed ^ (mixed >> np.uint64(31)), starts)
                whole = (whole ^ least) * np.uint64(0x9E3779B97F4A7C15)
            result[first + of[starts]] = whole | np.uint64(1)
    result[corpus.length < _LEAST_WORDS] = 0
    return result


def screen(corpus: Corpus, honest: Honest) -> list[Hint]:
    """All findings about copies."""
    sketch = sketches(corpus)
    return [
        *_later(corpus, sketch),
        *_pairs(corpus, sketch),
        *_across(corpus, sketch, honest),
        *_collapse(corpus),
    ]


def _later(corpus: Corpus, sketch: np.ndarray) -> Iterator[Hint]:
    """One sender writes what another wrote in an earlier step: the direction is known."""
    rows = np.flatnonzero((sketch != 0) & (corpus.sender != UNKNOWN) & (corpus.step != UNKNOWN))
    if len(np.unique(corpus.sender[rows])) < 2:
        return
    order, copied = _copied(corpus, sketch, rows)
    of = np.bincount(corpus.sender[rows], minlength=len(corpus.senders))
    count = np.bincount(corpus.sender[order[copied]], minlength=len(of))
    known = np.flatnonzero(of >= 20)
    if len(known) < 3:
        return
    for i, s in enumerate(known):
        rate = middle(np.delete((count[known] + 0.5) / (of[known] + 1), i))
        p = corrected(float(tail(count[s], of[s], rate)), len(known))
        if count[s] >= _LEAST and p < LEVEL and count[s] >= 3 * rate * of[s]:
            own = np.sort(order[copied & (corpus.sender[order] == s)])
            yield Hint(
                "copies",
                "high",
                f"{len(own)} completions of one sender are near-copies of what others wrote in "
                "earlier steps",
                own,
                f"{percent(count[s], of[s])} of its completions, {100 * rate:.1f} % of the others'",
                p,
                (corpus.senders[s],),
            )


def _copied(corpus: Corpus, sketch: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows in some order, and which of them say what their sender did not say first.

    Whoever had a text in the first step that has it is no copier, then or later: of several that
    had it there, nobody can say who was first.
    """
    order = rows[np.lexsort((corpus.step[rows], corpus.sender[rows], sketch[rows]))]
    text, sender, step = sketch[order], corpus.sender[order], corpus.step[order]
    new_text = np.r_[True, text[1:] != text[:-1]]
    new_sender = new_text | np.r_[True, sender[1:] != sender[:-1]]
    by_text = np.minimum.reduceat(step, np.flatnonzero(new_text))[np.cumsum(new_text) - 1]
    by_sender = step[np.flatnonzero(new_sender)][np.cumsum(new_sender) - 1]
    return order, by_sender > by_text


def _pairs(corpus: Corpus, sketch: np.ndarray) -> Iterator[Hint]:
    """Two senders write the same on one problem far more often than other pairs do.

    Within one step nobody can say who copied whom, so nobody is named as the copier.
    """
    usable = (sketch != 0) & (corpus.sender != UNKNOWN)
    of = np.bincount(corpus.sender[usable], minlength=len(corpus.senders))
    known = [int(s) for s in np.argsort(-of)[:_MOST_SENDERS] if of[s] >= 20]
    if len(known) < 4:
        return
    keys = sketch ^ (corpus.group.astype(np.uint64) * np.uint64(0xBF58476D1CE4E5B9))
    own = {s: (rows := np.flatnonzero(usable & (corpus.sender == s)), keys[rows]) for s in known}
    shared = {
        (a, b): (int(np.isin(own[a][1], own[b][1]).sum()), len(own[a][0]))
        for a, b in combinations(known, 2)
    }
    for (a, b), (count, of_a) in shared.items():
        # Not the largest: whoever copies two senders has two such pairs.
        others = sorted(c / n for pair, (c, n) in shared.items() if pair != (a, b))[-2]
        rate = others + 1 / of_a
        p = corrected(float(tail(count, of_a, rate)), len(shared))
        if count >= _LEAST and p < LEVEL and count >= 3 * rate * of_a:
            # Of both, since nobody knows whose they are.
            rows = np.sort(np.r_[
                own[a][0][np.isin(own[a][1], own[b][1])], own[b][0][np.isin(own[b][1], own[a][1])]
            ])  # fmt: skip
            yield Hint(
                "copies",
                "medium",
                f"senders {corpus.senders[a]!r:.40} and {corpus.senders[b]!r:.40} write the same "
                f"{count} times; who copies whom is not known",
                rows,
                f"{percent(count, of_a)} of the completions of the first, "
                f"{100 * others:.1f} % between others",
                p,
            )


def _across(corpus: Corpus, sketch: np.ndarray, honest: Honest) -> Iterator[Hint]:
    """The same text answers many problems."""
    rows = np.flatnonzero((sketch != 0) & (corpus.length >= LONG))
    if not len(rows):
        return
    order = rows[np.argsort(sketch[rows], kind="stable")]
    starts = np.flatnonzero(np.r_[True, sketch[order][1:] != sketch[order][:-1]])
    size = np.diff(np.r_[starts, len(order)])
    group = corpus.prompt[order]
    low, high = np.minimum.reduceat(group, starts), np.maximum.reduceat(group, starts)
    copied = np.sort(order[np.repeat(low != high, size)])
    copied = copied[corpus.good[copied] != 0]
    n = int((corpus.good[rows] != 0).sum())
    p = corrected(float(tail(len(copied), n, honest.upper("same-answer"))), 2)
    if len(copied) >= _LEAST and p < LEVEL:
        yield Hint(
            "same-answer",
            "medium",
            f"{len(copied)} completions answer different prompts with nearly the same text",
            copied,
            f"{percent(len(copied), n)} of {n}",
            p,
        )


def _collapse(corpus: Corpus) -> Iterator[Hint]:
    """Groups of nearly one text. Honest training loses diversity too, so it is a remark."""
    steps = np.unique(corpus.step)
    steps = steps[steps != UNKNOWN]
    if len(steps) < 5:
        return
    edge = max(1, len(steps) // 5)
    shares = []
    for part in (steps[:edge], steps[-edge:]):
        rows = np.flatnonzero(np.isin(corpus.step, part))
        pairs = np.unique(
            np.stack([corpus.group[rows].astype(np.uint64), corpus.text[rows]]), axis=1
        )
        groups = len(np.unique(corpus.group[rows]))
        if groups < 4 or len(rows) < 4 * groups:
            return
        shares.append(pairs.shape[1] / len(rows))
    if shares[1] < _FEW and shares[1] < shares[0] / 3:
        yield Hint(
            "diversity",
            "low",
            "groups of completions become one text",
            np.flatnonzero(np.isin(corpus.step, steps[-edge:])),
            f"{100 * shares[0]:.0f} % of the texts of a group are distinct in the first fifth of "
            f"the steps, {100 * shares[1]:.0f} % in the last",
        )
