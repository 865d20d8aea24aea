"""What an entry is worth after one of its seeds was run again: reproduced, agrees, or claimed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from swarmproof.board import scores
from swarmproof.board.entry import Entry, EntryNumbers, EntryTrial, hashes
from swarmproof.board.lists import checked
from swarmproof.records.folder import trial_folder
from swarmproof.records.versions import versions
from swarmproof.swarm.trial import Trial

Word = Literal["reproduced", "agrees", "claimed"]
METRICS = ("asr", "accuracy", "length")


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of a check."""

    word: Word
    reasons: tuple[str, ...]  # what differs; empty if nothing does


def seed_of(entry: Entry, seed: int | None) -> int:
    """The seed to run: the given one, or the first of the entry.

    Raises:
        ValueError: the entry does not have it.
    """
    seeds = entry.experiment.seeds
    if seed is not None and seed not in seeds:
        raise ValueError(f"--seed {seed}: the entry has {', '.join(map(str, seeds))}")
    return seeds[0] if seed is None else seed


def trials(entry: Entry, seed: int, folder: Path) -> list[Trial]:
    """The trials to run, every arm with one seed, in folders below `folder`."""
    return [
        Trial(entry.experiment.name, arm, seed, config, trial_folder(folder, arm, seed))
        for arm, config in entry.config.arms.items()
    ]


def compare(entry: Entry, ran: Sequence[Trial]) -> Checked:
    """What the entry is worth, given its finished trials.

    `reproduced`: the same bytes, and the numbers that follow from them. `agrees`: each number is
    within the 95 % interval of the entry for one more seed (Student's t), which needs two seeds.
    """
    claims = {(claim.arm, claim.seed): claim for claim in entry.trials}
    pairs = [(claims[trial.arm, trial.seed], trial) for trial in ran]
    differing = [why for claim, trial in pairs for why in _differing(claim, trial)]
    if not differing:
        return Checked("reproduced", ())
    others = [
        f"{key} {here.get(key)} (entry: {made})"
        for here in (versions(),)
        for key, made in entry.versions.items()
        if here.get(key) != made
    ]
    if others:
        differing.append(f"made with other versions: {', '.join(others)}")
    outside = [why for claim, trial in pairs for why in _outside(entry, claim, trial)]
    if outside:
        return Checked("claimed", (*differing, *outside))
    return Checked("agrees", tuple(differing))


def _differing(claim: EntryTrial, trial: Trial) -> Iterator[str]:
    """The files and numbers of a trial that are not those of the claim."""
    for name, digest in hashes(trial.folder).items():
        if claim.sha256[name] != digest:  # type: ignore[index]
            yield f"{trial.arm}: other bytes in {name}"
    found = _numbers(trial)
    for key in EntryNumbers.model_fields:
        here, there = getattr(found, key), getattr(claim.numbers, key)
        if here != there:
            yield f"{trial.arm}: {key} is {_told(here)}, and the entry says {_told(there)}"


def _outside(entry: Entry, claim: EntryTrial, trial: Trial) -> Iterator[str]:
    found = _numbers(trial)
    for key in METRICS:
        claimed = [getattr(t.numbers, key) for t in entry.trials if t.arm == claim.arm]
        value = getattr(found, key)
        if value is None and not any(each is not None for each in claimed):
            continue
        ends = None if None in claimed else prediction_interval(claimed)
        if ends is None:
            yield f"{trial.arm}: {key} has no interval, which needs two seeds"
        elif value is None or not ends[0] <= value <= ends[1]:
            yield (f"{trial.arm}: {key} is {_told(value)}, outside {ends[0]:.6g} to {ends[1]:.6g}")


def prediction_interval(
    values: Sequence[float], confidence: float = 0.95
) -> tuple[float, float] | None:
    """Student's interval for one more value like these; None for fewer than two."""
    n = len(values)
    if n < 2:
        return None
    from scipy import special

    mean = math.fsum(values) / n
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    half = float(special.stdtrit(n - 1, (1 + confidence) / 2)) * math.sqrt(variance * (1 + 1 / n))
    return mean - half, mean + half


def _numbers(trial: Trial) -> EntryNumbers:
    found = scores.of_trial(trial.config, trial.seed, trial.folder)
    return checked(EntryNumbers, found, trial.arm)


def _told(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    refused, of = getattr(value, "refused", None), getattr(value, "of", None)
    return str(value) if of is None else f"{refused:,} of {of:,} refused"
