"""SIGNATURE: refuse what one node writes on many problems, and the other nodes do not.

For swarms of several nodes, of one model or of several. Why it works: an attacker must repeat its
poison on many problems to teach it, and honest nodes do not write it. No model is asked: the
defence compares the texts of senders. A node that copies another's text is not seen here, but what
it copies is not poison. Where it fails: poison in fewer than about 1 % of a node's completions;
poison in other words each time (`novelty` sees new words; in junk made of other nodes' words this
defence saw the pairs that it repeats, docs/lab-log.md); half of the nodes or more acting together;
and honest nodes whose models write in a style of their own, whose style is then a signature.
Source: our own.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
from pydantic import Field

from swarmproof.defenses import senders
from swarmproof.defenses.base import Amount, Defense, DefenseView, Plain, Reads, Setting, State
from swarmproof.registry import register
from swarmproof.types import Group, Verdict

# A word, cut so that no peer can make a state large with it, or a mark.
_PARTS = re.compile(r"\w{1,32}|[^\w\s]")
_FORGOTTEN = 0.5  # a smaller count is dropped: something seen once, seven rounds ago
_MOST_GRAMS = 20_000  # remembered for each node

T = TypeVar("T", int, float)


@dataclass(slots=True)
class _Tally:
    """What one node wrote in right completions."""

    problems: float = 0.0
    counts: dict[str, float] = field(default_factory=dict)  # n-gram -> problems
    # n-gram -> the round in which this node wrote it on several problems, when nobody else had.
    first: dict[str, int] = field(default_factory=dict)


class _Sign(NamedTuple):
    """How an n-gram of a node differs from what the others write. The largest is the worst."""

    score: float
    gram: str
    hits: float
    of: float
    rate: float
    of_node: str = ""  # who wrote it first, where that can be said
    of_round: int = 0


@dataclass(frozen=True, slots=True)
class _Compared:
    verdicts: list[list[Verdict]]
    state: State


@register("defense", "signature")
class Signature(Defense):
    """Refuse completions with words that their node writes on many problems and no other does.

    The exact rule. A text is cut into words and marks; its n-grams are those of one to `longest` of
    them in a row. For each node and n-gram, the defence counts the problems on which a right
    completion of the node has it, and the problems on which the node has a right completion at all.
    Counts of earlier rounds decay by `decay` a round. An n-gram is the node's signature if it
    stands on at least `least` problems, and P(Binomial(problems of the node, rate) >= count) is
    below 10 ^ -`threshold`. The rate is the upper median, over the other nodes, of
    (count + 0.5) / (problems + 1). Completions of a node with a signature of it are refused. The
    score is -log10 of that probability, for the completion's most suspicious n-gram.

    The reason says that the completion copies another node's if that node alone wrote the n-gram,
    on two problems or more, in an earlier round, and nobody had written it as far as is remembered.
    It is no reason to refuse that node: what others copy of it is less its own. Within one round
    the texts do not say who copied.
    """

    reads: ClassVar[Reads] = "text"
    # By node: its problems, counts with their n-grams, and rounds with those that it wrote first.
    state_type: ClassVar[Any] = dict[
        str, tuple[Amount, list[tuple[Amount, str]], list[tuple[int, str]]]
    ]
    threshold_field: ClassVar[str] = "threshold"

    threshold: float = Field(
        default=8.0, gt=0, description="-log10 of the chance of a false alarm, for one n-gram"
    )
    least: float = Field(default=4.0, ge=1, description="problems, decayed, that make a signature")
    decay: float = Field(default=0.9, ge=0, lt=1, description="weight of the round before")
    longest: int = Field(default=4, ge=1, le=8, description="words and marks in an n-gram")

    def require_in(self, setting: Setting) -> None:
        senders.require_majority(self.name, setting)

    def inspect(self, groups: Sequence[Group], view: DefenseView) -> list[list[Verdict]]:
        return senders.once(self, groups, view, self._compare).verdicts

    def remember(self, groups: Sequence[Group], view: DefenseView) -> State:
        return senders.once(self, groups, view, self._compare).state

    def _compare(self, groups: Sequence[Group], view: DefenseView) -> _Compared:
        tallies = self._tallies(groups, view)
        state = Plain(
            (node, [tally.problems, _packed(tally.counts), _by_round(tally)])
            for node, tally in sorted(tallies.items())
            if tally.problems >= _FORGOTTEN
        )
        if len(tallies) < senders.ENOUGH:
            none = self.verdict(None, 0.0, senders.TOO_FEW)
            return _Compared([[none for _ in group.completions] for group in groups], state)
        found = {node: self._signatures(node, tallies) for node in tallies}
        fine = self.verdict(True, 0.0)  # nearly all
        verdicts = [
            [
                self._verdict(completion.text, found[senders.key(completion.node)]) or fine
                for completion in group.completions
            ]
            for group in groups
        ]
        return _Compared(verdicts, state)

    def _tallies(self, groups: Sequence[Group], view: DefenseView) -> dict[str, _Tally]:
        """The counts of each node, those of this round included."""
        tallies = {
            node: _Tally(
                self.decay * problems,
                _unpacked((self.decay * n, grams) for n, grams in packed),
                _unpacked(first),
            )
            for node, (problems, packed, first) in view.state.items()
        }
        for group in groups:
            for completion in group.completions:
                tallies.setdefault(senders.key(completion.node), _Tally())
        written: dict[tuple[str, int], set[str]] = defaultdict(set)
        for p, completion in senders.rewarded(groups, view.rewards):
            written[senders.key(completion.node), p] |= _grams(completion.text, self.longest)
        now: dict[str, Counter[str]] = defaultdict(Counter)
        for (node, _), grams in written.items():
            now[node].update(grams)
            tallies[node].problems += 1
        for node, grams in _alone(now):
            new = grams.difference(*(tally.counts for tally in tallies.values()))
            tallies[node].first |= dict.fromkeys(new, view.round)
        for node, fresh in now.items():
            counts = tallies[node].counts
            for gram, n in fresh.items():
                counts[gram] = counts.get(gram, 0.0) + n
        return tallies

    def _signatures(self, node: str, tallies: Mapping[str, _Tally]) -> dict[str, _Sign]:
        """The suspicious n-grams of a node, above the threshold or not."""
        own = tallies[node]
        others = [tally for other, tally in tallies.items() if other != node]
        often = {gram: n for gram, n in own.counts.items() if n >= self.least}
        found = {}
        for (gram, count), rate in zip(often.items(), _rates(often, others), strict=True):
            if score := senders.suspicion(count, own.problems, rate):
                source = _source(node, gram, tallies)
                found[gram] = _Sign(score, gram, count, own.problems, rate, *source)
        return found

    def _verdict(self, text: str, signs: Mapping[str, _Sign]) -> Verdict | None:
        """The verdict on a completion; None where nothing is suspicious."""
        has = _grams(text, self.longest) & signs.keys()
        if not has:
            return None
        sign = max(map(signs.__getitem__, has))
        if sign.score <= self.threshold:
            return self.verdict(True, sign.score)
        reason = (
            f"{sign.gram!r:.80} is on {sign.hits:.3g} of {sign.of:.3g} problems of this node, and "
            f"on {sign.rate:.1%} of the others'"
        )
        if sign.of_node:
            reason += f"; copies node {sign.of_node:.40s}'s completion of round {sign.of_round}"
        return self.verdict(False, sign.score, reason)


# Three cohorts look at the same texts, twice a round each.
@lru_cache(maxsize=1024)
def _grams(text: str, longest: int) -> frozenset[str]:
    parts = _PARTS.findall(text)
    rows = [parts[start:] for start in range(longest)]
    grams = (map(" ".join, zip(*rows[:n], strict=False)) for n in range(1, longest + 1))
    return frozenset(chain.from_iterable(grams))


def _rates(grams: Collection[str], others: Sequence[_Tally]) -> list[float]:
    """The upper median, over other nodes, of the rate of each n-gram."""
    counts_NG = np.array([[of.counts.get(gram, 0.0) for gram in grams] for of in others])
    of_N = np.array([of.problems for of in others])
    rates_NG = (counts_NG + 0.5) / (of_N[:, None] + 1)
    middle: list[float] = np.sort(rates_NG, axis=0)[len(others) // 2].tolist()
    return middle


def _packed(counts: Mapping[str, float]) -> list[list[Any]]:
    """Each count with its n-grams, a line each. There are few counts, so this is small and fast."""
    lines = _by_value(counts)
    packed, left = [], _MOST_GRAMS
    for n in sorted((n for n in lines if n >= _FORGOTTEN), reverse=True):
        if grams := sorted(lines[n])[:left]:
            packed.append([n, "\n".join(grams)])
            left -= len(grams)
    return packed[::-1]


def _unpacked(packed: Iterable[tuple[T, str]]) -> dict[str, T]:
    return {gram: n for n, grams in packed for gram in grams.split("\n")}


def _by_round(tally: _Tally) -> list[list[Any]]:
    """Rounds, with the n-grams that the node wrote first in them and that are still counted."""
    kept = sorted(g for g in tally.first if tally.counts.get(g, 0.0) >= _FORGOTTEN)[:_MOST_GRAMS]
    rounds = _by_value({gram: tally.first[gram] for gram in kept})
    return [[round, "\n".join(grams)] for round, grams in sorted(rounds.items())]


def _by_value(of: Mapping[str, T]) -> dict[T, list[str]]:
    """The keys that have each value, in their order."""
    keys: dict[T, list[str]] = defaultdict(list)
    for key, value in of.items():
        keys[value].append(key)
    return keys


def _alone(now: Mapping[str, Mapping[str, int]]) -> Iterator[tuple[str, set[str]]]:
    """Each node with the n-grams that it alone wrote in this round, on two problems or more."""
    for node, grams in now.items():
        several = {gram for gram, n in grams.items() if n > 1}
        yield node, several.difference(*(of for other, of in now.items() if other != node))


def _source(node: str, gram: str, tallies: Mapping[str, _Tally]) -> tuple[str, int]:
    """Which other node wrote an n-gram first, and in which round, where that can be said."""
    for other, tally in tallies.items():
        if other != node and gram in tally.first:
            return other, tally.first[gram]
    return "", 0
