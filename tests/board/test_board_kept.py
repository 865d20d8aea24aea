"""A recorded cell is shown only while it is of the data, models and trials that are here now."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from board import boards
from models import save_random_qwen2
from swarmproof import steps
from swarmproof.board import command, runner
from swarmproof.board.lists import BoardLists
from swarmproof.board.standing import OUTDATED
from swarmproof.cli import app
from swarmproof.swarm import identity
from swarmproof.swarm.identity import FINGERPRINTS

CELL = "cells/one/phrase/none/cell.json"


@pytest.fixture
def model(random_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(random_model, tmp_path / "model"))


@pytest.fixture
def lists(model: Path) -> BoardLists:
    """Two rounds of one attack: its cells with `none` and with `cut` share the reference."""
    return boards.lists_of(boards.table(model))


def run(lists: BoardLists, root: Path, guards: str = "none") -> list[str]:
    plan = boards.plan_of(lists, root, attacks="phrase", guards=guards)
    return [trial.arm for trial in boards.run(plan)]


def cell(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / CELL).read_text(encoding="utf-8"))
    return found


def row(root: Path) -> dict[str, Any]:
    """The cell `none` as it is on the page."""
    board = json.loads((root / "board.json").read_text(encoding="utf-8"))
    rows: list[dict[str, Any]] = board["settings"]["one"]["cells"]
    return next(row for row in rows if row["guard"] == "none")


def change(root: Path, **values: Any) -> None:
    """Give a cell another content; None removes a value."""
    table = {key: value for key, value in (cell(root) | values).items() if value is not None}
    (root / CELL).write_text(json.dumps(table), encoding="utf-8")


def test_a_cell_whose_trials_were_run_again_is_measured_anew(
    model: Path, lists: BoardLists, tmp_path: Path
) -> None:
    root = tmp_path / "board"
    run(lists, root)
    before, report = cell(root), (root / CELL).with_name("report.html").read_bytes()
    save_random_qwen2(model, seed=9)
    for _ in range(2):  # the remedy of the error names a folder at a time
        with pytest.raises(ValueError, match=r"the model at .* changed since") as caught:
            run(lists, root)
        shutil.rmtree(str(caught.value).split(" changed since ")[1].split(" was made")[0])
    assert len(run(lists, root)) == 2
    after = cell(root)
    assert after["trials"] == before["trials"]
    assert (root / CELL).with_name("report.html").read_bytes() != report
    (root / CELL).unlink()
    run(lists, root)
    assert cell(root) == after != before


def test_a_cell_of_another_model_that_was_not_asked_for_is_not_shown(
    model: Path, lists: BoardLists, tmp_path: Path
) -> None:
    root = tmp_path / "board"
    run(lists, root)
    reference = cell(root)["trials"]["no-attack"][0]
    save_random_qwen2(model, seed=9)
    shutil.rmtree(root / "trials" / reference)
    plan = boards.plan_of(lists, root, attacks="phrase", guards="cut")
    (first, *_) = command.told(plan, {}, lambda _: 1)
    assert first.startswith("not shown: none against phrase in one: ")
    assert len(boards.run(plan)) == 2
    assert (row(root)["state"], row(root)["reason"]) == ("not run", OUTDATED)
    assert OUTDATED in (root / "board.html").read_text(encoding="utf-8")
    assert cell(root)["trials"]["no-attack"] == [reference]  # nothing is lost
    plan = boards.plan_of(lists, root, attacks="phrase", guards="cut")
    (first, *_) = command.told(plan, {}, lambda _: 1)
    assert "the model at" in first
    assert "changed since" in first


@pytest.mark.parametrize("guards", ["none", "cut"])  # asked for, and not
def test_a_cell_that_does_not_say_its_trials_is_measured_anew(
    lists: BoardLists, tmp_path: Path, guards: str
) -> None:
    run(lists, tmp_path)
    before = cell(tmp_path)
    change(tmp_path, made_with=None, badness=0.125)
    # A page that is written meanwhile does not show the old numbers.
    command.write(boards.plan_of(lists, tmp_path, attacks="phrase", guards=guards))
    assert (row(tmp_path)["state"], row(tmp_path)["reason"]) == ("not run", OUTDATED)
    run(lists, tmp_path, guards)
    assert cell(tmp_path) == before
    assert row(tmp_path)["state"] == "measured"
    assert row(tmp_path)["badness"] == before["badness"]
    # A cell that was measured from these trials is kept.
    change(tmp_path, badness=0.125)
    run(lists, tmp_path, guards)
    assert row(tmp_path)["badness"] == 0.125


def test_a_cell_without_its_trials_is_not_shown(lists: BoardLists, tmp_path: Path) -> None:
    run(lists, tmp_path)
    change(tmp_path, made_with=None)
    shutil.rmtree(tmp_path / "trials" / cell(tmp_path)["trials"]["attack"][0])
    run(lists, tmp_path, "cut")
    assert (row(tmp_path)["state"], row(tmp_path)["reason"]) == ("not run", OUTDATED)


def test_a_cell_with_trials_of_other_settings_is_one_line(
    lists: BoardLists, tmp_path: Path
) -> None:
    run(lists, tmp_path)
    change(tmp_path, seeds=[1])
    with pytest.raises(ValueError, match=r"cell\.json is damaged; delete it, and the board"):
        run(lists, tmp_path)


def test_a_damaged_trial_of_a_cell_that_was_not_asked_for_stops_nothing(
    lists: BoardLists, tmp_path: Path
) -> None:
    run(lists, tmp_path)
    of = cell(tmp_path)["trials"]["attack"][0]
    (tmp_path / "trials" / of / "trial.json").write_text("{")
    assert len(run(lists, tmp_path, "cut")) == 1
    assert (row(tmp_path)["state"], row(tmp_path)["reason"]) == ("not run", OUTDATED)


def test_an_equal_number_of_another_type_is_another_setting(
    lists: BoardLists, tmp_path: Path
) -> None:
    run(lists, tmp_path)
    text = (tmp_path / CELL).read_text(encoding="utf-8")
    assert '"temperature": 1.0' in text
    (tmp_path / CELL).write_text(text.replace('"temperature": 1.0', '"temperature": 1'))
    plan = boards.plan_of(lists, tmp_path, attacks="phrase", guards="none")
    assert runner.recorded(plan.shown[0], tmp_path) is None


def test_seeds_of_a_cell_that_is_measured_anew_are_kept(lists: BoardLists, tmp_path: Path) -> None:
    boards.run(boards.plan_of(lists, tmp_path, attacks="phrase", guards="none", seeds=(0, 1)))
    change(tmp_path, made_with=None)
    assert run(lists, tmp_path) == []
    assert cell(tmp_path)["seeds"] == [0, 1]
    plan = boards.plan_of(lists, tmp_path, attacks="phrase", guards="none")
    kept = runner.recorded(plan.shown[0], tmp_path)
    assert kept is not None
    assert kept.current(tmp_path)


def test_a_warm_up_with_other_weights_is_told_before_any_trial_runs(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWARMPROOF_CACHE", str(tmp_path / "cache"))
    table = boards.table(model)
    table["base"]["warmup"] = {"steps": 1, "batch": 2, "problems": 8}
    lists, root = boards.lists_of(table), tmp_path / "board"
    run(lists, root)
    for file in root.rglob(FINGERPRINTS):  # made on another machine, whose cache is not here
        prints = json.loads(file.read_text())
        start = identity.warmed_at(str(model))
        assert start in prints
        file.write_text(json.dumps(prints | {start: "0" * 32}))
    shutil.rmtree(tmp_path / "cache")
    monkeypatch.setattr(steps, "run_trials", lambda *_, **__: pytest.fail("a trial ran"))
    monkeypatch.setattr("swarmproof.board.lists.read", lambda _: lists)
    wanted = ["board", "--attacks=phrase", "--guards=none", "--seeds=2", "--jobs=0", "--quiet"]
    done = CliRunner().invoke(app, [*wanted, f"--out={root}"])
    assert "have different weights after the same warm-up" in str(done.exception)
    assert (tmp_path / "cache").exists()
