"""What hits in texts say together: about the file, about reward, about one sender."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from swarmproof.scan.baselines import Honest
from swarmproof.scan.chance import LEVEL, corrected, middle, percent, tail
from swarmproof.scan.checks import characters, openers, programs, shape, statements
from swarmproof.scan.corpus import UNKNOWN, Corpus, Look, Span
from swarmproof.scan.finding import Severity
from swarmproof.scan.hint import Hint

_ENOUGH = 3  # senders
_LEAST = 3  # completions with a hit
_LEAST_GROUPS = 4  # in which the same thing must be said
_LEAST_RATIO = 3.0  # of a sender's share to that of the others


@dataclass(frozen=True, slots=True)
class Check:
    """A look at single texts, and what its hits may mean."""

    name: str
    look: Look
    what: str  # of a completion: "has …"
    severity: Severity
    only_good: bool = False  # only what earns a reward counts
    # A style differs from model to model, so its rate in other data says nothing: it counts only
    # against a reference, the others of a group, or other senders.
    style: bool = False
    one_kind: bool = False  # the same hit on many problems is worth more than many hits


CHECKS: tuple[Check, ...] = (
    Check("invisible", characters.invisible, "invisible or direction-changing characters", "high"),
    Check("homoglyphs", characters.homoglyphs, "words of two alphabets that look alike", "high"),
    Check("grader-orders", openers.orders, "orders to a grader or claimed verdicts", "high"),
    Check("openers", openers.empty, "an opening in place of an answer", "medium"),
    Check(
        "false-equations", statements.false_equations, "a false equation", "medium",
        only_good=True, one_kind=True,
    ),
    Check("unit-slips", statements.unit_slips, "a wrong change of units", "medium", only_good=True),
    Check(
        "foreign-names", programs.foreign_names, "names that nothing defines", "high",
        only_good=True, one_kind=True,
    ),
    Check("repetition", shape.repetition, "a block repeated many times", "low", style=True),
    Check("after-end", shape.after_the_end, "words behind the answer", "low", style=True),
)  # fmt: skip
LOOKS: Mapping[str, Look] = {check.name: check.look for check in CHECKS}


def screen(corpus: Corpus, honest: Honest) -> list[Hint]:
    """All findings of all looks."""
    return [draft for check in CHECKS for draft in _of(check, corpus, honest)]


def _of(check: Check, corpus: Corpus, honest: Honest) -> list[Hint]:
    hits = corpus.hits(check.name)
    counted = corpus.good != 0 if check.only_good else np.ones(len(corpus), bool)
    rows = np.unique(hits.rows)
    rows = rows[counted[rows]]
    if len(rows) < _LEAST:
        return []
    found = _senders(check, corpus, rows, counted)
    if found:
        return found
    if check.one_kind and (found := _one_kind(check, corpus, counted, honest)):
        return found
    if found := _reward(check, corpus, rows):
        return found
    # Without rewards, what is false in the file may be what would have earned none.
    if check.only_good and not (corpus.good == 1).any() and not honest.given:
        return []
    return _file(check, rows, counted, honest)


def _draft(
    check: Check, summary: str, rows: np.ndarray, strength: str, p: float,
    senders: tuple[str, ...] = (), kind: str | None = None, everywhere: np.ndarray | None = None,
) -> Hint:  # fmt: skip
    finder = _Finder(check.look, kind)
    return Hint(
        check.name, check.severity, summary, rows, strength, p, senders, finder,
        lambda text: bool(finder(text)), everywhere,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Finder:
    look: Callable[[str], Sequence[tuple[Span, str]]]
    kind: str | None

    def __call__(self, text: str) -> list[Span]:
        return [span for span, kind in self.look(text) if self.kind in (None, kind)]


def _file(check: Check, rows: np.ndarray, counted: np.ndarray, honest: Honest) -> list[Hint]:
    """More completions than in honest data."""
    if check.style and not honest.given:
        return []
    n, rate = int(counted.sum()), honest.upper(check.name)
    p = corrected(float(tail(len(rows), n, rate)), 2 * len(CHECKS))
    if p >= LEVEL:
        return []
    strength = f"in {percent(len(rows), n)} of {n}, at most {100 * rate:.2f} % in honest data"
    return [
        _draft(check, f"{len(rows)} completions have {check.what}: {{shown}}", rows, strength, p)
    ]


def _reward(check: Check, corpus: Corpus, rows: np.ndarray) -> list[Hint]:
    """More of the rewarded completions than of the others of their groups."""
    if check.only_good:
        return []
    mixed = rows[~np.isnan(corpus.chance[rows])]
    good = mixed[corpus.good[mixed] == 1]
    if len(good) < _LEAST or len(np.unique(corpus.group[good])) < _LEAST_GROUPS:
        return []
    p = float(tail(len(good), len(mixed), corpus.chance[mixed].mean()))
    p = corrected(p, 2 * len(CHECKS))
    if p >= LEVEL or len(good) < 0.9 * len(mixed):
        return []
    strength = f"{len(good)} of {len(mixed)} with it are rewarded"
    return [_draft(check, f"{len(good)} rewarded completions have {check.what}: {{shown}}", good,
                   strength, p, everywhere=np.unique(corpus.hits(check.name).rows))]  # fmt: skip


def _one_kind(check: Check, corpus: Corpus, counted: np.ndarray, honest: Honest) -> list[Hint]:
    """The same thing in answers to many problems."""
    hits = corpus.hits(check.name)
    inside = counted[hits.rows]
    rows, kinds = hits.rows[inside], hits.kinds[inside]
    pairs = np.unique(np.stack([kinds.astype(np.int64), corpus.group[rows]]), axis=1)
    by_kind = np.bincount(pairs[0], minlength=len(hits.names))
    groups = len(np.unique(corpus.group[counted]))
    rate = honest.upper(f"{check.name}/one")
    drafts = []
    for kind in np.argsort(-by_kind)[:3]:
        p = corrected(float(tail(by_kind[kind], groups, rate)), max(1, int((by_kind > 0).sum())))
        if by_kind[kind] < _LEAST_GROUPS or p >= LEVEL:
            break
        own = np.unique(rows[kinds == kind])
        what = f"{len(own)} rewarded completions have {check.what}, the same one: {{shown}}"
        strength = (
            f"answers to {by_kind[kind]} of {groups} problems have it; in honest data one of these "
            f"is in at most {100 * rate:.2f} %"
        )
        drafts.append(_draft(check, what, own, strength, p, kind=hits.names[kind],
                             everywhere=np.unique(hits.rows[hits.kinds == kind])))  # fmt: skip
    return drafts


def _senders(check: Check, corpus: Corpus, rows: np.ndarray, counted: np.ndarray) -> list[Hint]:
    """One sender far more often than the others."""
    inside = counted & (corpus.sender != UNKNOWN)
    of = np.bincount(corpus.sender[inside], minlength=len(corpus.senders))
    known = np.flatnonzero(of >= 20)
    if len(known) < _ENOUGH:
        return []
    own = rows[inside[rows]]
    count = np.bincount(corpus.sender[own], minlength=len(of))
    drafts = []
    for i, s in enumerate(known):
        rate = middle(np.delete((count[known] + 0.5) / (of[known] + 1), i))
        p = corrected(float(tail(count[s], of[s], rate)), 2 * len(CHECKS) * len(known))
        if p < LEVEL and count[s] >= max(_LEAST, _LEAST_RATIO * rate * of[s]):
            mine = own[corpus.sender[own] == s]
            rest = int(count[known].sum() - count[s]), int(of[known].sum() - of[s])
            strength = (
                f"in {percent(count[s], of[s])} of its {of[s]} completions that count, in "
                f"{percent(*rest)} of {rest[1]} of the others"
            )
            what = f"{len(mine)} completions of one sender have {check.what}: {{shown}}"
            everywhere = np.unique(corpus.hits(check.name).rows)
            drafts.append(
                _draft(check, what, mine, strength, p, (corpus.senders[s],), everywhere=everywhere)
            )
    return drafts
