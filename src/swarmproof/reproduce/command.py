"""The parts of `swarmproof reproduce` before and after the trials: figures, estimates, results.

This module starts no process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from swarmproof.config import TrialConfig
from swarmproof.engines import local
from swarmproof.measure.judge_eval import JudgeEval
from swarmproof.records.folder import write_json
from swarmproof.registry import did_you_mean
from swarmproof.report.progress import telling
from swarmproof.reproduce import estimate, figures, runner
from swarmproof.reproduce.figures import Acceptance, Curves, Figure, LeftOut
from swarmproof.reproduce.page import numbers, outcomes
from swarmproof.reproduce.runner import Plan
from swarmproof.reproduce.store import Store
from swarmproof.reproduce.timing import Timing, side_by_side

Found = Mapping[str, Mapping[str, Any]]


def choose(wanted: Sequence[str], scale: str) -> list[Figure]:
    """The requested figures of a scale, in the order given. `all` stands for all of the scale.

    Raises:
        ValueError: an unknown figure or scale (the message suggests known ones), or a figure that
            this scale leaves out.
    """
    known = {each: each for each in figures.SCALES}
    if scale not in known:
        raise ValueError(f"--scale {scale!r}{did_you_mean(scale, known)}")
    every = figures.names(known[scale])
    names = [name for word in wanted for name in (every if word == "all" else [word])]
    chosen = [figures.read(name, known[scale]) for name in dict.fromkeys(names)]
    for figure in chosen:
        if isinstance(figure, LeftOut) and figure.name in wanted:
            raise ValueError(f"{figure.name}: {figure.reason}")
    return chosen


def finish(
    plan: Plan, store: Store, export: Path | None, *, quiet: bool = False
) -> dict[str, dict[str, Any]]:
    """Measure and draw every figure; with `export`, also write its JSON there."""
    found = {}
    with telling("drawing", quiet=quiet) as tell:
        for figure in plan.figures:
            tell(figure.name)
            result = runner.finish(figure, plan, store, tell)
            if result is not None:
                found[figure.name] = result
                if export is not None:
                    path = export / figure.scale / f"{figure.name}.json"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write_json(path, result)
    return found


def table(chosen: Iterable[Figure], found: Found) -> Table:
    """The measured numbers of each figure, and whether they agree with each criterion."""
    shown = Table(box=None, pad_edge=False)
    for heading in ("figure", "measured", "agrees with the paper?"):
        shown.add_column(heading)
    for figure in chosen:
        if isinstance(figure, LeftOut):
            shown.add_row(figure.label, "left out", Text(figure.reason))
            continue
        result = found[figure.name]
        words = [f"{each.word}: {each.text}" for each in outcomes(figure, result)]
        told = Text("\n".join(numbers(figure, result)))
        shown.add_row(figure.label, told, Text("\n".join(words)))
    return shown


@dataclass(frozen=True, slots=True)
class _Work:
    """What one figure takes, beyond what those before it take."""

    line: str
    configs: Sequence[TrialConfig] | Sequence[JudgeEval] = ()
    takes: Sequence[estimate.Cost] = ()
    times: Sequence[int] = ()  # how often each is to be done
    here: Sequence[float | None] = ()  # seconds of each on this machine, where it was timed
    warmup_hours: float = 0.0
    warmup_seconds: float = 0.0  # on this machine

    @property
    def hours(self) -> float:
        pairs = zip(self.times, self.takes, strict=True)
        return self.warmup_hours + sum(n * (take.hours or 0) for n, take in pairs)

    @property
    def seconds_here(self) -> list[float]:
        """Of every trial that is to be done and was timed."""
        return [
            seconds
            for n, seconds in zip(self.times, self.here, strict=False)
            for _ in range(n)
            if seconds is not None
        ]

    @property
    def unknown(self) -> int:
        """How many have no estimate."""
        here = self.here or [None] * len(self.takes)
        return sum(
            take.hours is None and seconds is None
            for take, seconds in zip(self.takes, here, strict=True)
        )


def _work(plan: Plan, figure: Figure, seen: set[str], timing: Timing) -> _Work:
    """The work of a figure; its trials and warm-ups are then in `seen`."""
    if isinstance(figure, Curves):
        rows = plan.keys(figure.name).values()
        new = [len(set(row) - seen) for row in rows]
        keys = {key for row in rows for key in row}
        shared = len(keys & seen)
        seen |= keys
        configs = [arm.trial for arm in plan.arms[figure.name].values()]
        line = f"trials: {len(keys)}" + (f", {shared} shared with those above" * (shared > 0))
        takes = [estimate.of_trial(config) for config in configs]
        here = [
            timing.seconds(config) if take.hours is None else None
            for config, take in zip(configs, takes, strict=True)
        ]
        warm = list(estimate.new_warmups(configs, seen))
        hours, seconds = map(estimate.warmup_hours, warm), map(timing.warmup_seconds, warm)
        return _Work(line, configs, takes, new, here, sum(hours), sum(seconds))
    if isinstance(figure, Acceptance):
        judges = list(figure.evaluations().values())
        takes = [estimate.of_judge(config, len(figure.variants)) for config in judges]
        line = f"judges: {len(judges)}, by {len(figure.variants)} variants"
        return _Work(line, judges, takes, [1] * len(takes))
    return _Work(figure.reason if isinstance(figure, LeftOut) else "no trials")


def _costs(work: _Work) -> Iterator[str]:
    yield f"  fetches: {', '.join(estimate.fetches(work.configs)) or 'nothing'}"
    for name in estimate.to_add(work.configs):
        yield f"  first: swarmproof zoo add {name}"
    memory = [take.memory_gb for take in work.takes if take.memory_gb is not None]
    if memory and work.hours:
        yield f"  GPU: up to {max(memory):.0f} GB, {work.hours:.1f} hours"
    elif memory:
        yield f"  memory: up to {max(memory):.1f} GB a trial"
    if any(seconds is not None for seconds in work.here):
        yield f"  this machine: {_minutes(_one_by_one(work))}, one trial at a time"
    if work.unknown:
        yield f"  no estimate for {work.unknown} of {len(work.takes)}"


def _one_by_one(work: _Work) -> float:
    return work.warmup_seconds + sum(work.seconds_here)


def _minutes(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


def dry_run(plan: Plan, timing: Timing | None = None, jobs: int | None = None) -> Iterator[str]:
    """Downloads and compute of every figure, as lines of text. Nothing is downloaded or written.

    A trial that several figures share counts only for the first of them.

    Args:
        plan: of the figures.
        timing: times trials of models that need no download.
        jobs: trials at once on this machine; one per core if None.
    """
    timing = timing or Timing()
    seen: set[str] = set()
    total, warm = 0.0, 0.0
    here: list[float] = []
    for figure in plan.figures:
        yield f"{figure.label}: {figure.title}"
        work = _work(plan, figure, seen, timing)
        yield f"  {work.line}"
        if work.takes:
            yield from _costs(work)
        total += work.hours
        here += work.seconds_here
        warm += work.warmup_seconds  # made before the first trial starts
    yield f"{len(plan.trials)} trials in total" + (f", {total:.0f} GPU hours" * (total > 0))
    if total:
        yield from estimate.ASSUMPTIONS
    if here:
        jobs = jobs or local.default_jobs(len(here))
        at_once = f"{jobs} trials at once" if jobs > 1 else "one trial at a time"
        yield (
            f"This machine: about {_minutes(warm + side_by_side(here, jobs))} with {at_once}, "
            f"{_basis(timing)}." + " Side by side they are slower." * (jobs > 1)
        )


def _basis(timing: Timing) -> str:
    """What the estimates of this machine rest on."""
    found = []
    if timing.measured:
        kinds = timing.measured + timing.guessed
        found.append(
            f"by the first rounds of {timing.measured} of {kinds} kinds of trials, each timed "
            "alone, with the machine as busy as it is now"
        )
    if timing.computed:
        found.append(
            "by FLOPs over the rate of matrix products on one core, and what SmolLM2-135M reaches "
            "of it (all groups learnt from; completions of usual length; each warm-up once)"
        )
    return "; ".join(found)
