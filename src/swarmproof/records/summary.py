"""Results computed from the records of an arm: means, intervals, rates of refusal.

Pure functions of `RoundRecord`s; no file, no model. docs/metrics.md defines every number.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from swarmproof.attacks.base import Measure
from swarmproof.types import NodeId, RoundRecord

# The final value of a metric is its mean over this many last iterations.
FINAL_ITERATIONS = 10

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class SeedResult:
    """The records of one arm with one seed."""

    seed: int
    rounds: Sequence[RoundRecord]
    timings: Sequence[Mapping[str, Any]]  # {"round", "cohort", "seconds": {step: seconds}}


def wilson_interval(count: float, of: float, confidence: float = 0.95) -> Interval | None:
    """Wilson's score interval of a share `count / of`; None if `of` is 0.

    It is valid at 0 and 1, where the normal interval has no width: E. B. Wilson, "Probable
    inference", JASA 22 (1927).

    Raises:
        ValueError: not 0 <= count <= of.
    """
    if not 0 <= count <= of:
        raise ValueError(f"{count} of {of} is not a share")
    if of == 0:
        return None
    from scipy import special  # imported here, because reading a run does not need it

    z = float(special.ndtri((1 + confidence) / 2))
    share = count / of
    scale = 1 + z * z / of
    centre = (share + z * z / (2 * of)) / scale
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of)) / scale
    # The ends are set to exactly 0 and 1, because rounding would leave 1e-17.
    return (0.0 if count == 0 else centre - half, 1.0 if count == of else centre + half)


def t_interval(values: Sequence[float], confidence: float = 0.95) -> Interval | None:
    """Student's interval of the mean of independent values; None for fewer than two."""
    n = len(values)
    if n < 2:
        return None
    from scipy import special

    mean = math.fsum(values) / n
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    half = float(special.stdtrit(n - 1, (1 + confidence) / 2)) * math.sqrt(variance / n)
    return mean - half, mean + half


def metric(
    by_seed: Sequence[Mapping[int, float]], *, num_iterations: int, share: bool
) -> dict[str, Any]:
    """Summary of one metric over the iterations of several seeds: M in docs/metrics.md.

    Args:
        by_seed: for each seed, iteration -> value; iterations without a value are left out.
        num_iterations: length of `by_iteration`.
        share: the metric lies in [0, 1], so its interval is cut to that range. The interval of any
            other metric is cut at 0.

    Returns:
        `first`, `final`, `by_iteration` (None where no seed has a value), `ci95`, `ci95_over`.
        A seed's final value is the mean of its values in the 10 iterations that end with its
        last one. One seed has no interval: neighbouring iterations are not independent, and on a
        rising curve their spread is the slope.
    """
    by_seed = [_finite(values) for values in by_seed]
    at = [[values[i] for values in by_seed if i in values] for i in range(num_iterations)]
    by_iteration = [_mean(values) for values in at]
    tails = [_tail(values) for values in by_seed if values]
    finals = [math.fsum(tail) / len(tail) for tail in tails]
    interval = t_interval(finals)
    if interval:
        # No metric here is negative: shares, lengths and ratios of lengths.
        interval = max(0.0, interval[0]), min(1.0, interval[1]) if share else interval[1]
    return {
        "first": next((value for value in by_iteration if value is not None), None),
        "final": _round(_mean(finals)),
        "by_iteration": by_iteration,
        "ci95": [_round(end) for end in interval] if interval else [None, None],
        "ci95_over": "seeds" if interval else None,
    }


def refused(count: int, of: int, receivers: int = 1) -> dict[str, Any]:
    """Number of refusals, their share and its interval (None if there was nothing to refuse).

    Args:
        receivers: how many models each completion was counted for. They read the same text, so the
            interval takes it for one.
    """
    interval = wilson_interval(count / receivers, of / receivers)
    return {
        "count": count,
        "of": of,
        "rate": _round(count / of) if of else None,
        "ci95": [_round(end) for end in interval] if interval else [None, None],
        **({"receivers": receivers} if receivers > 1 else {}),
    }


def length_growth(rounds: Sequence[RoundRecord]) -> list[RoundRecord]:
    """The rounds of a trial; their ASR is the mean length divided by that of the first round.

    For attacks that are measured by length. Each cohort is compared with its own first round.
    """
    first = {record.cohort: record.length for record in reversed(rounds)}
    return [
        replace(record, asr=record.length / first[record.cohort] if first[record.cohort] else None)
        for record in rounds
    ]


def of_nodes(record: RoundRecord, nodes: Sequence[NodeId]) -> RoundRecord:
    """The record with reward and length of some of the nodes."""
    counts = [record.by_node[str(node)] for node in nodes]
    number = sum(count["completions"] for count in counts)
    return replace(
        record,
        reward=sum(count["rewarded"] for count in counts) / number,
        length=sum(count["tokens"] for count in counts) / number,
    )


def summarise_arm(
    trials: Sequence[SeedResult],
    *,
    planned_rounds: int,
    measure: Measure = "completions",
    nodes: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """One arm of `summary.json`. Trials may be unfinished, but each needs at least one round.

    Args:
        measure: how the success of the attack is measured; the ASR of a length is a ratio.
        nodes: number of nodes of each cohort, by name; the weights of a mean over cohorts.
    """
    if measure == "length":
        trials = [replace(trial, rounds=length_growth(trial.rounds)) for trial in trials]
    done = {trial.seed: 1 + max(record.round for record in trial.rounds) for trial in trials}
    cohorts = list(dict.fromkeys(r.cohort for trial in trials for r in trial.rounds))
    weights = nodes or dict.fromkeys(cohorts, 1)

    def numbers(trials: Sequence[SeedResult]) -> dict[str, Any]:
        return _numbers(trials, max(done.values()), weights, is_share=measure != "length")

    models = {}
    if len(cohorts) > 1:
        models = {"models": {name: numbers(_of_cohort(trials, name)) for name in cohorts}}
    return {
        **numbers(trials),
        **_seconds(trials),
        "seeds": [trial.seed for trial in trials],
        "rounds": max(done.values()),
        "unfinished_seeds": [seed for seed, rounds in done.items() if rounds < planned_rounds],
        **models,
    }


def _of_cohort(trials: Sequence[SeedResult], name: str) -> list[SeedResult]:
    """The rounds of one cohort; the last round of a killed trial may be missing."""
    return [
        replace(trial, rounds=own)
        for trial in trials
        if (own := [record for record in trial.rounds if record.cohort == name])
    ]


def _numbers(
    trials: Sequence[SeedResult], num_iterations: int, weights: Mapping[str, int], *, is_share: bool
) -> dict[str, Any]:
    """The metrics that are reported for a swarm, and also for the nodes of each model."""
    records = [record for trial in trials for record in trial.rounds]

    def course(value: Callable[[RoundRecord], float | None], share: bool) -> dict[str, Any]:
        by_seed = [_by_round(trial.rounds, value, weights) for trial in trials]
        return metric(by_seed, num_iterations=num_iterations, share=share)

    receivers = max(1, len({record.cohort for record in records}))
    wide, heldout_wide = {}, {}
    if any(record.asr_wide is not None for record in records):
        wide = {"asr_wide": course(lambda record: record.asr_wide, True) | {"unit": "share"}}
        heldout_wide = {"asr_wide": course(lambda record: record.heldout_asr_wide, True)}
    return {
        "asr": course(lambda record: record.asr, is_share)
        | {"unit": "share" if is_share else "ratio"},
        **wide,
        "accuracy": course(lambda record: record.reward, True),
        "length": course(lambda record: record.length, False),
        "refused": {
            "poisoned": refused(
                sum(r.poisoned_refused for r in records),
                sum(r.poisoned for r in records),
                receivers,
            ),
            "honest": refused(
                sum(r.honest_refused for r in records), sum(r.honest for r in records), receivers
            ),
        },
        "by_defense": _by_defense(records),
        **_lost(records),
        "heldout": {
            "accuracy": course(lambda record: record.heldout_accuracy, True),
            "asr": course(lambda record: record.heldout_asr, True),
            **heldout_wide,
        },
    }


def _by_round(
    records: Sequence[RoundRecord],
    value: Callable[[RoundRecord], float | None],
    weights: Mapping[str, int],
) -> dict[int, float]:
    """Round -> value: the mean over the nodes of all cohorts that have a value."""
    found: defaultdict[int, list[tuple[float, int]]] = defaultdict(list)
    for record in records:
        if (number := value(record)) is not None:
            found[record.round].append((number, weights[record.cohort]))
    return {
        round: math.fsum(x * w for x, w in pairs) / sum(w for _, w in pairs)
        for round, pairs in found.items()
    }


def _by_defense(records: Sequence[RoundRecord]) -> dict[str, dict[str, int]]:
    total: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        for name, counts in record.by_defense.items():
            for key, count in counts.items():
                total[name][key] += count
    return {name: dict(counts) for name, counts in total.items()}


def _lost(records: Sequence[RoundRecord]) -> dict[str, int]:
    """Parts and messages that became no completion, and slots that the receivers drew instead."""
    counts = [of_node for record in records for of_node in record.by_node.values()]
    return {
        "malformed": sum(record.malformed for record in records),
        "absent": sum(len(record.absent) for record in records),
        "refilled": sum(int(of_node.get("refilled", 0)) for of_node in counts),
    }


def _seconds(trials: Sequence[SeedResult]) -> dict[str, Any]:
    """Mean wall seconds of a trial, in total and by step."""
    steps: Counter[str] = Counter()
    for trial in trials:
        for row in trial.timings:
            steps.update(row["seconds"])
    means = {step: seconds / len(trials) for step, seconds in steps.items()}
    return {
        "seconds": _round(math.fsum(means.values())),
        "seconds_by_step": {step: _round(seconds) for step, seconds in means.items()},
    }


def _tail(values: Mapping[int, float]) -> list[float]:
    end = max(values)
    return [value for i, value in sorted(values.items()) if i > end - FINAL_ITERATIONS]


def _finite(values: Mapping[int, float]) -> dict[int, float]:
    return {i: value for i, value in values.items() if math.isfinite(value)}


def _mean(values: Sequence[float]) -> float | None:
    return _round(math.fsum(values) / len(values)) if values else None


def _round(value: float | None) -> float | None:
    """Six significant digits: more would be noise in a file that people compare."""
    return None if value is None else float(f"{value:.6g}")
