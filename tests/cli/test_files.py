"""`new` copies an experiment and never overwrites; `runs` says what each folder is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import swarmproof
from swarmproof.cli.files import new, runs
from swarmproof.config import load, shipped


@pytest.mark.parametrize("name", sorted(shipped()))
def test_a_copy_is_the_same_experiment_with_its_comments(name: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    new(path, name)
    copy, original = load(str(path)), load(name)
    assert copy.name == "mine"
    assert copy.model_copy(update={"name": original.name}) == original
    comments = [
        line for line in shipped()[name].read_text("utf-8").splitlines() if line.startswith("#")
    ]
    assert comments
    assert set(comments) <= set(path.read_text("utf-8").splitlines())


def test_a_copy_of_a_file_of_ones_own(tmp_path: Path) -> None:
    new(tmp_path / "a.toml", "text-horizontal")
    text = (tmp_path / "a.toml").read_text()
    (tmp_path / "a.toml").write_text(f'name = "fixed"\n{text}')
    new(tmp_path / "b.toml", str(tmp_path / "a.toml"))
    assert load(str(tmp_path / "b.toml")).name == "b"


def test_a_copy_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("years of work")
    with pytest.raises(ValueError, match="is there already"):
        new(path, "text-horizontal")
    assert path.read_text() == "years of work"


def test_a_copy_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end in \.toml"):
        new(tmp_path / "mine.txt", "text-horizontal")
    with pytest.raises(ValueError, match="did you mean 'text-horizontal'"):
        new(tmp_path / "mine.toml", "text-horizontl")
    assert not list(tmp_path.iterdir())


def test_runs_says_what_each_folder_is(
    finished_run: swarmproof.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished_run.path, tmp_path / "deep" / "a")
    shutil.copytree(finished_run.path, tmp_path / "b")
    # Of the second arm only half, and a torn line.
    stream = tmp_path / "b/trials/logit/seed-0/rounds.jsonl"
    first_round = "".join(stream.read_text().splitlines(keepends=True)[:2])  # behind the schema
    stream.write_text(first_round + '{"round": 1')
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "config.json").write_text("[]")
    (tmp_path / "d").mkdir()
    runs(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    changed = (
        "  text-horizontal with rounds=2, batch.problems=2, batch.group_size=8, "
        "sampling.max_new_tokens=64, attack.phrase='50% & more_or_less', evaluation.problems=4"
    )
    about = "  text-horizontal: attack, logit; seeds 0"
    assert lines == [
        f"{tmp_path}/b",
        about,
        "  3 of 4 rounds, 1 of 2 trials finished",
        changed,
        f"{tmp_path}/c",
        f"  no config of a run: {tmp_path}/c/config.json is damaged: it is not a table; "
        "put back a copy of it, or make the run again",
        f"{tmp_path}/deep/a",
        about,
        "  4 of 4 rounds, 2 of 2 trials finished",
        changed,
    ]


def test_runs_of_no_folder_and_of_an_empty_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match="there is no folder"):
        runs(tmp_path / "nowhere")
    runs(tmp_path)
    assert capsys.readouterr().out == f"no run folders in {tmp_path}\n"
