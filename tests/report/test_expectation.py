"""The claim of a file is shown as its expectation, and only where the run is that of the file."""

from __future__ import annotations

from typing import Any

from swarmproof.config import load
from swarmproof.report.expectation import differences, notes

CLAIM = load("text-horizontal").claim


def config(*overrides: str, **options: Any) -> dict[str, Any]:
    return load("text-horizontal", overrides=overrides, **options).model_dump(mode="json")


def finished(table: dict[str, Any]) -> dict[str, str]:
    return dict.fromkeys(table["arms"], "")


def test_the_shipped_settings_have_the_expectation_marked_as_one() -> None:
    table = config(seeds=(0, 1, 2))
    assert differences(table) == []
    (line,) = notes(table, finished(table))
    assert line == f"Expectation in the experiment file, written before the run: {CLAIM}"


def test_other_settings_are_shown_with_the_shipped_ones_and_leave_it_out() -> None:
    table = config("rounds=4", "attack.where=end")
    changed, left_out = notes(table, finished(table))
    assert changed == (
        "Settings that differ from the shipped text-horizontal: rounds = 4 (shipped: 80); "
        'attack.where = "end" (shipped: not set).'
    )
    assert left_out == "The file's expectation is not shown: this run has other settings or arms."


def test_a_setting_of_one_arm_names_it_and_missing_arms_are_named() -> None:
    table = config()
    del table["arms"]["judge"]
    table["arms"]["attack"]["swarm"]["nodes"] = 8
    assert differences(table) == [
        "attack: swarm.nodes = 8 (shipped: 4)", "without the arms judge",
    ]  # fmt: skip
    assert not any(CLAIM in line for line in notes(table, finished(table)))
    table["arms"]["mine"] = table["arms"].pop("logit")
    assert (differences(table) or [""])[-1] == "with the arms mine, which are not in it"


def test_an_unfinished_run_leaves_it_out_and_names_what_has_not_started() -> None:
    table = config()
    states = finished(table) | {"attack": "unfinished, iteration 5 of 80", "judge": "not started"}
    assert notes(table, states) == [
        "Not started: judge.",
        "The file's expectation is not shown: the run is unfinished.",
    ]


def test_a_file_of_ones_own_is_not_compared_and_says_so() -> None:
    table = config() | {"name": "mine"}
    assert differences(table) is None
    (line,) = notes(table, finished(table))
    assert "not compared with its settings" in line
    assert notes(table | {"claim": ""}, finished(table)) == []


def test_an_experiment_at_paper_scale_is_compared_with_its_own_file() -> None:
    table = load("paper-scale/text-horizontal").model_dump(mode="json")
    assert differences(table) == []
