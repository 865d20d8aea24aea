"""What each defence refused and what it cost: the text of a table.

Counts are those of the summary; abstentions are not counted as acceptances. The cost is that of
a whole arm, as its defences share forward passes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from swarmproof.records.summary import refused, t_interval
from swarmproof.report.table import Cell, percent

if TYPE_CHECKING:
    from swarmproof.records.run import Run

HEADINGS = ("arm, defence", "poisoned refused", "honest refused", "share of processor time")
STEP = "inspect"  # the step that holds all that defences do
_ABSENT = "–"


def rows(run: Run) -> list[tuple[str, str, list[Cell]]]:
    """Arm, defence and cells, in the order of `HEADINGS`; a row per defence of each arm.

    An arm with several defences has one more row: what any of them refused, and the arm's cost.
    """
    found = []
    for arm, numbers in run.summary["arms"].items():
        if not run.config["arms"][arm]["defenses"]:
            continue
        several = len(numbers["by_defense"]) > 1
        receivers = len(numbers.get("models", {})) or 1
        for name, counts in numbers["by_defense"].items():
            cost = Cell("", "measured for all together") if several else _cost(run, arm)
            found.append((arm, name, [*_judged(counts, receivers), cost]))
        if several:
            whole = (numbers["refused"][who] for who in ("poisoned", "honest"))
            found.append((arm, "any of them", [*map(_rate, whole), _cost(run, arm)]))
    return found


def _judged(counts: Mapping[str, int], receivers: int) -> Iterator[Cell]:
    for who in ("poisoned", "honest"):
        rate = refused(counts[f"{who}_refused"], counts[who], receivers)
        yield _rate(rate, counts[f"{who}_abstained"], counts[f"{who}_masked_tokens"])


def _rate(counts: Mapping[str, Any], abstained: int = 0, masked: int = 0) -> Cell:
    """The rate among all completions that were gathered, abstentions included."""
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
    if masked:
        lines.append(f"{masked:,} tokens masked")
    return Cell(percent(counts["rate"]), "\n".join(lines))


def _cost(run: Run, arm: str) -> Cell:
    """Processor time of the step `inspect` over that of all steps but `evaluate`."""
    by_seed = costs(run, arm)
    if not by_seed:
        return Cell(_ABSENT, "no processor time recorded")
    shares = [inspect / whole for inspect, whole, _ in by_seed.values()]
    spent = sum(inspect / rounds for inspect, _, rounds in by_seed.values()) / len(by_seed)
    lines = [f"{spent:.3g} s an iteration"]
    if found := t_interval(shares):
        low, high = max(0.0, found[0]), min(1.0, found[1])
        lines.append(f"95 %: {percent(low)} to {percent(high)}")
    else:
        lines.append("one seed: no interval")
    return Cell(percent(sum(shares) / len(shares)), "\n".join(lines))


def costs(run: Run, arm: str) -> dict[int, tuple[float, float, int]]:
    """Seed -> processor seconds of the defences, of all steps but `evaluate`, and the rounds.

    Seeds without processor times are left out.
    """
    ours = run.timings[(run.timings["arm"] == arm) & (run.timings["step"] != "evaluate")]
    ours = ours.dropna(subset=["cpu_seconds"])
    found = {}
    for seed, rows in ours.groupby("seed"):
        whole = float(rows["cpu_seconds"].sum())
        inspect = float(rows.loc[rows["step"] == STEP, "cpu_seconds"].sum())
        if whole > 0 and (rows["step"] == STEP).any():
            found[cast(int, seed)] = (inspect, whole, int(rows["round"].nunique()))
    return found
