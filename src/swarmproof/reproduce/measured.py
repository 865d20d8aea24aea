"""The measured numbers of a figure, in the common form that criteria and pages read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swarmproof.measure import leverage
from swarmproof.report.curves import course

# Metric of a figure -> column in the frame of rounds.
COLUMNS = {
    "asr": "asr",
    "asr_wide": "asr_wide",
    "accuracy": "reward",
    "length": "length",
    "heldout.accuracy": "heldout_accuracy",
}
# As in the paper's Figs. 7 and 8.
_GROUP_SIZES = (12, 16, 24, 32)
_HONEST_MEANS = (0.0, 0.25, 0.5, 0.75)

Table = dict[str, dict[str, dict[str, Any]]]


def of_run(summary: Mapping[str, Any]) -> Table:
    """The numbers of each arm of a `summary.json`. `asr_wide` is optional; `ci95` is over seeds."""
    found: Table = {}
    for name, arm in summary["arms"].items():
        found[name] = {}
        for metric in COLUMNS:
            if metric in arm or "." in metric:
                numbers = course(arm, metric)
                seen = [value for value in numbers["by_iteration"] if value is not None]
                found[name][metric] = {
                    "first": numbers["first"],
                    "final": numbers["final"],
                    "peak": max(seen, default=None),
                    "ci95": numbers["ci95"] if numbers["ci95_over"] == "seeds" else None,
                }
    return found


def of_judges(found: Mapping[str, Mapping[str, Any]]) -> Table:
    """Family -> "judge variant" -> accepted share, from results of `judge_eval.evaluate`."""
    table: Table = {}
    for judge, result in found.items():
        for family, by_variant in result["accepted"].items():
            for variant, row in by_variant.items():
                course = {"final": row["rate"], "ci95": row["ci95"], "of": row["of"]}
                table.setdefault(family, {})[f"{judge} {variant}"] = course
    return table


def of_theory() -> Table:
    """Exact leverage.

    "G = 12": the maximum over the number of poisoned completions, and the share that reaches it.
    "G = 12, a fifth": the leverage of a fifth of the group, rounded up; also as a share of the
    maximum. "µ = 0.25": 6 of 12 are poisoned, and honest completions are right with that chance.
    """
    table: Table = {}
    for size in _GROUP_SIZES:
        best, fifth = leverage.best_count(size), -(-size // 5)
        most, value = (leverage.leverage(size, count) for count in (best, fifth))
        table[f"G = {size}"] = {
            "best_share": _exact(best / size),
            "leverage": _exact(most),
        }
        table[f"G = {size}, a fifth"] = {
            "of_best": _exact(value / most),
            "leverage": _exact(value),
        }
    for mean in _HONEST_MEANS:
        table[f"µ = {mean:g}"] = {"leverage": _exact(leverage.expected_leverage(12, 6, mean))}
    return table


def _exact(value: float) -> dict[str, float]:
    return {"final": round(value, 6)}
