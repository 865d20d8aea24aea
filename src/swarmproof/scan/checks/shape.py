"""The outer shape of a text: repetition, and what follows the end of the answer."""

from __future__ import annotations

import re

import numpy as np

from swarmproof.scan.corpus import Span

_WORD = re.compile(r"\S+")
_MOST_WORDS = 12  # of a block
_TIMES = 8  # in a row
_END = re.compile(r"</answer>|\\boxed\{[^{}]{0,40}\}|####\s*-?[\d.,]+", re.IGNORECASE)
_LETTERS = re.compile(r"\w{2,}")
_LEAST_BEHIND = 24  # characters


def repetition(text: str) -> list[tuple[Span, str]]:
    """A block of words that stands eight times or more in a row, in a text that is mostly that.

    Rows of marks and digits are none.
    """
    parts = text.split()
    if len(parts) < 2 * _TIMES or len(set(parts)) > 0.4 * len(parts) or not _may_repeat(parts):
        return []
    words = np.array([hash(part) for part in parts])
    for size in range(1, _MOST_WORDS + 1):
        equal = np.r_[False, words[size:] == words[:-size], False]
        edges = np.flatnonzero(np.diff(equal.astype(np.int8)))
        for start, end in edges.reshape(-1, 2):
            block = " ".join(parts[start : start + size])
            if end - start >= (_TIMES - 1) * size and _LETTERS.search(block):
                places = [match.span() for match in _WORD.finditer(text)]
                return [((places[start][0], places[end + size - 1][1]), block[:40])]
    return []


def _may_repeat(parts: list[str]) -> bool:
    """Whether several words in a row have each been said shortly before, as in every repetition.

    It is much faster than what finds the block, and nearly all texts end here.
    """
    seen: dict[str, int] = {}
    row = 0
    for at, part in enumerate(parts):
        row = row + 1 if at - seen.get(part, -_MOST_WORDS - 1) <= _MOST_WORDS else 0
        if row >= _TIMES - 1:
            return True
        seen[part] = at
    return False


def after_the_end(text: str) -> list[tuple[Span, str]]:
    """Words behind the last answer."""
    ends = [match.end() for match in _END.finditer(text)]
    if not ends:
        return []
    behind = text[ends[-1] :]
    if len(behind.strip()) < _LEAST_BEHIND or not _LETTERS.search(behind):
        return []
    return [((ends[-1], len(text)), "words")]
