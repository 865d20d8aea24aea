"""NOVELTY: refuse the new words of a node that writes far more of them than the others do.

For swarms of several nodes; the partner of `signature`. Why it works: junk that differs each time
has no signature, but its words, or pairs of words, come neither from the question nor from what
other nodes write. Honest nodes write new words as well, at about equal rates. Where it fails: junk
made of word pairs that other nodes wrote, or that a second malicious node wrote too; a few junk
completions among many; half of the nodes or more acting together; honest nodes whose models have a
vocabulary of their own. Source: our own.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from pydantic import Field

from swarmproof.config.settings import Table
from swarmproof.defenses import senders
from swarmproof.defenses.base import Count, Defense, DefenseView, Plain, Reads, Setting, State
from swarmproof.registry import register
from swarmproof.types import Group, Verdict

# A word, cut so that no peer can make a state large with it, and the one behind the white space.
# A mark that no solution needs is a word: emoji and private characters are junk as well. Latin
# marks, dashes, quotes, currencies, arrows, signs of mathematics and wide forms are none.
_USUAL = r"\x00-\xff\u2010-\u205e\u20a0-\u20cf\u2190-\u22ff\u3000-\u303f\uff00-\uffef"
_WORD = rf"([^\W\d]{{1,32}}|[^\w\s{_USUAL}])"
_PAIR = re.compile(rf"{_WORD}(?:(?=\s+{_WORD}))?")
_MOST_WORDS = 20_000  # words and pairs remembered for each node
_SEVERAL = ""  # the owner of what more than one node wrote; no key of a node is empty


Counts = Mapping[str, Sequence[int]]  # node -> new and right completions


@dataclass(frozen=True, slots=True)
class _Found:
    """A round, compared with what the defence remembers."""

    verdicts: list[list[Verdict]]
    state: State


class _Remembered(Table):
    """The state."""

    last: dict[str, dict[str, int]]  # node -> word -> the last round in which it wrote it
    counts: list[dict[str, tuple[Count, Count]]]  # of each round: node -> new, of


@register("defense", "novelty")
class Novelty(Defense):
    """Refuse new words of a node that writes far more new words than the other nodes.

    The exact rule. A right completion is new if it has a word, or a pair of words with only white
    space between them, that is neither in the question nor in any right completion of another node,
    in this round and `memory` rounds before. Case is ignored. A mark is a word if it is no
    punctuation, currency, arrow or sign of mathematics, as an emoji; numbers are not. For each
    node, new and right completions are counted over the same rounds. A node is suspected if
    P(Binomial(right, rate) >= new) is below 10 ^ -`threshold`. The rate is the f-th largest, over
    the other nodes, of (new + 0.5) / (right + 1), with f the largest minority of the nodes: 1 of 3
    or 4, 2 of 5 or 6. A median would fail where a malicious node copies an honest one: then neither
    has new words, and the other honest nodes stand out. The new completions of a suspected node are
    refused. The score of a new completion is -log10 of that probability; that of others is 0.
    """

    reads: ClassVar[Reads] = "text"
    state_type: ClassVar[Any] = _Remembered
    threshold_field: ClassVar[str] = "threshold"

    threshold: float = Field(
        default=8.0, gt=0, description="-log10 of the chance of a false alarm, for one node"
    )
    memory: int = Field(default=5, ge=0, le=100, description="rounds before this one that count")

    def require_in(self, setting: Setting) -> None:
        senders.require_majority(self.name, setting)

    def inspect(self, groups: Sequence[Group], view: DefenseView) -> list[list[Verdict]]:
        return senders.once(self, groups, view, self._compare).verdicts

    def remember(self, groups: Sequence[Group], view: DefenseView) -> State:
        return senders.once(self, groups, view, self._compare).state

    def _compare(self, groups: Sequence[Group], view: DefenseView) -> _Found:
        new, now = self._new(groups, view)
        rounds = [*view.state.get("counts", ()), now]
        state = self._state(groups, view, rounds)
        counts = _total(rounds)
        if len(counts) < senders.ENOUGH:
            none = self.verdict(None, 0.0, senders.TOO_FEW)
            return _Found([[none for _ in group.completions] for group in groups], state)
        scores = {node: _suspicion(node, counts) for node in counts}
        fine = self.verdict(True, 0.0)  # nearly all
        verdicts = [
            [
                self._verdict(word, scores[senders.key(completion.node)])
                if (word := new.get((p, g)))
                else fine
                for g, completion in enumerate(group.completions)
            ]
            for p, group in enumerate(groups)
        ]
        return _Found(verdicts, state)

    def _state(self, groups: Sequence[Group], view: DefenseView, counts: Sequence[Counts]) -> State:
        """What to remember of the words and the counts of each node."""
        last: dict[str, dict[str, int]] = {
            node: {word: at for word, at in words.items() if at > view.round - self.memory}
            for node, words in view.state.get("last", {}).items()
        }
        for _, completion in senders.rewarded(groups, view.rewards):
            words = dict.fromkeys(_words(completion.text), view.round)
            last.setdefault(senders.key(completion.node), {}).update(words)
        return Plain(
            last={node: _bounded(words) for node, words in sorted(last.items()) if words},
            counts=counts[max(0, len(counts) - self.memory) :],
        )

    def _new(
        self, groups: Sequence[Group], view: DefenseView
    ) -> tuple[dict[tuple[int, int], str], Counts]:
        """A new word, or "", of each right completion by its place; and this round's counts."""
        owner: dict[str, str] = {}
        for node, words in _written(groups, view):
            for word in words:
                if owner.setdefault(word, node) != node:
                    owner[word] = _SEVERAL
        new: dict[tuple[int, int], str] = {}
        counts: dict[str, list[int]] = {}
        for p, (group, row) in enumerate(zip(groups, view.rewards, strict=True)):
            asked = _words(group.problem.question)
            pairs = zip(group.completions, senders.right(row), strict=True)
            for g, (completion, good) in enumerate(pairs):
                node = senders.key(completion.node)
                entry = counts.setdefault(node, [0, 0])
                if good:
                    words = _words(completion.text) - asked
                    new[p, g] = min((w for w in words if owner[w] == node), default="")
                    entry[0] += bool(new[p, g])
                    entry[1] += 1
        return new, dict(sorted(counts.items()))

    def _verdict(self, word: str, score: float) -> Verdict:
        if score <= self.threshold:
            return self.verdict(True, score)
        reason = f"{word!r:.80} is new, and this node writes more new words than the others"
        return self.verdict(False, score, reason)


def _written(groups: Sequence[Group], view: DefenseView) -> Iterator[tuple[str, Collection[str]]]:
    """Each node with words of its right completions, of this round and those remembered."""
    yield from view.state.get("last", {}).items()
    for _, completion in senders.rewarded(groups, view.rewards):
        yield senders.key(completion.node), _words(completion.text)


def _total(rounds: Sequence[Counts]) -> dict[str, tuple[int, int]]:
    total: dict[str, tuple[int, int]] = {}
    for counts in rounds:
        for node, (new, of) in counts.items():
            before = total.get(node, (0, 0))
            total[node] = before[0] + new, before[1] + of
    return total


def _suspicion(node: str, counts: Mapping[str, tuple[int, int]]) -> float:
    others = [(new + 0.5) / (of + 1) for other, (new, of) in counts.items() if other != node]
    return senders.suspicion(*counts[node], senders.high(others))


# Three cohorts look at the same texts, twice a round each.
@lru_cache(maxsize=1024)
def _words(text: str) -> frozenset[str]:
    """Words, and pairs of words with white space between them."""
    found = _PAIR.findall(text.casefold())
    pairs = [f"{word} {following}" for word, following in found if following]
    return frozenset((*(word for word, _ in found), *pairs))


def _bounded(words: Mapping[str, int]) -> dict[str, int]:
    order = sorted(words, key=lambda word: (-words[word], word))
    return {word: words[word] for word in sorted(order[:_MOST_WORDS])}
