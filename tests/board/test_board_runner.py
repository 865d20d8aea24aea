"""Cells that exist are kept, what is missing is run, and a cell is an ordinary run folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from board import boards
from swarmproof.board import runner
from swarmproof.board.command import BoardPlan
from swarmproof.records.run import load_run
from swarmproof.reproduce.store import Store
from swarmproof.swarm.trial import play_trial


def numbers(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / "board.json").read_text(encoding="utf-8"))
    return found


def cells_of(root: Path, setting: str = "one") -> dict[tuple[str, str], dict[str, Any]]:
    rows = numbers(root)["settings"][setting]["cells"]
    return {(row["attack"], row["guard"]): row for row in rows}


def test_every_cell_of_the_lists_is_measured_or_has_its_reason(small_board: BoardPlan) -> None:
    found = cells_of(small_board.root)
    assert len(found) == 3 * 4
    for (_, guard), row in found.items():
        assert row["state"] == ("cannot run" if guard == "missing" else "measured")
        if row["state"] == "measured":
            assert (row["seeds"], row["rounds"]) == ([0], 2)
            assert (small_board.root / row["folder"] / "report.html").exists()


def test_a_second_run_of_the_same_board_runs_nothing(small_board: BoardPlan) -> None:
    before = numbers(small_board.root)
    assert boards.run(small_board) == []
    assert numbers(small_board.root) == before


def test_more_attacks_guards_and_seeds_run_only_what_is_missing(
    random_model: Path, tmp_path: Path
) -> None:
    lists = boards.lists_of(boards.table(random_model))

    def more(**chosen: Any) -> list[str]:
        return [trial.arm for trial in boards.run(boards.plan_of(lists, tmp_path, **chosen))]

    assert more(attacks="phrase", guards="none") == [
        "one/phrase/none no-attack",
        "one/phrase/none attack",
    ]
    assert more(attacks="phrase", guards="none,cut") == ["one/phrase/cut cut"]
    # The other cells stay on the page, and their rows are filled with what was not run.
    assert more(attacks="long", guards="cut") == [
        "one/long/cut no-attack",
        "one/long/cut cut",
    ]
    states = {key: row["state"] for key, row in cells_of(tmp_path).items()}
    assert states == {
        ("phrase", "none"): "measured",
        ("phrase", "cut"): "measured",
        ("long", "none"): "not run",
        ("long", "cut"): "measured",
    }
    assert len(more(attacks="phrase", guards="none", seeds=(0, 1))) == 2
    # One that was run with more seeds keeps them.
    assert more(attacks="phrase", guards="none", seeds=(0,)) == []
    assert cells_of(tmp_path)["phrase", "none"]["seeds"] == [0, 1]
    assert cells_of(tmp_path)["phrase", "cut"]["seeds"] == [0]


def test_other_rounds_are_another_trial_and_the_cell_says_how_many(
    random_model: Path, tmp_path: Path
) -> None:
    lists = boards.lists_of(boards.table(random_model))
    one = boards.plan_of(lists, tmp_path, attacks="phrase", guards="none", rounds=1)
    boards.run(one)
    # A cell with other rounds is kept on the page until it is run anew.
    boards.run(boards.plan_of(lists, tmp_path, attacks="phrase", guards="cut"))
    assert cells_of(tmp_path)["phrase", "none"]["rounds"] == 1
    two = boards.plan_of(lists, tmp_path, attacks="phrase", guards="none")
    assert len(boards.run(two)) == 1
    assert cells_of(tmp_path)["phrase", "none"]["rounds"] == 2


def test_a_cell_of_another_model_of_the_same_name_is_one_line(
    random_model: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(random_model, model)
    lists = boards.lists_of(boards.table(model))
    boards.run(boards.plan_of(lists, tmp_path / "board", attacks="phrase", guards="none"))
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.01}))
    with pytest.raises(ValueError, match=r"the model at .* changed since .* was made"):
        boards.run(boards.plan_of(lists, tmp_path / "board", attacks="phrase", guards="none"))


def test_a_cell_that_was_made_with_other_settings_is_not_shown(
    random_model: Path, tmp_path: Path
) -> None:
    table = boards.table(random_model)
    boards.run(boards.plan_of(boards.lists_of(table), tmp_path, attacks="phrase", guards="none"))
    table["attacks"]["phrase"]["set"]["attack"]["phrase"] = "Other"
    plan = boards.plan_of(boards.lists_of(table), tmp_path, attacks="phrase", guards="none")
    assert runner.recorded(plan.shown[0], tmp_path) is None


def test_a_trial_that_was_stopped_goes_on_and_ends_with_the_same_bytes(
    random_model: Path, small_board: BoardPlan, tmp_path: Path
) -> None:
    lists = boards.lists_of(boards.table(random_model))
    plan = boards.plan_of(lists, tmp_path, attacks="phrase", guards="none")
    with Store(tmp_path) as store:
        trials = runner.begin(runner.needed(plan.planned, tmp_path), store)
    playing = play_trial(trials[-1], resume=True)
    next(playing)
    del playing  # stops it after a round
    assert boards.run(plan)
    name = trials[-1].folder.name
    for stream in ("rounds.jsonl", "completions.jsonl.gz"):
        whole = small_board.root / "trials" / name / stream
        assert (trials[-1].folder / stream).read_bytes() == whole.read_bytes()


def test_a_cell_is_a_run_folder(small_board: BoardPlan) -> None:
    run = load_run(small_board.root / "cells/one/phrase/cut")
    assert list(run.table().index) == ["no-attack", "cut"]
    assert run.finished


def test_the_estimate_counts_each_missing_trial_once(
    random_model: Path, small_board: BoardPlan, tmp_path: Path
) -> None:
    lists = boards.lists_of(boards.table(random_model))
    plan = boards.plan_of(lists, tmp_path)
    waiting = runner.needed(plan.planned, tmp_path)
    folders = [trial.folder for trials in waiting.values() for trial in trials]
    assert len(folders) == len(set(folders)) == 11
    # Two rounds of one second each: the attack without `seconds` counts as the one that has them.
    assert runner.hours(waiting, lists) * 3600 == 11 * 2
    assert not list(tmp_path.iterdir())
    assert runner.needed(small_board.planned, small_board.root) == {}


@pytest.mark.parametrize(
    "text",
    [
        '{"schema": 1}',
        '{"schema": 1, "arms": {"a": {"rounds": "2"}}, "seeds": [0], "trials": {}}',
        '{"schema": 1, "arms": null, "seeds": [0], "trials": {}}',
        "{",
    ],
)
def test_a_damaged_cell_is_one_line(random_model: Path, tmp_path: Path, text: str) -> None:
    lists = boards.lists_of(boards.table(random_model))
    plan = boards.plan_of(lists, tmp_path, attacks="phrase", guards="none")
    (cell,) = [each for each in plan.shown if each.name.setting == "one"][:1]
    file = runner._folder(tmp_path, cell.name) / "cell.json"
    file.parent.mkdir(parents=True)
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"cell\.json") as caught:
        runner.recorded(cell, tmp_path)
    assert "\n" not in str(caught.value)
