"""One pass over the rollouts: numbers in arrays, words in a temporary file, hits of texts in lists.

Memory grows by some 40 bytes for each completion, and never by its text, so that files larger than
memory can be scanned. What a check says about a text it says here, while the text is at hand.
"""

from __future__ import annotations

import re
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from zlib import crc32

import numpy as np

from swarmproof.scan.rollout import Rollout

Span = tuple[int, int]
# A text -> what was found in it: where, and a name under which equal things are counted together.
Look = Callable[[str], "Sequence[tuple[Span, str]]"]

_WORD = re.compile(r"[^\W\d_]+|\d+|[^\w\s]|_")
_LONG_NUMBER = 2  # digits; longer numbers are counted as one word
UNKNOWN = -1


def words(text: str) -> list[str]:
    """Words, short numbers and marks, in lower case."""
    return _WORD.findall(text.lower())


def placed(text: str) -> list[tuple[int, Span]]:
    """The code of each word and its place, in the text as it is.

    Lower case may have more characters than the text, so each word is lowered alone.
    """
    return [(code(match[0].lower()), match.span()) for match in _WORD.finditer(text)]


@lru_cache(maxsize=1 << 16)
def code(word: str) -> int:
    """32 bits that stand for a word; all numbers of three digits or more are one word."""
    if len(word) > _LONG_NUMBER and word.isdigit():
        return 1
    return crc32(word.encode("utf-8", "surrogatepass"))


@dataclass(frozen=True, slots=True)
class Hits:
    """What one look found in the texts: parallel arrays, a line for each hit."""

    rows: np.ndarray  # of the completions, ascending
    kinds: np.ndarray  # indices into `names`
    names: Sequence[str]


class Corpus:
    """All rollouts of a scan, as arrays with a row for each. Built by `gather`."""

    def __init__(self, looks: Iterable[str]) -> None:
        self._group, self._step, self._sender = array("q"), array("q"), array("i")
        self._reward, self._advantage = array("d"), array("d")
        self._length, self._flags = array("i"), array("B")
        self._text, self._prompt = array("Q"), array("q")  # hashes
        self._ends = array("Q")  # in the file of words
        self.senders: list[str] = []
        self._senders: dict[str, int] = {}
        self._hits: dict[str, tuple[array[int], array[int], dict[str, int]]] = {
            name: (array("q"), array("i"), {}) for name in looks
        }
        self._spool = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the corpus
        self._written = 0
        self.kept: dict[str, np.ndarray] = {}  # what several checks ask for

    def add(self, rollout: Rollout, looks: Mapping[str, Look]) -> None:
        """Add a rollout. Nothing of its text is kept but the codes of its words."""
        row = len(self._group)
        step = UNKNOWN if rollout.step is None else rollout.step
        key = (step, rollout.prompt) if rollout.group is None else (step, rollout.group)
        self._group.append(hash(key))
        self._step.append(step)
        sender = UNKNOWN
        if rollout.sender is not None:
            sender = self._senders.setdefault(rollout.sender, len(self._senders))
            if sender == len(self.senders):
                self.senders.append(rollout.sender)
        self._sender.append(sender)
        self._reward.append(np.nan if rollout.reward is None else rollout.reward)
        self._advantage.append(np.nan if rollout.advantage is None else rollout.advantage)
        codes = array("I", map(code, words(rollout.text)))
        self._length.append(len(codes))
        self._flags.append(
            (rollout.truncated is True) | (rollout.truncated is None) << 1 | rollout.masked << 2
        )
        self._prompt.append(hash(rollout.prompt))
        self._text.append(hash(rollout.text) & 0xFFFFFFFFFFFFFFFF)
        self._spool.write(codes.tobytes())
        self._written += len(codes)
        self._ends.append(self._written)
        for name, look in looks.items():
            rows, kinds, names = self._hits[name]
            for _, kind in look(rollout.text):
                # Peers choose the names, so their number is bounded.
                known = names if len(names) < 100_000 else {kind: names.get(kind, 0)}
                rows.append(row)
                kinds.append(known.setdefault(kind, len(names)))

    def __len__(self) -> int:
        return len(self._group)

    @cached_property
    def group(self) -> np.ndarray:
        """The number of each row's group, 0 and up, in the order of their first rows."""
        _, first, inverse = np.unique(
            np.frombuffer(self._group, np.int64), return_index=True, return_inverse=True
        )
        order = np.empty(len(first), np.int64)
        order[np.argsort(first)] = np.arange(len(first))
        numbers: np.ndarray = order[inverse]
        return numbers

    @cached_property
    def step(self) -> np.ndarray:
        return np.frombuffer(self._step, np.int64)

    @cached_property
    def sender(self) -> np.ndarray:
        return np.frombuffer(self._sender, np.int32)

    @cached_property
    def reward(self) -> np.ndarray:
        return np.frombuffer(self._reward, np.float64)

    @cached_property
    def advantage(self) -> np.ndarray:
        return np.frombuffer(self._advantage, np.float64)

    @cached_property
    def length(self) -> np.ndarray:
        """Words of each text."""
        return np.frombuffer(self._length, np.int32)

    @cached_property
    def text(self) -> np.ndarray:
        return np.frombuffer(self._text, np.uint64)

    @cached_property
    def prompt(self) -> np.ndarray:
        return np.frombuffer(self._prompt, np.int64)

    @cached_property
    def truncated(self) -> np.ndarray:
        """1, 0, or -1 where the file does not say."""
        flags = np.frombuffer(self._flags, np.uint8)
        return np.where(flags & 2, UNKNOWN, flags & 1)

    @cached_property
    def masked(self) -> np.ndarray:
        return (np.frombuffer(self._flags, np.uint8) & 4) > 0

    @cached_property
    def good(self) -> np.ndarray:
        """1 where the reward is above the group's mean, 0 where it is not, -1 where there is none.

        If all rewards of a group are equal, a positive reward is good.
        """
        known = ~np.isnan(self.reward)
        mean, _, spread = self._by_group
        mean, spread = mean[self.group], spread[self.group]
        good = np.where(spread > 0, self.reward > mean, self.reward > 0)
        result: np.ndarray = np.where(known, good, UNKNOWN)
        return result

    @cached_property
    def chance(self) -> np.ndarray:
        """The share of good completions in each row's group; NaN where all are alike."""
        _, of, _ = self._by_group
        groups = len(of)
        known = self.good != UNKNOWN
        good = np.bincount(self.group[known], self.good[known] == 1, minlength=groups)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = good / of
        share[(share <= 0) | (share >= 1)] = np.nan
        result: np.ndarray = np.where(known, share[self.group], np.nan)
        return result

    @cached_property
    def _by_group(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean, number and spread of the rewards of each group."""
        known = ~np.isnan(self.reward)
        group, reward = self.group[known], self.reward[known]
        groups = int(self.group.max(initial=-1)) + 1
        of = np.bincount(group, minlength=groups)
        low, high = np.full(groups, np.inf), np.full(groups, -np.inf)
        np.minimum.at(low, group, reward)
        np.maximum.at(high, group, reward)
        # Rewards may be infinite, or too large to add.
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            mean = np.bincount(group, reward, minlength=groups) / of
            return mean, of, np.where(of > 0, high - low, 0.0)

    def hits(self, name: str) -> Hits:
        """What a look found."""
        rows, kinds, names = self._hits[name]
        return Hits(np.frombuffer(rows, np.int64), np.frombuffer(kinds, np.int32), list(names))

    def blocks(self, size: int = 1 << 19) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """The words of all rows in blocks: first row, codes of words, lengths of the rows.

        Args:
            size: words of a block, as far as rows are shorter, and at most as many rows.
        """
        ends = np.frombuffer(self._ends, np.uint64).astype(np.int64)
        self._spool.flush()
        row = 0
        while row < len(self):
            begin = int(ends[row - 1]) if row else 0
            last = max(row + 1, int(np.searchsorted(ends, begin + size, side="right")))
            last = min(last, row + size)
            self._spool.seek(begin * 4)
            read = self._spool.read((int(ends[last - 1]) - begin) * 4)
            yield row, np.frombuffer(read, np.uint32), self.length[row:last]
            row = last

    def first_step(self, rows: np.ndarray) -> int | None:
        """The first step of some rows; None where no file has steps."""
        steps = self.step[rows]
        steps = steps[steps != UNKNOWN]
        return int(steps.min()) if len(steps) else None

    def close(self) -> None:
        """Delete the file of words."""
        self._spool.close()


def gather(rollouts: Iterable[Rollout], looks: Mapping[str, Look]) -> Corpus:
    """Read all rollouts once."""
    corpus = Corpus(looks)
    for rollout in rollouts:
        corpus.add(rollout, looks)
    return corpus
