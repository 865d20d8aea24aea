"""What a scan found, ready to be shown or written: findings, excerpts of texts, what to drop.

Texts, names and reasons are hostile. Here they are data; each way of showing them makes them safe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from swarmproof.records.summary import wilson_interval
from swarmproof.scan.finding import FalseAlarms, Finding, Severity
from swarmproof.scan.readers import run_folder
from swarmproof.scan.rollout import Rollout
from swarmproof.scan.source import Source, Tally

SEVERITIES: tuple[Severity, ...] = ("high", "medium", "low")
SCHEMA = 1
EXCERPTS = 4  # of a finding
_AROUND = 90  # characters on each side of a mark
_WINDOWS = 4  # of an excerpt
_PROMPT = 300  # characters
_PLAIN = 400  # characters of a text without marks

Parts = tuple[tuple[str, bool], ...]  # pieces of a text, and whether they are marked


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A piece of a completion, with what a finding points at."""

    id: str
    where: str
    step: int | None
    sender: str | None
    reward: float | None
    prompt: str  # its beginning
    parts: Parts


@dataclass(frozen=True, slots=True)
class Flag:
    """A completion to drop, and why: a line of `flags.jsonl`."""

    id: str
    where: str
    step: int | None
    group: str | None
    sender: str | None
    severity: Severity  # the worst
    checks: tuple[str, ...]
    why: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """A finding with what is shown of it."""

    finding: Finding
    excerpts: tuple[Excerpt, ...]
    by_step: Mapping[int, int]  # how many of its completions are of each step


@dataclass(frozen=True, slots=True)
class Scanned:
    """A whole scan."""

    paths: tuple[str, ...]
    source: Source
    tally: Tally
    shown: tuple[Shown, ...]  # the most severe first
    flags: tuple[Flag, ...]  # in the order of the files
    notes: tuple[str, ...]

    def fails(self, at: Severity) -> bool:
        """Whether a finding is at least as severe as this."""
        limit = SEVERITIES.index(at)
        return any(SEVERITIES.index(each.finding.severity) <= limit for each in self.shown)


def explain(
    read: Callable[[], Iterator[Rollout]], findings: Sequence[Finding]
) -> tuple[tuple[Shown, ...], tuple[Flag, ...]]:
    """Look the found completions up in the files, which are read once more for that.

    Args:
        read: the rollouts that were checked.
        findings: what was found in them.

    Returns:
        The findings, the most severe first, and a flag for each completion in any of them.
    """
    ordered = sorted(findings, key=lambda each: SEVERITIES.index(each.severity))
    if not ordered:
        return (), ()
    of_id = _by_id(ordered)
    gathered = [_Gathered(finding) for finding in ordered]
    flags = []
    for rollout in read():
        indices = of_id.get(rollout.id, ())
        for index in indices:
            gathered[index].add(rollout)
        if indices:
            flags.append(_flag(rollout, [ordered[index] for index in indices]))
    return tuple(each.shown() for each in gathered), tuple(flags)


def _by_id(findings: Sequence[Finding]) -> dict[str, list[int]]:
    """The findings that each completion is in."""
    of_id: dict[str, list[int]] = {}
    for index, finding in enumerate(findings):
        for id_ in finding.ids:
            of_id.setdefault(id_, []).append(index)
    return of_id


class _Gathered:
    """What is kept of the completions of one finding."""

    def __init__(self, finding: Finding) -> None:
        self._finding, self._chosen = finding, _chosen(finding)
        self._excerpts: dict[str, Excerpt] = {}
        self._by_step: dict[int, int] = {}

    def add(self, rollout: Rollout) -> None:
        if rollout.step is not None:
            self._by_step[rollout.step] = self._by_step.get(rollout.step, 0) + 1
        if rollout.id in self._chosen:
            self._excerpts[rollout.id] = _excerpt(rollout, self._finding)

    def shown(self) -> Shown:
        excerpts = tuple(self._excerpts[id_] for id_ in self._chosen if id_ in self._excerpts)
        return Shown(self._finding, excerpts, dict(sorted(self._by_step.items())))


def _chosen(finding: Finding) -> list[str]:
    """The completions to show: those with marks, then others."""
    ids = dict.fromkeys([*(mark.id for mark in finding.marks), *finding.ids[:EXCERPTS]])
    return list(ids)[:EXCERPTS]


def _excerpt(rollout: Rollout, finding: Finding) -> Excerpt:
    marks = sorted((mark.start, mark.end) for mark in finding.marks if mark.id == rollout.id)
    return Excerpt(
        id=rollout.id,
        where=rollout.where,
        step=rollout.step,
        sender=rollout.sender,
        reward=rollout.reward,
        prompt=rollout.prompt[:_PROMPT] + ("…" if len(rollout.prompt) > _PROMPT else ""),
        parts=cut(rollout.text, marks),
    )


def cut(text: str, marks: Sequence[tuple[int, int]]) -> Parts:
    """The surroundings of the first marks; the beginning of a text without marks.

    Args:
        text: of a completion.
        marks: sorted, in characters.
    """
    if not marks:
        return ((text[:_PLAIN], False), *((("…", False),) if len(text) > _PLAIN else ()))
    parts: list[tuple[str, bool]] = []
    at = 0
    for start, end in _merged(marks)[:_WINDOWS]:
        begin = max(at, start - _AROUND)
        if begin > at:
            # The end of the window before, then a gap.
            tail = min(at + _AROUND, begin) if at else 0
            parts += [(text[at:tail], False)] if at else []
            parts += [(" … ", False)] if begin > tail else []
        parts += [(text[begin:start], False), (text[start:end], True)]
        at = end
    rest = text[at : at + _AROUND] + (" …" if at + _AROUND < len(text) else "")
    return tuple((piece, marked) for piece, marked in [*parts, (rest, False)] if piece)


def _merged(marks: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in marks:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _flag(rollout: Rollout, findings: Sequence[Finding]) -> Flag:
    return Flag(
        id=rollout.id,
        where=rollout.where,
        step=rollout.step,
        group=rollout.group,
        sender=rollout.sender,
        severity=min((each.severity for each in findings), key=SEVERITIES.index),
        checks=tuple(dict.fromkeys(each.check for each in findings)),
        why=tuple(dict.fromkeys(each.summary for each in findings)),
    )


def notes(
    source: Source, tally: Tally, model: str | None, *, reference: bool = False
) -> tuple[str, ...]:
    """What a reader must know of the files to judge the findings."""
    found = []
    without = tally.completions - tally.with_ids
    if model is not None and without:
        found.append(
            f"{without:,} of {tally.completions:,} completions came without token ids. Their text "
            f"was tokenised again with {model}. These are not the ids that were trained on."
        )
    if model is not None and not reference:
        found.append(
            "Without --reference, what the model refuses is compared with the first steps and with "
            "other senders. It misses poison of all senders that is as common in the first steps."
        )
    if not tally.with_reward:
        found.append("The files have no rewards. Rewarded completions could not be told apart.")
    if not tally.steps:
        found.append("The files have no steps. Nothing can be said about change over time.")
    if not tally.senders:
        found.append("The files name no senders. Senders were not compared.")
    if tally.refused:
        found.append(
            f"{tally.refused:,} completions were refused by a guard already, as the files say."
        )
    trials = source.formats.get(run_folder.NAME, 0)
    if trials > 1:
        found.append(
            f"The run folder has {trials} trials, whose steps are counted together. Scan "
            "RUN/trials/ARM/seed-N to see one alone."
        )
    if source.skipped:
        found.append(f"{len(source.skipped):,} files in the folders were not read.")
    return tuple(found)


def heading(outcome: Scanned) -> str:
    """One sentence: what was read, and how much was found."""
    tally = outcome.tally
    parts = [f"{tally.completions:,} completions"]
    if tally.steps:
        parts.append(f"steps {min(tally.steps):,} to {max(tally.steps):,}")
    if tally.senders:
        parts.append(f"{len(tally.senders):,} senders")
    count = len(outcome.shown)
    told = f"{count} finding{'s' * (count != 1)}" if count else "Nothing found"
    return f"{told} in {', '.join(parts)}."


def false_alarms(found: FalseAlarms) -> str:
    """How often a check fires on honest data, with its 95 % interval and its source."""
    if not found.of:
        return f"not known: there is no honest data ({found.source})"
    interval = wilson_interval(found.fired, found.of)
    assert interval is not None
    low, high = (100 * end for end in interval)
    return (
        f"{found.fired:,} of {found.of:,} {found.unit} "
        f"({100 * found.fired / found.of:.1f} %, 95 % interval {low:.1f} to {high:.1f}): "
        f"{found.source}"
    )


def as_table(outcome: Scanned) -> dict[str, Any]:
    """The scan as values for JSON. `docs/scan.md` explains the keys."""
    tally = outcome.tally
    return {
        "schema": SCHEMA,
        "paths": list(outcome.paths),
        "files": [{"path": str(f.source.path), "format": f.format} for f in outcome.source.files],
        "skipped": list(outcome.source.skipped),
        "completions": tally.completions,
        "with_token_ids": tally.with_ids,
        "with_reward": tally.with_reward,
        "refused_already": tally.refused,
        "steps": sorted(tally.steps),
        "senders": sorted(tally.senders),
        "notes": list(outcome.notes),
        "findings": [
            asdict(each.finding) | {"by_step": {str(k): n for k, n in each.by_step.items()}}
            for each in outcome.shown
        ],
    }
