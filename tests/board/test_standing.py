"""Guards are sorted by their worst case; what was not measured cannot put one in front."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from board import boards
from swarmproof.board import standing
from swarmproof.board.cells import BoardCell, CellName


def found(badness: float | None, honest: int = 0, poisoned: int = 0) -> dict[str, Any]:
    one = {"mean": badness, "ci95": None, "by_seed": [badness]}
    return {
        "arms": {},
        "trials": {},
        "seeds": [0],
        "rounds": 3,
        "unit": "share",
        "success": one,
        "success_without_attack": one,
        "badness": badness,
        "accuracy": one,
        "accuracy_lost": {"mean": 0.01, "ci95": None, "by_seed": [0.01]},
        "honest": {"count": honest, "of": 100, "rate": honest / 100, "ci95": [0.0, 1.0]},
        "poisoned": {"count": poisoned, "of": 10, "rate": poisoned / 10, "ci95": [0.0, 1.0]},
        "cost": {"seconds": 0.1, "share": badness or 0.0},
        "same_updates": False,
    }


def board(model: Path, cells: dict[tuple[str, str], Any]) -> dict[str, Any]:
    """A cell is its numbers, None where it was not run, or a reason."""
    rows = [
        (BoardCell(CellName("one", attack, guard), {}, value if isinstance(value, str) else ""),
         None if isinstance(value, str) else value)
        for (attack, guard), value in cells.items()
    ]  # fmt: skip
    made = standing.of_cells(boards.lists_of(boards.table(model)), rows)
    setting: dict[str, Any] = made["settings"]["one"]
    return setting


def test_the_worst_attack_decides_and_ties_go_to_fewer_honest_refused(random_model: Path) -> None:
    made = board(
        random_model,
        {
            ("phrase", "none"): found(0.9),
            ("long", "none"): found(0.1),
            ("phrase", "cut"): found(0.0, honest=3),
            ("long", "cut"): found(0.5),
            ("phrase", "draws"): found(0.5),
            ("long", "draws"): found(0.2),
        },
    )
    assert [row["guard"] for row in made["guards"]] == ["draws", "cut", "none"]
    worst = {row["guard"]: row["worst"]["attack"] for row in made["guards"]}
    assert worst == {"draws": "phrase", "cut": "long", "none": "phrase"}
    cut = next(row for row in made["guards"] if row["guard"] == "cut")
    assert (cut["honest"]["count"], cut["honest"]["of"]) == (3, 200)
    assert cut["cost"] == 0.5
    assert cut["recommended"]


def test_a_guard_with_cells_that_were_not_run_comes_last(random_model: Path) -> None:
    made = board(
        random_model,
        {
            ("phrase", "cut"): found(0.0),
            ("long", "cut"): None,
            ("phrase", "draws"): found(0.7),
            ("long", "draws"): "cannot work",
            ("phrase", "missing"): "unknown",
            ("long", "missing"): "unknown",
            ("phrase", "none"): found(0.8),
            ("long", "none"): found(None),
        },
    )
    assert [row["guard"] for row in made["guards"]] == ["draws", "none", "cut", "missing"]
    counts = {g["guard"]: (g["measured"], g["not_run"], g["cannot_run"]) for g in made["guards"]}
    assert counts["draws"] == (1, 0, 1)
    assert counts["cut"] == (1, 1, 0)
    assert counts["missing"] == (0, 0, 2)
    reasons = {cell["reason"] for cell in made["cells"]}
    assert reasons == {"", "cannot work", "unknown"}


def test_the_best_guard_against_an_attack_is_one_that_a_user_can_have(random_model: Path) -> None:
    table = boards.table(random_model)
    table["guards"]["draws"]["bound"] = True
    rows = {"none": found(0.9), "cut": found(0.3), "draws": found(0.0)}
    cells = [(BoardCell(CellName("one", "phrase", g), {}, ""), f) for g, f in rows.items()]
    (attack,) = standing.of_cells(boards.lists_of(table), cells)["settings"]["one"]["attacks"]
    assert attack["best"]["guard"] == "cut"
    assert attack["undefended"]["badness"] == 0.9


def test_nobody_malicious_is_no_worst_case(random_model: Path) -> None:
    made = board(random_model, {("quiet", "cut"): found(0.9), ("phrase", "cut"): found(0.2)})
    (row,) = made["guards"]
    assert (row["worst"]["attack"], row["measured"]) == ("phrase", 2)
    assert [attack["attack"] for attack in made["attacks"]] == ["phrase"]


def test_a_recommended_guard_says_what_it_misses(random_model: Path) -> None:
    made = board(
        random_model, {("phrase", "cut"): found(0.6, honest=1), ("long", "cut"): found(0.9)}
    )
    (row,) = made["guards"]
    # The goals of this setting are for attacks of the paper only.
    assert list(row["missed"]) == ["phrase"]
    assert len(row["missed"]["phrase"]) == 2
