"""Several runs side by side: every arm of each, under a name that tells the runs apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from swarmproof.records.run import Run
from swarmproof.report import contents, defended


def test_the_arms_of_both_are_there_with_their_own_numbers(run: Run, run_of_one_seed: Run) -> None:
    both = contents.of_runs({"a": run, "b": run_of_one_seed})
    names = [f"{name}: {arm}" for name in "ab" for arm in ("no-attack", "attack", "logit")]
    assert list(both.run.summary["arms"]) == names
    assert list(both.states) == list(both.headline) == names
    assert both.run.summary["arms"]["b: logit"] == run_of_one_seed.summary["arms"]["logit"]
    for column in ("rounds", "completions", "timings"):
        frame, own = getattr(both.run, column), getattr(run_of_one_seed, column)
        assert len(frame) == len(getattr(run, column)) + len(own)
        ours = frame[frame["arm"] == "b: logit"].drop(columns="arm").reset_index(drop=True)
        theirs = own[own["arm"] == "logit"].drop(columns="arm").reset_index(drop=True)
        assert ours.equals(theirs.astype(ours.dtypes))
    assert [arm for arm, _, _ in defended.rows(both.run)] == ["a: logit", "b: logit"]
    assert defended.rows(both.run)[0][2] == defended.rows(run)[0][2]


def test_a_comparison_stays_within_its_run(run: Run, run_of_one_seed: Run) -> None:
    both = contents.of_runs({"a": run, "b": run_of_one_seed})
    assert both.headline["b: logit"] == contents.of_run(run_of_one_seed).headline["logit"]


def test_one_run_is_called_as_it_is_alone(run: Run) -> None:
    assert contents.of_runs({"a": run}) == contents.of_run(run)


def test_folders_are_called_by_as_much_of_their_path_as_tells_them_apart() -> None:
    paths = [Path("runs/text-1"), Path("runs/text-2")]
    assert contents.names(paths) == ["text-1", "text-2"]
    paths = [Path("mine/text"), Path("theirs/text")]
    assert contents.names(paths) == ["mine/text", "theirs/text"]
    with pytest.raises(ValueError, match="given twice"):
        contents.names([Path("runs/text"), Path("runs/../runs/text")])
