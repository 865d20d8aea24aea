"""The numbers of a cell follow from the records, and goals are judged by them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from swarmproof.board import scores
from swarmproof.board.command import BoardPlan
from swarmproof.board.lists import Goals
from swarmproof.records.run import load_run
from swarmproof.records.streams import read_rounds, read_timings


def cell(plan: BoardPlan, attack: str, guard: str) -> dict[str, Any]:
    path = plan.root / "cells/one" / attack / guard / "cell.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def of_honest(plan: BoardPlan, key: str) -> float:
    """A mean over the completions of nodes 0, 1 and 2 where nobody is malicious."""
    folder = plan.root / "cells/one/phrase/none/trials/no-attack/seed-0"
    counts = [record.by_node[node] for record in read_rounds(folder) for node in "012"]
    return sum(count[key] for count in counts) / sum(count["completions"] for count in counts)


def test_success_accuracy_and_refusals_are_those_of_the_run(small_board: BoardPlan) -> None:
    found = cell(small_board, "phrase", "cut")
    table = load_run(small_board.root / "cells/one/phrase/cut").table()
    ours = table.loc["cut"]
    assert found["success"] == {"mean": ours["asr"], "ci95": None, "by_seed": [ours["asr"]]}
    assert found["badness"] == ours["asr"]
    (lost,) = found["accuracy_lost"]["by_seed"]
    assert lost == pytest.approx(of_honest(small_board, "rewarded") - ours["accuracy"], abs=1e-5)
    assert found["honest"]["rate"] == ours["honest_refused"] > 0
    assert found["honest"]["ci95"] == [ours["honest_refused_low"], ours["honest_refused_high"]]
    assert found["honest"]["of"] == 2 * 48
    assert found["poisoned"]["of"] == 2 * 16


def test_length_is_compared_with_no_attack_and_its_growth_is_capped(
    small_board: BoardPlan,
) -> None:
    found = cell(small_board, "long", "none")
    table = load_run(small_board.root / "cells/one/long/none").table()
    ratio = float(table["length"]["attack"]) / of_honest(small_board, "tokens")
    assert found["unit"] == "ratio"
    assert found["success"]["mean"] == pytest.approx(ratio, rel=1e-5)
    assert found["success_without_attack"]["mean"] == 1
    badness = [scores.badness(ratio, by_length=True) for ratio in (0.9, 1.0, 1.25, 7.0)]
    assert badness == [0, 0, 0.25, 1]
    assert scores.badness(0.4, by_length=False) == 0.4
    assert scores.badness(None, by_length=True) is None


def test_the_cost_is_the_processor_time_of_the_guard_s_own_steps(small_board: BoardPlan) -> None:
    found = cell(small_board, "phrase", "draws")
    folder = small_board.root / "cells/one/phrase/draws/trials/draws/seed-0"
    rows = read_timings(folder)
    own = sum(row["cpu"].get(step, 0) for row in rows for step in ("inspect", "refill"))
    whole = sum(sum(row["cpu"].values()) - row["cpu"].get("evaluate", 0) for row in rows)
    assert any("refill" in row["cpu"] for row in rows)
    assert any("evaluate" in row["cpu"] for row in rows)
    assert found["cost"]["share"] == pytest.approx(own / whole, rel=1e-5)
    assert found["cost"]["seconds"] == pytest.approx(own / 2, rel=1e-5)
    assert sum(found["cost"]["by_step"].values()) == pytest.approx(own / whole, rel=1e-5)


def test_refilled_draws_give_the_updates_of_nobody_malicious_and_other_guards_do_not(
    small_board: BoardPlan,
) -> None:
    assert cell(small_board, "phrase", "draws")["same_updates"]
    assert cell(small_board, "long", "draws")["same_updates"]
    assert cell(small_board, "quiet", "none")["same_updates"]
    # Compared over the nodes that are honest in both, nothing is lost at all.
    for attack in ("phrase", "long"):
        assert cell(small_board, attack, "draws")["accuracy_lost"]["mean"] == 0
    assert cell(small_board, "long", "draws")["success"]["mean"] == 1
    assert not cell(small_board, "phrase", "none")["same_updates"]
    folder = small_board.root / "cells/one/phrase/none/trials/no-attack/seed-0"
    assert all(record.grad_norm for record in read_rounds(folder))  # not of zeros


def numbers(**changes: Any) -> dict[str, Any]:
    return {
        "unit": "share",
        "success": {"mean": 0.01},
        "honest": {"rate": 0.001},
        "accuracy_lost": {"mean": 0.0},
        "same_updates": False,
        "below_bound": None,
        **changes,
    }


@pytest.mark.parametrize(
    ("goals", "changes", "words"),
    [
        ({"asr": 0.01}, {}, []),
        ({"asr": 0.009}, {}, ["attack success 1.0"]),
        ({"asr": 0.5}, {"success": {"mean": None}}, ["attack success –"]),
        ({"length": 1.1}, {}, []),
        ({"length": 1.1}, {"unit": "ratio", "success": {"mean": 1.2}}, ["length 1.20"]),
        ({"asr": 0.0}, {"unit": "ratio", "success": {"mean": 1.2}}, []),
        ({"honest_refused": 0.001}, {}, []),
        ({"honest_refused": 0.0}, {}, ["honest refused 0.10"]),
        ({"honest_refused": 0.0}, {"honest": {"rate": None}}, []),
        ({"accuracy_lost": 0.01}, {"accuracy_lost": {"mean": 0.02}}, ["accuracy lost +2.0"]),
        ({"accuracy_lost": 0.01}, {"accuracy_lost": {"mean": None}}, ["accuracy lost –"]),
        ({"below_bound": 0.02}, {}, []),
        ({"below_bound": 0.02}, {"below_bound": {"mean": 0.02}}, []),
        (
            {"below_bound": 0.02},
            {"below_bound": {"mean": 0.03}},
            ["accuracy below the bound +3.0 points"],
        ),
        ({"same_updates": True}, {}, ["the updates are not"]),
        ({"same_updates": True}, {"same_updates": True}, []),
    ],
)
def test_what_misses_its_goal_is_said(
    goals: dict[str, Any], changes: dict[str, Any], words: list[str]
) -> None:
    found = scores.missed(numbers(**changes), Goals(**goals))
    assert len(found) == len(words)
    for said, word in zip(found, words, strict=True):
        assert said.replace("\N{NO-BREAK SPACE}", " ").startswith(word)


def test_the_bound_is_compared_seed_by_seed_and_only_with_the_same_rounds() -> None:
    def one(seeds: list[int], values: list[float], rounds: int = 3) -> dict[str, Any]:
        return {"seeds": seeds, "rounds": rounds, "accuracy": {"by_seed": values}}

    bound = one([0, 1, 2], [0.5, 0.7, 0.9])
    below = scores.below_bound(one([1, 2, 3], [0.6, 0.7, 0.1]), bound)
    assert below is not None
    assert below["by_seed"] == pytest.approx([0.1, 0.2])
    assert scores.below_bound(one([3], [0.1]), bound) is None
    assert scores.below_bound(one([0], [0.1], rounds=4), bound) is None
    assert scores.below_bound(bound, None) is None


def test_several_seeds_are_paired_and_have_an_interval() -> None:
    found = scores.over_seeds([0.1, 0.2, 0.3])
    assert found["mean"] == pytest.approx(0.2)
    # Student's t with two degrees of freedom: 4.303 x 0.1 / sqrt(3).
    assert found["ci95"] == pytest.approx([0.2 - 0.2484, 0.2 + 0.2484], abs=1e-4)
    assert scores.over_seeds([0.1])["ci95"] is None
    assert scores.over_seeds([0.1, None])["mean"] is None
