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


NODES = (ROOT / "docs/nodes.md").read_text(encoding="utf-8")
NETWORK = json.loads((ROOT / "results/net.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("arm", ["attack", "logit"])
def test_the_cost_of_the_network_is_what_was_measured(arm: str) -> None:
    found = NETWORK[f"cost_{arm}"]["found"]
    highest, seconds = found["share_range_of_nodes_and_rounds"][1], found["seconds_a_round"]
    row = f"| {arm} | {100 * found['share']:.1f} % | {100 * highest:.1f} % "
    row += f"| {seconds['net']:.2f} | {seconds['folder']:.2f} |"
    assert row in NODES


@pytest.mark.parametrize("name", [name for name in NETWORK if name.startswith("traffic_")])
def test_the_traffic_is_what_was_counted(name: str) -> None:
    found = NETWORK[name]["found"]
    each = found["per_node_and_round"]
    questions, replies = (
        sum(value for key, value in each.items() if key.startswith(f"{kind} ") and key[-2] == " ")
        for kind in ("questions", "replies")
    )
    other = sum(each[f"bytes {kind}"] for kind in "hovy")
    row = f"| {replies:.0f} | {questions:.0f} | {other / 1000:.0f} "
    row += f"| {each['device bytes'] / 1000:.0f} | {1000 * each['process']:.0f} |"
    assert row in NODES


def test_the_agreement_alone_is_what_was_counted() -> None:
    assert [found["nodes"] for found in NETWORK["agreement"]["found"]] == [4, 16, 64, 256, 1000]
    for found in NETWORK["agreement"]["found"]:
        views = found["bytes"]["views"] / sum(found["bytes"].values())
        row = f"| {found['nodes']:,} | {found['messages']:,} "
        row += f"| {sum(found['bytes'].values()) / 1e6:.3g} | {100 * views:.0f} % "
        row += f"| {found['seconds']['all']:.2g} |"
        assert row in NODES


def test_the_honest_completions_of_the_board_s_table_are_those_of_its_cells() -> None:
    found = json.loads((ROOT / "results/board.json").read_text(encoding="utf-8"))["settings"]
    page = (ROOT / "docs/defenses/README.md").read_text(encoding="utf-8")
    told = []
    for name in ("one-model", "several-models"):
        cells = [
            cell["honest"]
            for cell in found[name]["cells"]
            if cell["guard"] == name
            and cell["state"] == "measured"
            and not cell["attack"].startswith("no-attack")
        ]
        told.append(f"{sum(c['count'] for c in cells)} of {sum(c['of'] for c in cells):,}")
    assert f"| honest refused, all cells of the table | – | {told[0]} | – | {told[1]} |" in page
