"""How far a run is, in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from report.synthetic import synthetic_run
from swarmproof.records.run import Run
from swarmproof.report.states import of_arms


def test_a_finished_arm_has_no_state(run: Run) -> None:
    assert of_arms(run) == {"no-attack": "", "attack": "", "logit": ""}


def test_an_arm_of_one_seed_tells_its_iteration(tmp_path: Path) -> None:
    run = synthetic_run(tmp_path / "run", num_rounds=5, planned=80, seeds=(0,))
    assert set(of_arms(run).values()) == {"unfinished, iteration 5 of 80"}


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        ({0: 60, 1: 5, 2: 0}, "unfinished: seed 1 at iteration 5 of 60, seed 2 not started"),
        ({0: 0, 1: 0, 2: 0}, "not started"),
        ({0: 60, 1: 60, 2: 59}, "unfinished: seed 2 at iteration 59 of 60"),
    ],
)
def test_an_arm_of_several_seeds_tells_that_of_each(
    run: Run, kept: dict[int, int], words: str
) -> None:
    rounds = run.rounds
    drop = (rounds["arm"] == "attack") & (rounds["round"] >= rounds["seed"].map(kept))
    states = of_arms(replace(run, rounds=rounds[~drop]))
    assert states == {"no-attack": "", "attack": words, "logit": ""}


def test_of_many_seeds_only_the_number_and_the_slowest_are_told(tmp_path: Path) -> None:
    run = synthetic_run(tmp_path / "run", num_rounds=2, planned=4, seeds=(0, 1, 2, 3, 4))
    words = "unfinished: 5 of 5 seeds, the slowest at iteration 2 of 4"
    assert set(of_arms(run).values()) == {words}
