"""Checks that need a model: what a guard with the model that sampled, or with a judge, refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from swarmproof.guard.guard import Guard
from swarmproof.scan.baselines import Honest
from swarmproof.scan.chance import LEVEL, corrected, middle, percent, tail, upper
from swarmproof.scan.corpus import UNKNOWN, Corpus
from swarmproof.scan.finding import FalseAlarms, Severity
from swarmproof.scan.hint import Hint
from swarmproof.scan.rollout import Rollout
from swarmproof.scan.words import ENOUGH_SENDERS, LEAST_RATIO
from swarmproof.types import Group

_GROUPS = 64  # in one call of the guard
_SEVERITY: Mapping[str, Severity] = {"logit": "high", "judge": "medium"}


@dataclass(slots=True)
class Rejected:
    """What each defence refused."""

    rows: dict[str, list[int]]
    retokenised: int = 0  # completions without the ids that were trained on


def refused(
    read: Callable[[], Iterator[Rollout]], corpus: Corpus, model: str | None, *, judge: bool
) -> Rejected:
    """Ask a guard about every completion, group by group.

    Args:
        read: the rollouts of the corpus, in its order.
        corpus: their groups.
        model: the model that sampled them: a zoo name, a folder or a hub id.
        judge: ask the tiny judge as well.

    Raises:
        ValueError: the model cannot be used.
    """
    names = [*(["logit", "surprise"] if model else []), *(["judge"] if judge else [])]
    guard = Guard(
        [{"name": name, "on_reject": "monitor"} for name in names], model=model,
        sampling={"max_new_tokens": 1 << 15},
    )  # fmt: skip
    found = Rejected({name: [] for name in names})
    left = np.bincount(corpus.group)  # rows of each group that are still to come
    waiting: dict[int, list[tuple[int, Rollout]]] = {}
    whole: list[list[tuple[int, Rollout]]] = []
    for row, rollout in enumerate(read()):
        group = int(corpus.group[row])
        waiting.setdefault(group, []).append((row, rollout))
        left[group] -= 1
        if not left[group]:
            whole.append(waiting.pop(group))
            if len(whole) == _GROUPS:
                _ask(guard, whole, corpus, found)
                whole = []
    if whole:
        _ask(guard, whole, corpus, found)
    return found


def _ask(
    guard: Guard, groups: list[list[tuple[int, Rollout]]], corpus: Corpus, found: Rejected
) -> None:
    asked = [_group([rollout for _, rollout in members], found) for members in groups]
    rewards = [[float(max(0, corpus.good[row])) for row, _ in members] for members in groups]
    seen = guard(asked, rewards)
    for members, samples in zip(groups, seen.samples, strict=True):
        for (row, _), sample in zip(members, samples, strict=True):
            for verdict in sample.verdicts:
                if verdict.accepted is False and verdict.defense in found.rows:
                    found.rows[verdict.defense].append(row)


def _group(rollouts: list[Rollout], found: Rejected) -> Group:
    """A group with the ids of the file, where it has those of every completion."""
    given = [tokens for one in rollouts if (tokens := one.token_ids) is not None]
    whole = len(given) == len(rollouts)
    found.retokenised += 0 if whole else len(rollouts)
    return Group.of(rollouts[0].prompt, [r.text for r in rollouts], given if whole else None)


def screen(corpus: Corpus, found: Rejected, honest: Honest) -> Iterator[Hint]:
    """Defences that refused more than they refuse of honest completions.

    Without a reference the first fifth of the steps is the comparison, and after that the other
    senders: a threshold of one model says nothing about another.
    """
    for name, listed in found.rows.items():
        rows = np.array(sorted(listed), np.int64)
        counted, early = np.ones(len(corpus), bool), _early(corpus)
        rate, known = honest.upper(name), None
        if not honest.given and early is not None:
            counted = ~early
            first = int(early[rows].sum())
            rate = upper(first, int(early.sum()))
            last = int(corpus.step[early].max())
            source = f"steps {int(corpus.step[early].min())} to {last} of the data"
            known = FalseAlarms(first, int(early.sum()), "completions", source)
        own = rows[counted[rows]] if len(rows) else rows
        p = corrected(float(tail(len(own), int(counted.sum()), rate)), len(found.rows))
        if len(own) >= 3 and p < LEVEL:
            again = (
                f"; {found.retokenised} completions have no ids, and were tokenised again: these "
                "are not the ids that were trained on"
                if found.retokenised and name != "judge"
                else ""
            )
            yield Hint(
                name,
                _SEVERITY.get(name, "medium"),
                f"{name} refuses {len(own)} completions",
                own,
                f"{percent(len(own), counted.sum())} of {int(counted.sum())}{again}",
                p,
                first_steps=known,
            )
        elif not honest.given:
            yield from _by_sender(corpus, name, rows)


def _by_sender(corpus: Corpus, name: str, rows: np.ndarray) -> Iterator[Hint]:
    """Senders of whom a defence refuses far more than of the others.

    A problem counts once for each sender, because completions of one problem are alike.
    """
    kinds = len(corpus.senders)
    unit = corpus.group * np.int64(kinds + 1) + corpus.sender

    def problems(of: np.ndarray) -> np.ndarray:
        own = of[corpus.sender[of] != UNKNOWN]
        _, first = np.unique(unit[own], return_index=True)
        return np.bincount(corpus.sender[own[first]], minlength=kinds)

    every, hit = problems(np.arange(len(corpus))), problems(rows)
    known = np.flatnonzero(every >= 20)
    if len(known) < ENOUGH_SENDERS:
        return
    for i, s in enumerate(known):
        rate = middle(np.delete((hit[known] + 0.5) / (every[known] + 1), i))
        p = corrected(float(tail(hit[s], every[s], rate)), len(known))
        if p >= LEVEL or hit[s] < LEAST_RATIO * rate * every[s]:
            continue
        own = rows[corpus.sender[rows] == s]
        others = int(((corpus.sender != s) & (corpus.sender != UNKNOWN)).sum())
        theirs = int(((corpus.sender[rows] != s) & (corpus.sender[rows] != UNKNOWN)).sum())
        sent = int((corpus.sender == s).sum())
        yield Hint(
            name,
            _SEVERITY.get(name, "medium"),
            f"{name} refuses {len(own)} completions of one sender, and few of the others",
            own,
            f"{percent(len(own), sent)} of its {sent}, {percent(theirs, others)} of {others} of "
            "the others",
            p,
            (corpus.senders[s],),
            first_steps=FalseAlarms(theirs, others, "completions", "the other senders of the data"),
        )


def _early(corpus: Corpus) -> np.ndarray | None:
    steps = np.unique(corpus.step)
    steps = steps[steps != UNKNOWN]
    if len(steps) < 5:
        return None
    early: np.ndarray = np.isin(corpus.step, steps[: max(1, len(steps) // 5)])
    return early if early.sum() >= 20 else None
