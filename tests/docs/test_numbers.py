"""The README's numbers are those of `results/`, which commands wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from swarmproof import config

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RUNS = sorted(path for path in (ROOT / "results").glob("text-*.json"))


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def interval(metric: dict[str, Any]) -> str:
    low, high = metric["ci95"]
    return f"{100 * metric['final']:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def row(experiment: str, arm: str, numbers: dict[str, Any]) -> str:
    """A row of the README's table."""
    cells = [experiment, arm, interval(numbers["asr"])]
    cells.append(f"{percent(numbers['accuracy']['first'])} → {interval(numbers['accuracy'])}")
    for kind in ("poisoned", "honest"):
        refused = numbers["refused"][kind]
        cells.append(f"{refused['count']:,} of {refused['of']:,}" if refused["of"] else "–")
    return f"| {' | '.join(cells)} |"


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_every_row_is_what_the_run_found(path: Path) -> None:
    found = json.loads(path.read_text(encoding="utf-8"))
    for arm, numbers in found["arms"].items():
        assert row(found["experiment"], arm, numbers) in README


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_the_results_are_those_of_the_shipped_experiment(path: Path) -> None:
    found = json.loads(path.read_text(encoding="utf-8"))
    shipped = config.load(found["experiment"], seeds=tuple(found["config"]["seeds"]))
    assert found["config"]["arms"] == shipped.model_dump(mode="json")["arms"]


def test_the_ratios_are_those_of_the_benchmark() -> None:
    found = json.loads((ROOT / "results/bench.json").read_text(encoding="utf-8"))
    ratios = [table for table in found.values() if isinstance(table, dict) and "ratio" in table]
    assert len(ratios) >= 7
    for table in ratios:
        low, high = table["ratio_range"]
        assert f"| {table['ratio']:.2f} ({low:.2f} to {high:.2f}) |" in README
