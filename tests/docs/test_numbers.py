"""The numbers in the README and the docs are those of `results/`, which commands wrote."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from swarmproof import config
from swarmproof.report import results

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PERFORMANCE = (ROOT / "docs/performance.md").read_text(encoding="utf-8")
RUNS = {run["experiment"]: run for run in results.load(ROOT / "results")}


def test_the_page_of_results_is_made_from_the_files() -> None:
    page = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    assert page == results.page(list(RUNS.values()), results.load_judged(ROOT / "results"))


def test_every_row_of_the_readme_is_what_a_run_found() -> None:
    shown = set(
        re.findall(r"^\| ([\w-]+) \| (?:no-attack|attack|logit) \|.*$", README, re.MULTILINE)
    )
    assert "text-horizontal" in shown
    for name in shown:
        for arm, numbers in RUNS[name]["arms"].items():
            assert f"| {name} {results.row(arm, numbers)}" in README


@pytest.mark.parametrize("name", RUNS)
def test_the_results_are_those_of_the_shipped_experiment(name: str) -> None:
    found = RUNS[name]
    shipped = config.load(name, seeds=tuple(found["config"]["seeds"]))
    # An arm that has not been run with all of these seeds is left out, and no other is let in.
    arms = shipped.model_dump(mode="json")["arms"]
    assert found["config"]["arms"].items() <= arms.items()
    assert "attack" in found["arms"] or "quarter" in found["arms"]
    assert all(not arm["unfinished_seeds"] for arm in found["arms"].values())


def test_the_ratios_are_those_of_the_benchmark() -> None:
    found = json.loads((ROOT / "results/bench.json").read_text(encoding="utf-8"))
    ratios = [table for table in found.values() if isinstance(table, dict) and "ratio" in table]
    assert len(ratios) >= 7
    for table in ratios:
        low, high = table["ratio_range"]
        assert f"| {table['ratio']:.2f} ({low:.2f} to {high:.2f}) |" in PERFORMANCE
