"""The perfect filter: exactly the malicious ones, and only where they are known."""

from __future__ import annotations

from pathlib import Path

import pytest

from swarmproof.defenses import DefenseView, Perfect
from swarmproof.guard.guard import Guard
from swarmproof.records.streams import read_completions, read_rounds
from swarmproof.swarm.trial import Trial, run_trial
from swarmproof.types import Group
from swarms import trial_config


def test_exactly_the_malicious_are_refused() -> None:
    group = Group.of("?", ["a", "a", "b", "c"], senders=["eve", "bob", "bob", "eve"])
    guard = Guard(["perfect"], malicious=frozenset({"eve"}))
    (row,) = guard([group], [[1.0, 1.0, 0.0, 0.0]]).samples
    assert [s.refused for s in row] == [True, False, False, True]
    assert [s.kept for s in row] == [False, True, True, False]
    assert {s.verdicts[0].reason for s in row if s.refused} == {"its sender is malicious"}
    (row,) = Guard(["perfect"], malicious=frozenset())([group], [[1.0, 1.0, 0.0, 0.0]]).samples
    assert not any(s.refused for s in row)


def test_where_nobody_knows_the_malicious_it_is_an_error() -> None:
    group = Group.of("?", ["a"])
    with pytest.raises(ValueError, match="only a simulation does"):
        Guard(["perfect"])([group], [[1.0]])
    with pytest.raises(ValueError, match="only a simulation does"):
        Perfect().inspect([group], DefenseView(rewards=[[1.0]], seed=0))


@pytest.mark.parametrize("malicious", [0, 1, 2])
def test_in_a_swarm_it_is_told_who_they_are(
    malicious: int, random_model: Path, tmp_path: Path
) -> None:
    config = trial_config(
        random_model, rounds=2, swarm={"malicious": malicious}, defenses=[{"name": "perfect"}]
    )
    trial = Trial("e", "a", 0, config, tmp_path / "t")
    run_trial(trial, resume=False)
    for record in read_rounds(trial.folder):
        assert (record.poisoned > 0) is (malicious > 0)
        assert record.poisoned_refused == record.poisoned
        assert record.honest_refused == 0 < record.honest
    for row in read_completions(trial.folder):
        assert row["refused"] is row["poisoned"] is (row["node"] >= 4 - malicious)
        assert row["kept"] is not row["poisoned"]
