"""The whole scan: one pass for counts, the checks, one pass for the texts that they point at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from swarmproof.scan import copies, lengths, shares, voting, with_model, words
from swarmproof.scan.baselines import Honest, shipped
from swarmproof.scan.corpus import UNKNOWN, Corpus, gather
from swarmproof.scan.finding import FalseAlarms, Finding, Mark
from swarmproof.scan.hint import Hint
from swarmproof.scan.rollout import Rollout

Read = Callable[[], Iterator[Rollout]]

_MARKED = 20  # completions of a finding that are marked
_EARLY_STEPS = 5  # a file with fewer has no first steps to compare with
_EARLY_ROWS = 50
_ORDER = {"high": 0, "medium": 1, "low": 2}


def screen(
    read: Read, reference: Read | None = None, *, model: str | None = None, judge: bool = False
) -> list[Finding]:
    """Look for poison.

    Args:
        read: the rollouts, in the same order at each call.
        reference: rollouts that are known to be honest; the honest runs that ship if None.
        model: the model that sampled: checks by its probabilities, too.
        judge: ask the tiny judge about each rewarded text, too.

    Returns:
        Findings, the worst first. Each has an estimate of its false alarms.

    Raises:
        ValueError: the model cannot be used, or a file is broken.
    """
    corpus = gather(read(), shares.LOOKS)
    control = None if reference is None else gather(reference(), shares.LOOKS)
    try:
        honest = shipped() if control is None else _of_reference(control)
        drafts = without_model(corpus, honest, control)
        if model or judge:
            refused = with_model.refused(read, corpus, model, judge=judge)
            if control is not None and reference is not None:
                there = with_model.refused(reference, control, model, judge=judge)
                honest = _with(honest, there, len(control))
            drafts += with_model.screen(corpus, refused, honest)
        fired = _fired_in_reference(drafts, reference, control, honest)
        found = _told(read, corpus, drafts, fired)
    finally:
        corpus.close()
        if control is not None:
            control.close()
    return sorted(found, key=lambda one: (_ORDER[one.severity], one.p_value or 0.0, one.check))


def without_model(corpus: Corpus, honest: Honest, control: Corpus | None = None) -> list[Hint]:
    """What all checks find that need no model."""
    return [
        *words.by_sender(corpus),
        *words.by_reward(corpus),
        *shares.screen(corpus, honest),
        *lengths.screen(corpus, honest, control),
        *copies.screen(corpus, honest),
        *voting.screen(corpus),
    ]


def counts(corpus: Corpus) -> Mapping[str, tuple[int, int, str]]:
    """How often the looks hit in honest data: by check the count, of how many, and of what."""
    result: dict[str, tuple[int, int, str]] = {}
    for check in shares.CHECKS:
        counted = corpus.good != 0 if check.only_good else np.ones(len(corpus), bool)
        hits = corpus.hits(check.name)
        inside = counted[hits.rows]
        rows = np.unique(hits.rows[inside])
        result[check.name] = (len(rows), int(counted.sum()), "completions")
        if check.one_kind:
            pairs = np.unique(
                np.stack([hits.kinds[inside].astype(np.int64), corpus.group[hits.rows[inside]]]),
                axis=1,
            )
            most = int(np.bincount(pairs[0]).max()) if pairs.shape[1] else 0
            groups = len(np.unique(corpus.group[counted]))
            result[f"{check.name}/one"] = (most, groups, "problems")
    sketch = copies.sketches(corpus)
    usable = (sketch != 0) & (corpus.good != 0) & (corpus.length >= copies.LONG)
    by_text: dict[int, set[int]] = {}
    for key, prompt in zip(sketch[usable].tolist(), corpus.prompt[usable].tolist(), strict=True):
        by_text.setdefault(key, set()).add(prompt)
    again = sum(len(by_text[key]) > 1 for key in sketch[usable].tolist())
    result["same-answer"] = (again, int(usable.sum()), "completions")
    groups, far = lengths.apart(corpus)
    result["reward-length/groups"] = (len(far), groups, "groups")
    return result


_REFERENCE = "the reference"


def _of_reference(control: Corpus) -> Honest:
    return Honest(
        {name: FalseAlarms(*count, _REFERENCE) for name, count in counts(control).items()},
        given=True,
    )


def _with(honest: Honest, there: with_model.Rejected, of: int) -> Honest:
    more = {
        name: FalseAlarms(len(rows), of, "completions", _REFERENCE)
        for name, rows in there.rows.items()
    }
    return Honest({**honest.counts, **more}, honest.given)


def _fired_in_reference(
    drafts: Sequence[Hint], reference: Read | None, control: Corpus | None, honest: Honest
) -> list[FalseAlarms | None]:
    """What each draft finds in the reference; None without one."""
    if reference is None or control is None:
        return [None] * len(drafts)
    with_texts = [i for i, draft in enumerate(drafts) if draft.shows is not None]
    fired: Counter[int] = Counter()
    if with_texts:
        for rollout in reference():
            fired.update(
                i for i in with_texts if (shows := drafts[i].shows) and shows(rollout.text)
            )
    known = Counter(draft.check for draft in without_model(control, honest))
    result: list[FalseAlarms | None] = []
    for i, draft in enumerate(drafts):
        if draft.shows is not None:
            result.append(FalseAlarms(fired[i], len(control), "completions", _REFERENCE))
        else:
            own = honest.of(draft.check)
            result.append(own or FalseAlarms(known[draft.check], 1, "files", _REFERENCE))
    return result


def _told(
    read: Read, corpus: Corpus, drafts: Sequence[Hint], fired: Sequence[FalseAlarms | None]
) -> list[Finding]:
    """Drafts with ids, marks and false alarms. What has no estimate of these is no finding."""
    alarms = [given or _alarms(corpus, draft) for draft, given in zip(drafts, fired, strict=True)]
    kept = [i for i, one in enumerate(alarms) if one is not None]
    by_row: dict[int, list[int]] = {}
    for i in kept:
        for row in drafts[i].rows.tolist():
            by_row.setdefault(row, []).append(i)
    texts = _Texts(drafts)
    if by_row:
        for row, rollout in enumerate(read()):
            for i in by_row.get(row, ()):
                texts.add(i, rollout)
    return [texts.finding(i, corpus, alarm) for i in kept if (alarm := alarms[i]) is not None]


def _alarms(corpus: Corpus, draft: Hint) -> FalseAlarms | None:
    """From the file's own first steps, where the pattern is absent there; else what ships."""
    if draft.first_steps is not None:
        return draft.first_steps
    steps = np.unique(corpus.step)
    steps = steps[steps != UNKNOWN]
    if draft.shows is not None and len(steps) >= _EARLY_STEPS:
        edge = max(1, len(steps) // 5)
        early = np.isin(corpus.step, steps[:edge])
        everywhere = draft.rows if draft.everywhere is None else draft.everywhere
        if early.sum() >= _EARLY_ROWS and not early[everywhere].any():
            source = f"steps {steps[0]} to {steps[edge - 1]} of the data"
            return FalseAlarms(0, int(early.sum()), "completions", source)
    own = shipped()
    return own.of(f"{draft.check}/files") or own.of(draft.check)


@dataclass(slots=True)
class _Gathered:
    ids: list[str]
    marks: list[Mark]
    shown: Counter[str]
    marked: int = 0


class _Texts:
    """What the second pass keeps of the completions that drafts point at."""

    def __init__(self, drafts: Sequence[Hint]) -> None:
        self._drafts = drafts
        self._by_draft = [_Gathered([], [], Counter()) for _ in drafts]

    def add(self, i: int, rollout: Rollout) -> None:
        gathered, spans = self._by_draft[i], self._drafts[i].spans
        gathered.ids.append(rollout.id)
        if spans is None or gathered.marked >= 10 * _MARKED:
            return
        found = spans(rollout.text)
        gathered.marked += 1
        if found:
            longest = max(found, key=lambda span: span[1] - span[0])
            gathered.shown[" ".join(rollout.text[slice(*longest)].split())[:80]] += 1
        if gathered.marked <= _MARKED:
            gathered.marks += [Mark(rollout.id, *span) for span in found]

    def finding(self, i: int, corpus: Corpus, alarms: FalseAlarms) -> Finding:
        draft, gathered = self._drafts[i], self._by_draft[i]
        most = gathered.shown.most_common(1)
        shown = repr(most[0][0]) if most else "it"
        return Finding(
            draft.check,
            draft.severity,
            draft.summary.replace("{shown}", shown),
            tuple(gathered.ids),
            tuple(gathered.marks),
            corpus.first_step(draft.rows),
            draft.strength,
            draft.p_value,
            alarms,
            draft.senders,
        )
