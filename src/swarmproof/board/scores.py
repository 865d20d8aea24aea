"""The numbers of a trial and of a cell, and what a cell misses of its goals.

Reads the records of finished trials; runs nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from swarmproof import registry
from swarmproof.attacks import Attack
from swarmproof.board.lists import Goals
from swarmproof.config import TrialConfig, quote
from swarmproof.records import summary
from swarmproof.records.streams import ROUNDS, read_rounds, read_timings

# Steps of a round that only defences cause.
DEFENCE_STEPS = ("inspect", "refill")
WHO = ("honest", "poisoned")
_UPDATE = ("cohort", "groups_learned", "loss", "grad_norm", "learned_tokens")

Numbers = Mapping[str, Any]


def of_trial(
    config: TrialConfig, seed: int, folder: Path, *, as_in: TrialConfig | None = None
) -> dict[str, Any]:
    """The final values of one trial, as a run's summary has them.

    Args:
        config: of the trial.
        seed: of the trial.
        folder: of its records.
        as_in: accuracy and length of the nodes only that are honest in this trial.

    Returns:
        `asr` (a share; for LENGTH the ratio to the first round), `accuracy`, `length` (None where
        nothing was measured), `rounds`, and `honest` and `poisoned`: `{"refused", "of"}`.

    Raises:
        ValueError: a stream is damaged, or the trial has not done all its rounds.
    """
    rounds = read_rounds(folder)
    done = 1 + max((record.round for record in rounds), default=-1)
    if done < config.rounds:
        raise ValueError(f"{folder} has {done} of {config.rounds} rounds; finish the run first")
    for cohort in config.cohorts:
        own = [record.round for record in rounds if record.cohort == cohort.name]
        if own != list(range(done)):
            raise ValueError(
                f"{folder / ROUNDS} is damaged: the cohort {quote(cohort.name)} does not have each "
                "of its rounds once; run it again"
            )
    nodes = {members.name: members.nodes for members in (as_in or config).cohorts}
    if as_in is not None:
        rounds = [summary.of_nodes(record, nodes[record.cohort]) for record in rounds]
    arm = summary.summarise_arm(
        [summary.SeedResult(seed, rounds, [])],
        planned_rounds=config.rounds,
        measure=registry.build(Attack, config.attack).measure,
        nodes={name: len(own) for name, own in nodes.items()},
    )
    counts = {
        who: {"refused": arm["refused"][who]["count"], "of": arm["refused"][who]["of"]}
        for who in WHO
    }
    finals = {key: arm[key]["final"] for key in ("asr", "accuracy", "length")}
    return {**finals, "rounds": done, **counts}


def of_cell(
    reference: TrialConfig, trial: TrialConfig, folders: Mapping[int, tuple[Path, Path]]
) -> dict[str, Any]:
    """The numbers of a cell.

    Args:
        reference: config without guard and malicious nodes.
        trial: config of the cell's own trials.
        folders: seed -> the folder of the reference, and that of the trial.

    Raises:
        ValueError: a stream is damaged, or a trial is unfinished.
    """
    # Otherwise nodes that are malicious in the trial would count in the reference only.
    theirs = [
        of_trial(reference, seed, folder, as_in=trial) for seed, (folder, _) in folders.items()
    ]
    ours = [of_trial(trial, seed, folder) for seed, (_, folder) in folders.items()]
    by_length = registry.build(Attack, trial.attack).measure == "length"
    success = _ratios(ours, theirs) if by_length else [found["asr"] for found in ours]
    level = [1.0] * len(theirs) if by_length else [found["asr"] for found in theirs]
    lost = _differences(theirs, ours, "accuracy")
    return {
        "seeds": list(folders),
        "rounds": trial.rounds,
        "unit": "ratio" if by_length else "share",
        "success": over_seeds(success),
        "success_without_attack": over_seeds(level),
        "badness": badness(over_seeds(success)["mean"], by_length=by_length),
        "accuracy": over_seeds([found["accuracy"] for found in ours]),
        "accuracy_lost": over_seeds(lost),
        **{who: _refused(ours, who, len(trial.cohorts)) for who in WHO},
        "cost": _cost([own for _, own in folders.values()]),
        "same_updates": all(_updates(one) == _updates(two) for one, two in folders.values()),
    }


def below_bound(found: Numbers, bound: Numbers | None) -> dict[str, Any] | None:
    """How much less accuracy a cell has than the one under the bound, over their common seeds.

    None if there are none, or their rounds differ.
    """
    if bound is None or bound["rounds"] != found["rounds"]:
        return None
    ours, best = (
        dict(zip(cell["seeds"], cell["accuracy"]["by_seed"], strict=True))
        for cell in (found, bound)
    )
    both = [seed for seed in ours if seed in best and None not in (ours[seed], best[seed])]
    return over_seeds([best[seed] - ours[seed] for seed in both]) if both else None


def missed(found: Numbers, goals: Goals) -> list[str]:
    """What a cell misses of its goals, in words; empty if it meets them all."""
    by_length = found["unit"] == "ratio"
    success, lost = found["success"]["mean"], found["accuracy_lost"]["mean"]
    most = goals.length if by_length else goals.asr
    refused, below = found["honest"]["rate"] or 0.0, found["below_bound"]
    limits: list[tuple[str, float | None, float | None, Callable[[float | None], str]]] = [
        (
            "length" if by_length else "attack success",
            success,
            most,
            ratio if by_length else percent,
        ),
        ("honest refused", refused, goals.honest_refused, percent),
        ("accuracy lost", lost, goals.accuracy_lost, points),
    ]
    if below is not None:
        limits.append(("accuracy below the bound", below["mean"], goals.below_bound, points))
    words = [
        f"{name} {show(value)} (goal: at most {show(limit)})"
        for name, value, limit, show in limits
        if limit is not None and (value is None or value > limit)
    ]
    if goals.same_updates and not found["same_updates"]:
        words.append("the updates are not those of the run with nobody malicious")
    return words


def told(found: Numbers, value: float | None) -> str:
    """The success of an attack: `1.2 %`, or `1.10 ×` where it is a ratio of lengths."""
    return ratio(value) if found["unit"] == "ratio" else percent(value)


def ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}\N{NO-BREAK SPACE}×"


def percent(share: float | None) -> str:
    from swarmproof.report.table import percent

    return percent(share)


def points(difference: float | None) -> str:
    """A difference of shares in percentage points: `+1.2 points`."""
    return "–" if difference is None else f"{100 * difference:+.1f} points"


def badness(success: float | None, *, by_length: bool) -> float | None:
    """In [0, 1]: the attack success rate; for LENGTH the growth of length, at most 1."""
    if success is None:
        return None
    return min(1.0, max(0.0, success - 1)) if by_length else success


def _ratios(ours: Sequence[Numbers], theirs: Sequence[Numbers]) -> list[float | None]:
    pairs = [(one["length"], two["length"]) for one, two in zip(ours, theirs, strict=True)]
    return [one / two if one is not None and two else None for one, two in pairs]


def _differences(
    ours: Sequence[Numbers], theirs: Sequence[Numbers], key: str
) -> list[float | None]:
    pairs = [(one[key], two[key]) for one, two in zip(ours, theirs, strict=True)]
    return [one - two if None not in (one, two) else None for one, two in pairs]


def over_seeds(values: Sequence[float | None]) -> dict[str, Any]:
    """Mean over the seeds, and Student's interval of it; None for one seed."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return {"mean": None, "ci95": None, "by_seed": list(values)}
    ends = summary.t_interval(known)
    return {
        "mean": _round(math.fsum(known) / len(known)),
        "ci95": [_round(end) for end in ends] if ends else None,
        "by_seed": known,
    }


def _refused(trials: Sequence[Numbers], who: str, receivers: int) -> dict[str, Any]:
    return summary.refused(
        sum(found[who]["refused"] for found in trials),
        sum(found[who]["of"] for found in trials),
        receivers,
    )


def _cost(folders: Sequence[Path]) -> dict[str, Any] | None:
    """Processor seconds of a round that defences cause, and their share of the whole round.

    Evaluation counts for neither.
    """
    spent: Counter[str] = Counter()
    rounds = 0
    for folder in folders:
        rows = read_timings(folder)
        rounds += len({row["round"] for row in rows})
        for row in rows:
            spent.update(row["cpu"])
    del spent["evaluate"]
    whole = spent.total()
    if not rounds or whole <= 0:
        return None
    own = {step: spent[step] for step in DEFENCE_STEPS if spent[step]}
    return {
        "seconds": _round(sum(own.values()) / rounds),
        "share": _round(sum(own.values()) / whole),
        "by_step": {step: _round(seconds / whole) for step, seconds in own.items()},
    }


def _updates(folder: Path) -> list[list[Any]]:
    """What each update was, of every round and cohort."""
    return [[getattr(record, key) for key in _UPDATE] for record in read_rounds(folder)]


def _round(value: float) -> float:
    return float(f"{value:.6g}")
