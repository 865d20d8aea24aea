"""The steps that a command and a notebook share: nothing is written for a run that cannot go on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from swarmproof import steps
from swarmproof.config import shipped
from swarmproof.records.folder import RunFolder


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A run of an own TOML that was started and has done nothing yet."""
    shutil.copy(shipped()["text-horizontal"], tmp_path / "mine.toml")
    plan = steps.prepare(str(tmp_path / "mine.toml"), arms=["attack"], out=tmp_path / "run")
    RunFolder.create(plan.folder, plan.config, resume=False).close()
    return tmp_path


def resume(folder: Path, name: str = "mine.toml", **changes: Any) -> str:
    """The line with which going on is refused."""
    before = {path: path.read_bytes() for path in (folder / "run").iterdir()}
    arguments: dict[str, Any] = {"arms": ["attack"], "out": folder / "run", **changes}
    plan = steps.prepare(str(folder / name), resume=True, jobs=0, **arguments)
    with pytest.raises(ValueError, match=r".") as caught:
        steps.execute(plan, quiet=True)
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in (folder / "run").iterdir()} == before
    return str(caught.value)


def test_a_run_that_goes_on_with_another_setting_is_told_both_values(begun: Path) -> None:
    line = resume(begun, overrides=["attack.phrase=Trust me"])
    assert "arms.attack.attack.phrase = 'All hail to the thief', now 'Trust me'" in line
    assert "--out" in line
    assert "rounds = 80, now 5" in resume(begun, overrides=["rounds=5"])
    assert "seeds = [0], now [0, 1]" in resume(begun, seeds=(0, 1))
    line = resume(begun, overrides={"attack.phrase": "x" * 400})
    assert len(line) < 300


def test_a_renamed_file_is_told_with_both_names(begun: Path) -> None:
    (begun / "mine.toml").rename(begun / "yours.toml")
    line = resume(begun, "yours.toml")
    assert "made by the experiment 'mine', and this one is called 'yours'" in line
    assert "name = 'mine'" in line
    text = (begun / "yours.toml").read_text()
    (begun / "yours.toml").write_text(f"name = 'mine'\n{text}")
    steps.prepare(str(begun / "yours.toml"), arms=["attack"], out=begun / "run", resume=True)


def test_a_folder_that_is_not_there_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no folder .*nowhere to resume; leave out --resume"):
        steps.prepare("text-horizontal", out=tmp_path / "nowhere", resume=True)


def test_an_empty_folder_can_be_resumed(tmp_path: Path) -> None:
    """A run that was stopped before its config was written."""
    assert steps.prepare("text-horizontal", out=tmp_path, resume=True).resume


def test_a_resumed_run_says_which_folder_it_took(
    begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(begun)
    for number in (1, 2):
        shutil.copytree(begun / "run", begun / f"runs/mine-{number}")
    named = steps.prepare("mine.toml", arms=["attack"], out=Path("runs/mine-1"), resume=True)
    assert named.heading == "resuming mine in runs/mine-1"
    latest = steps.prepare("mine.toml", arms=["attack"], resume=True)
    assert latest.heading == "resuming mine in runs/mine-2, its latest run (--out names another)"
    assert steps.prepare("mine.toml", arms=["attack"]).heading == "mine in runs/mine-3"
