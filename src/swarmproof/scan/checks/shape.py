"""The outer shape of a text: repetition, and what follows the end of the answer."""

from __future__ import annotations

import re

from swarmproof.scan.corpus import Span

# The same block of at most 60 characters, many times in a row.
_AGAIN = re.compile(r"(.{2,60}?)\1{7,}", re.DOTALL)
_END = re.compile(r"</answer>|\\boxed\{[^{}]{0,40}\}|####\s*-?[\d.,]+", re.IGNORECASE)
_LETTERS = re.compile(r"\w{2,}")
_LEAST_BEHIND = 24  # characters


def repetition(text: str) -> list[tuple[Span, str]]:
    """A block that stands eight times or more in a row, in a text that mostly repeats itself.

    Rows of marks and digits are none.
    """
    parts = text.split()
    if len(parts) < 16 or len(set(parts)) > 0.4 * len(parts):
        return []
    for match in _AGAIN.finditer(text[:20_000]):
        if _LETTERS.search(match[1]):
            return [(match.span(), match[1].strip()[:40])]
    return []


def after_the_end(text: str) -> list[tuple[Span, str]]:
    """Words behind the last answer."""
    ends = [match.end() for match in _END.finditer(text)]
    if not ends:
        return []
    behind = text[ends[-1] :]
    if len(behind.strip()) < _LEAST_BEHIND or not _LETTERS.search(behind):
        return []
    return [((ends[-1], len(text)), "words")]
