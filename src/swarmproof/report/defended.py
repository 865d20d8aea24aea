"""What each defence stopped, whom it wronged and what it cost: the words of a table.

Counts are those of the summary; abstentions are told apart from acceptances. The cost is that of
an arm, as defences share passes: against the same swarm without any, in the same run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from swarmproof.records.summary import refused, t_interval
from swarmproof.report.table import Cell, percent

if TYPE_CHECKING:
    from swarmproof.records.folder import Run

HEADINGS = ("arm, defence", "poisoned refused", "honest refused", "cost an iteration")
_ABSENT = "–"


def rows(run: Run) -> list[tuple[str, str, list[Cell]]]:
    """Arm, defence and cells, in the order of `HEADINGS`; a row per defence of each arm.

    Where an arm has several, one more tells what any of them refused; the arm's cost is there.
    """
    found = []
    for arm, numbers in run.summary["arms"].items():
        if not run.config["arms"][arm]["defenses"]:
            continue
        several = len(numbers["by_defense"]) > 1
        for name, counts in numbers["by_defense"].items():
            cost = Cell("", "told for all together") if several else _cost(run, arm)
            found.append((arm, name, [*_judged(counts), cost]))
        if several:
            whole = (numbers["refused"][who] for who in ("poisoned", "honest"))
            found.append((arm, "any of them", [*map(_rate, whole), _cost(run, arm)]))
    return found


def _judged(counts: Mapping[str, int]) -> Iterator[Cell]:
    for who in ("poisoned", "honest"):
        yield _rate(refused(counts[f"{who}_refused"], counts[who]), counts[f"{who}_abstained"])


def _rate(counts: Mapping[str, Any], abstained: int = 0) -> Cell:
    """The rate of all that were gathered; what was abstained from counts among them."""
    if not counts["of"]:
        return Cell(_ABSENT, "none gathered")
    low, high = counts["ci95"]
    lines = [
        f"{counts['count']:,} of {counts['of']:,}",
        f"95 %: {percent(low)} to {percent(high)}",
    ]
    if abstained:
        judged = refused(counts["count"], counts["of"] - abstained)
        lines += [f"abstained from {abstained:,}", f"of the others: {percent(judged['rate'])}"]
    return Cell(percent(counts["rate"]), "\n".join(lines))


def _cost(run: Run, arm: str) -> Cell:
    """Seconds an iteration over those of the undefended arm, seed by seed, without evaluation."""
    other = undefended(run.config["arms"], arm)
    if other is None:
        return Cell(_ABSENT, "the run has no such arm\nwithout defences")
    with_it, without = _seconds(run, arm), _seconds(run, other)
    seeds = [seed for seed in with_it if seed in without]
    if not seeds:
        return Cell(_ABSENT, f"no seed is timed\nhere and in {other}")
    ours, theirs = (sum(arm[seed] for seed in seeds) / len(seeds) for arm in (with_it, without))
    lines = [f"{ours:.2f} s, against {theirs:.2f} s in {other}"]
    if interval := t_interval([with_it[seed] - without[seed] for seed in seeds]):
        lines.append(f"95 %: {interval[0]:+.2f} to {interval[1]:+.2f} s")
        if interval[0] <= 0 <= interval[1]:
            lines.append("no more than the noise")
    else:
        lines.append("one seed: noise unknown")
    return Cell(f"{ours - theirs:+.2f} s, {ours / theirs:.2f} ×", "\n".join(lines))


def undefended(arms: Mapping[str, Any], arm: str) -> str | None:
    """The arm that differs from another in having no defences, and in nothing else."""

    def swarm(trial: Mapping[str, Any]) -> dict[str, Any]:
        # Where nothing is refused it does not matter what a refusal does.
        grpo = {key: value for key, value in trial["grpo"].items() if key != "on_reject"}
        return {**trial, "grpo": grpo, "defenses": None}

    wanted = swarm(arms[arm])
    alike = (name for name, trial in arms.items() if swarm(trial) == wanted)
    return next((name for name in alike if not arms[name]["defenses"]), None)


def _seconds(run: Run, arm: str) -> dict[int, float]:
    """Seed -> mean seconds of its iterations; that of evaluation is no part of training."""
    ours = run.timings[(run.timings["arm"] == arm) & (run.timings["step"] != "evaluate")]
    by_round = ours.groupby(["seed", "round"])["seconds"].sum()
    return cast("dict[int, float]", by_round.groupby("seed").mean().to_dict())
